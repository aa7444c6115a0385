from pathlib import Path

from fastballoon_cli.errors import exit_code_table

_DOCS = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_every_error_class_has_its_row_in_the_documentation():
    documented = [line for line in _DOCS.read_text().split("## Exit codes")[1].splitlines() if line.startswith("| ")]
    assert documented[1:] == [f"| {code} | {meaning} |" for code, meaning in exit_code_table()]
