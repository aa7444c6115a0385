"""A live migration for people: a rich table. Reads only the result, never a VM."""

from rich.table import Table

from fastballoon_cli.results.migration import MigrateResult
from fastballoon_cli.results.report.tables import add_memory, new_table
from fastballoon_cli.units import PAGE_BYTES, format_duration, format_size

__all__ = ["migrate_table"]


def migrate_table(result: MigrateResult) -> Table:
    """Return a table of a migration: how long, how much, what was left out, what the guest had of it."""
    table = new_table("migrate", result.vm, result.method, result.provenance)
    ram = result.ram
    table.add_row("whole migration", format_duration(result.total_s), _rate(result))
    table.add_row("  setup", format_duration(result.setup_s), "")
    table.add_row("downtime (QEMU's)", format_duration(result.downtime_s), "")
    if result.guest_paused_s is not None:
        table.add_row("guest paused", format_duration(result.guest_paused_s), "STOP to RESUME")
    table.add_row("transferred", format_size(ram.transferred_bytes), f"{ram.transferred_bytes} bytes")
    table.add_row("  passes", f"{ram.passes}", "")
    _add_pages(table, "  sent whole", ram.normal_pages)
    _add_pages(table, "  zero", ram.zero_pages)
    _add_pages(table, "  skipped, free", ram.skipped_free_pages)
    _add_pages(table, "  skipped, in the balloon", result.skipped_balloon_pages)
    if result.answer_s is not None:
        table.add_row(
            "guest told of", format_size(result.told_free_bytes or 0), f"in {format_duration(result.answer_s)}"
        )
    table.add_row("guest CPU meanwhile", format_duration(result.guest_cpu_s), "")
    add_memory(table, "guest free memory", result.guest_free_bytes)
    if result.guest_min_free_bytes is not None:
        table.add_row("guest free memory, least", format_size(result.guest_min_free_bytes), "")
    if result.verified is not None:
        table.add_row("pages checked", f"{result.verified.pages}", f"{result.verified.mismatches} mismatches")
    return table


def _add_pages(table: Table, name: str, pages: int | None) -> None:
    if pages is not None:
        table.add_row(name, format_size(pages * PAGE_BYTES), f"{pages} pages")


def _rate(result: MigrateResult) -> str:
    return f"{format_size(int(result.ram.transferred_bytes / result.total_s))}/s" if result.total_s else ""
