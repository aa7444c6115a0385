import json
import re
import xml.etree.ElementTree as ET

import pytest

from fastballoon_cli.results.files import load, save
from fastballoon_cli.results.page import files as publish
from fastballoon_cli.results.page import svg as plots
from fastballoon_cli.results.page.model import Bar, Bars, Grid, Line, Lines
from fastballoon_cli.results.page.text import chart
from fastballoon_cli.results.report.report import report
from tests.unit import browser
from tests.unit.made import GIB, PHASES, bench, case, migration, three_variants

_SINGLE = {
    "schema_version": 1, "operation": "inflate", "vm": "v", "method": "pfn", "duration_s": 2.5,
    "balloon_bytes": {"before": 0, "after": GIB}, "host_rss_bytes": {"before": 2 * GIB, "after": None},
    "provenance": {"accel": "tcg", "host_cpu": "Some CPU"},
}  # fmt: skip


def drop_cache():
    more = dict(drop_s=0.05, inflate_s=0.02, host_rss_bytes_after=GIB, refaulted_pages=65536, reread_s=0.3)
    return bench(
        case("stock", [9.0] * 3, host_rss_bytes_after=GIB, refaulted_pages=1000, reread_s=0.1),
        case("stock-drop", [4.0] * 3, **more),
        case("fast-drop", [0.07] * 3, **more),
        scenario="drop-cache",
        guest_state="cached",
    )


DROPPING = "Dropping the cache first: cached guest, 3 GiB of 4 GiB"
MIGRATING = "Live migration: touched guest of 4 GiB, at most 256 MiB/s"


@pytest.fixture
def files(tmp_path):
    """Return one file of each kind that a report knows."""
    hostile = three_variants(guest_state="fragmented")
    hostile.cases[0].variant = '<script>console.error("foreign")</script>|`x`'
    documents = {
        "touched": three_variants(over_time=True).document(),
        "idle": three_variants(guest_state="idle").document(),
        "zeroing": three_variants(init_on_alloc=True).document(),
        "hostile": hostile.document(),
        "deflate": three_variants(scenario="deflate", floor=[]).document(),
        "drop-cache": drop_cache().document(),
        "migrate": migration().document(),
        "single": _SINGLE,
    }
    for name, document in documents.items():
        save(tmp_path / f"{name}.json", document)
    return [tmp_path / f"{name}.json" for name in documents]


@pytest.fixture
def page(files):
    return report([load(path) for path in files])


def grids(page, title):
    section = next(section for section in page.sections if section.title == title)
    return [block for block in section.blocks if isinstance(block, Grid)]


def test_a_report_has_a_section_for_each_topic_and_none_without_a_file(page, files):
    titles = [section.title for section in page.sections]
    for title in (
        "In short",
        "Where the time goes: inflate",
        "Where the time goes: deflate",
        "Inflating, by the guest's state",
        "Deflating, by the guest's state",
        DROPPING,
        MIGRATING,
        "Single runs",
        "Provenance",
    ):
        assert title in titles
    alone = report([load(files[-1])])
    assert [section.title for section in alone.sections] == ["In short", "Single runs", "Provenance"]


def test_the_phase_table_is_that_of_the_first_series_beside_it(page):
    table, zeroing, *_ = grids(page, "Where the time goes: inflate")
    assert zeroing.header == ("phase", "fast-pfn", "share", "fast", "share")
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.header == ("phase", "fast-pfn", "share", "fast", "share", "2016", "share")
    assert rows["send"] == ("1088.00 ms", "68.0%", "9.52 ms", "68.0%", "1077.00 ms", "68.3%")
    assert rows["all"] == ("1600.00 ms", "", "14.00 ms", "", "1576.00 ms", "")


def test_durations_by_state_have_ratios_and_the_floor(page):
    durations, counts = grids(page, "Inflating, by the guest's state")
    touched = durations.rows[0]
    assert touched[0] == "touched guest, 3 GiB of 4 GiB"
    assert "4.00 s" in touched
    assert "14.0 ms" in touched
    assert any(cell.startswith("286 (") for cell in touched)
    assert touched[-1] == "9.0 ms"
    assert "init_on_alloc=1" in durations.rows[1][0]
    assert ("touched: fast-pfn", "5", "1.50 s .. 1.70 s", "1024", "1024", "262144", "1 GiB") in counts.rows


def test_migrations_and_dropped_caches_have_what_a_reader_asks(page):
    table, effects = grids(page, MIGRATING)
    assert table.header[:4] == ("variant", "samples", "whole migration", "transferred")
    assert [row[-1] for row in table.rows] == ["8 (8 .. 8)", "-"]
    assert table.header[-1] == "transferred, against fast (95 %)"
    assert "guest's least free memory" in effects.header
    (table,) = grids(page, DROPPING)
    assert "dropping the cache" in table.header
    assert table.rows[0][table.header.index("dropping the cache")] == "-"


def test_provenance_says_once_what_all_variants_share(page):
    shared, own = grids(page, "Provenance")[:2]
    assert ("host CPU", "Some CPU") in shared.rows
    assert own.header == ("", "stock", "fast-pfn", "fast")
    assert ("kernel series", "none", "b" * 12, "b" * 12) in own.rows


def test_the_first_section_says_how_the_variants_compare(page):
    said = [block.text for block in page.sections[0].blocks]
    assert said[0].startswith("Inflating the balloon, touched guest, 3 GiB of 4 GiB: stock takes 286 (")
    assert said[0].endswith(") times as long as fast.")
    assert any("stock-drop takes 57.1 (" in text for text in said)
    (migrating,) = (text for text in said if text.startswith("Migrating"))
    assert "stock takes 5.95 (" in migrating
    assert migrating.endswith("and sends 8 (8 .. 8) times as much as fast.")


def test_the_order_is_that_of_the_topics_and_not_of_the_files(files):
    loaded = [load(path) for path in files]
    forwards, backwards = report(loaded), report(loaded[::-1])
    assert [section.title for section in forwards.sections] == [section.title for section in backwards.sections]
    states = grids(backwards, "Inflating, by the guest's state")[0].rows
    assert [row[0].split(" guest")[0] for row in states] == ["touched", "touched", "idle", "fragmented"]


def test_what_tcg_distorts_is_said_only_of_tcg(files):
    said = lambda result: str(report([result]).sections[0])  # noqa: E731
    assert "Measured under TCG" in said(load(files[0]))
    save(files[0], bench(case("fast", [1.0], provenance_changes={"accel": "kvm"})).document())
    assert "TCG" not in said(load(files[0]))


def test_bars_of_characters_show_shares_and_lengths():
    shares = chart(Bars("s", "t", [Bar("a", (1.0, 1.0), "2 s"), Bar("bb", (0.0, 5.0), "5 s")], ("x", "y")))
    lines = [line.plain for line in shares]
    assert lines[1] == f"a   {'█' * 20}{'▓' * 20}  2 s"
    assert lines[2] == f"bb  {'▓' * 40}  5 s"
    assert lines[3].split() == ["█", "x", "▓", "y"]
    linear = [line.plain for line in chart(Bars("s", "t", [Bar("a", (4.0,), "4"), Bar("b", (1.0,), "1")]))]
    assert [line.count("█") for line in linear[1:]] == [40, 10]
    apart = [Bar("a", (4.0,), "4"), Bar("b", (0.01,), "1")]
    decades = [line.plain for line in chart(Bars("s", "t", apart, logarithmic=True))]
    assert 0 < decades[2].count("█") < 20
    assert "logarithmic" in decades[0]
    assert [line.plain for line in chart(Bars("s", "t", [Bar("a", (0.0,), "0")]))][1].split() == ["a", "0"]


def test_lines_of_characters_are_as_long_as_they_took_and_as_high_as_the_least():
    lines = Lines("s", "t", [Line("a", [0.0, 2.0, 4.0], [8 << 30, 1 << 30, 4 << 30]), Line("b", [0.0, 0.1], [8, 4])])
    title, slow, fast = [line.plain for line in chart(lines)]
    assert title == "t (as wide as 4.00 s)"
    assert slow == f"a  {'█' * 20}{'▂' * 19}▅  8 GiB, at least 1 GiB, at the end 4 GiB after 4.00 s"
    assert fast.split()[1] == "▁▁"


def test_the_guests_memory_over_time_is_drawn_where_it_was_measured(page):
    slugs = [one.slug for one in page.charts() if isinstance(one, Lines)]
    assert slugs == ["memory-inflate-0", "migrate-memory-0"]
    (lines,) = (one for one in page.charts() if one.slug == "migrate-memory-0")
    assert [line.label for line in lines.lines] == ["stock", "fast"]
    assert "at least 1 GiB" in lines.alt


def test_markdown_has_tables_that_foreign_names_do_not_break(page):
    text = publish.markdown(page, {}, None)
    prose = [line for line in text.splitlines() if not line.startswith("    ")]  # the others are code: taken literally
    assert "<script>" not in "\n".join(prose)
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) > 8
    for table in tables:
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, table
    assert "█" in text
    assert "![" not in text


def test_markdown_links_its_pictures(page, tmp_path):
    pytest.importorskip("matplotlib")
    drawn = publish.write_pictures(page, tmp_path / "pictures")
    text = publish.markdown(page, drawn, tmp_path / "docs")
    links = re.findall(r"!\[.*\]\(<(.*)>\)", text)
    assert len(links) == len(page.charts()) > 5
    for link in links:
        svg = (tmp_path / "docs" / link).resolve().read_text()
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert "prefers-color-scheme" in svg


def test_pictures_are_drawn_alike_each_time_and_share_no_ids(page):
    pytest.importorskip("matplotlib")
    drawn = [plots.inline_svg(chart_) for chart_ in page.charts()]
    assert drawn == [plots.inline_svg(chart_) for chart_ in page.charts()]
    whole = ET.fromstring(f"<page>{''.join(drawn)}</page>")
    ids = [id_ for svg in whole for element in svg.iter() if (id_ := element.get("id")) and "_" not in id_]
    assert len(ids) == len(set(ids))
    for svg in drawn:
        assert not re.search(r"(?:fill|stroke): ?#", svg), "a colour that no dark mode changes"


def test_the_page_needs_nothing_beside_it(page):
    text = publish.html(page)
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text)
    assert "@import" not in text
    assert "console.error" in text
    assert "<script" not in text


def test_without_matplotlib_bars_are_characters(page, monkeypatch):
    monkeypatch.setattr(plots, "available", lambda: False)
    text = publish.html(page)
    assert "<svg" not in text
    assert text.count("<pre role=") == len(page.charts())


def test_the_command_writes_what_it_was_asked_for(fastballoon, files, tmp_path):
    names = list(map(str, files))
    out = tmp_path / "report.html"
    document = json.loads(fastballoon("--json", "report", *names, "--out", str(out)).stdout)
    assert document["format"] == "html"
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert fastballoon("report", *names, "--format", "md").stdout.startswith("# fastballoon: results\n")
    terminal = fastballoon("report", *names)
    assert terminal.returncode == 0, terminal.stderr
    assert "Where the time goes" in terminal.stdout
    assert "█" in terminal.stdout
    assert json.loads(fastballoon("--json", "report", names[0]).stdout)["content"].startswith("# ")
    for wrong in (
        ["--pictures", "p"],
        ["--format", "html", "--pictures", "p"],
        ["--out", "report.txt"],
        ["absent.json"],
    ):
        assert fastballoon("report", names[0], *wrong).returncode == 2


_MEASURE = """(() => {
  const channel = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 };
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  };
  const contrast = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = getComputedStyle(document.body).backgroundColor;
  const words = [...document.querySelectorAll('h1, h2, p, th, td, figcaption, pre, svg text')];
  const shown = words.filter(e => e.textContent.trim());
  const ink = e => getComputedStyle(e)[e.closest('svg') ? 'fill' : 'color'];
  // What is in defs is no bar: the marks of an axis, lines whose fill nobody sees.
  const paths = [...document.querySelectorAll('svg path')].filter(e => !e.closest('defs'));
  const bars = paths.filter(e => getComputedStyle(e).fill.startsWith('rgb('));
  const box = e => e.getBoundingClientRect();
  return {
    ground,
    dark: light(ground) < 0.2,
    worst_text: Math.min(...shown.map(e => contrast(ink(e), ground))),
    worst_bar: Math.min(...bars.map(e => contrast(getComputedStyle(e).fill, ground))),
    bars: bars.filter(e => box(e).width > 0 && box(e).height > 0).length,
    smallest_text: Math.min(...[...document.querySelectorAll('svg text')].map(e => box(e).height)),
    pictures: [...document.querySelectorAll('svg')].map(e => [box(e).left, box(e).right, box(e).height]),
    outside: [...document.querySelectorAll('svg text')].filter(e => {
      const outer = box(e.closest('svg')), inner = box(e);
      return inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.bottom > outer.bottom + 1;
    }).map(e => e.textContent),
    scrolls: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
})()"""


@pytest.fixture
def chromium(tmp_path):
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium-headless-shell")
    one = browser.Browser(program, tmp_path / "profile")
    yield one
    one.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_it_on_a_phone_and_in_the_dark(chromium, page, tmp_path, width, dark):
    pytest.importorskip("matplotlib")
    out = tmp_path / "report.html"
    publish.write(out, publish.html(page))
    chromium.open(out, width=width, dark=dark)
    seen = chromium.evaluate(_MEASURE)
    assert chromium.complaints() == []
    assert [url for url in chromium.requests() if not url.startswith(("file:", "data:"))] == []
    assert seen["dark"] is dark
    assert seen["scrolls"] <= 0
    assert seen["worst_text"] >= 4.5
    assert seen["worst_bar"] >= 3
    assert len(seen["pictures"]) == len(page.charts())
    assert seen["bars"] >= sum(len(one.bars) for one in page.charts() if isinstance(one, Bars))
    for left, right, height in seen["pictures"]:
        assert 0 <= left < right <= width
        assert height > 60
    assert seen["smallest_text"] >= 9
    assert seen["outside"] == []


def test_the_probe_would_see_a_page_that_is_wrong(chromium, tmp_path):
    out = tmp_path / "wrong.html"
    out.write_text(
        '<!DOCTYPE html><link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">'
        '<body style="background:#fff">'
        '<p style="color:#ccc;width:900px">grey</p><script>console.error("no")</script>'
        '<img src="http://127.0.0.1:9/absent.png">'
    )
    chromium.open(out, width=360)
    seen = chromium.evaluate(_MEASURE)
    assert seen["scrolls"] > 0
    assert seen["worst_text"] < 4.5
    assert chromium.complaints()
    assert any(url.startswith("http:") for url in chromium.requests())


def test_phases_of_the_made_up_results_add_up():
    assert sum(PHASES.values()) == pytest.approx(1.0)
