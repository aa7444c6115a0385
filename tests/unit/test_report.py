import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from fastballoon_cli.aside import write_whole
from fastballoon_cli.results.files import ResultFile, load, save
from fastballoon_cli.results.page.files import markdown, write_pictures
from fastballoon_cli.results.page.html import html_page
from fastballoon_cli.results.page.model import Bars, Figures, Grid, Lines
from fastballoon_cli.results.page.svg import picture
from fastballoon_cli.results.report.names import colour_of
from fastballoon_cli.results.report.report import report
from tests.unit import browser
from tests.unit.made import GIB, PHASES, bench, case, migration, single, three_variants


def drop_cache():
    more = dict(drop_s=0.05, inflate_s=0.02, host_rss_bytes_after=GIB, guest_used_bytes_after=GIB // 4)
    more |= dict(refaulted_pages=65536, reread_s=0.3)
    return bench(
        case("stock", [9.0] * 3, host_rss_bytes_after=GIB, refaulted_pages=1000, reread_s=0.1),
        case("stock-drop", [4.0] * 3, **more),
        case("fast-drop", [0.07] * 3, **more),
        scenario="drop-cache",
        guest_state="cached",
    )


INFLATING = "Inflating the balloon"
DROPPING = "Dropping the cache first, then inflating"
MIGRATING = "Live migration"
TOUCHED = "touched guest, 3 GiB of 4 GiB"


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
        "single": single().document(),
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


def below(grid, heading):
    """Return the rows below a heading: name of the row -> title of the column -> what stands there."""
    header, found, here = list(map(str, grid.header)), {}, False
    for row in grid.rows:
        if grid.heads(row):
            here = str(row[0]).startswith(heading)
        elif here:
            found[str(row[0])] = dict(zip(header[1:], map(str, row[1:]), strict=True))
    return found


def test_a_report_has_a_section_for_each_topic_and_none_without_a_file(page, files):
    titles = [section.title for section in page.sections]
    assert titles == [
        "In short",
        INFLATING,
        "Where the time goes: inflate",
        "Deflating the balloon",
        "Where the time goes: deflate",
        DROPPING,
        MIGRATING,
        "single.json: inflate 'v' (pfn, tcg)",
        "Provenance",
    ]
    alone = report([load(files[-1])])
    assert [section.title for section in alone.sections] == [
        "In short",
        "single.json: inflate 'v' (pfn, tcg)",
        "Provenance",
    ]


def test_the_phase_table_is_that_of_the_first_series_beside_it(page):
    (table,) = grids(page, "Where the time goes: inflate")
    touched = below(table, TOUCHED)
    assert list(touched) == ["fast-pfn", "fast", "2016"]
    assert [touched[name]["send"] for name in touched] == [
        "1088.00 ms (68.0%)",
        "9.52 ms (68.0%)",
        "1077.00 ms (68.3%)",
    ]
    assert [touched[name]["all"] for name in touched] == ["1600.00 ms", "14.00 ms", "1576.00 ms"]
    assert list(below(table, "touched guest, init_on_alloc=1")) == ["fast-pfn", "fast"]


def test_durations_are_grouped_by_state_with_ratios_and_the_floor(page):
    (table,) = grids(page, INFLATING)
    touched = below(table, TOUCHED)
    assert touched["stock"]["duration"] == "4.00 s"
    assert touched["stock"]["against fast (95 %)"].startswith("286 (")
    assert touched["fast"]["duration"] == "14.0 ms"
    assert touched["fast"]["against fast (95 %)"] == "1"
    assert touched["fast-pfn"]["min .. max"] == "1.50 s .. 1.70 s"
    counts = {name: touched["fast-pfn"][f"{name}/GiB"] for name in ("kicks", "messages", "discards")}
    assert counts == {"kicks": "1024", "messages": "1024", "discards": "262144"}
    assert touched["fast-pfn"]["host RSS after"] == "1 GiB"
    headings = [str(row[0]) for row in table.rows if table.heads(row)]
    assert headings[0] == f"{TOUCHED}; the bare madvise takes 9.0 ms"
    assert "init_on_alloc=1" in headings[1]
    assert "a reader misses" not in table.header


def test_migrations_and_dropped_caches_have_what_a_reader_asks(page):
    table, effects = grids(page, MIGRATING)
    migrated = below(table, "touched guest of 4 GiB, at most 256 MiB/s")
    assert list(migrated["stock"])[:2] == ["samples", "whole migration"]
    assert [row["bytes against fast (95 %)"] for row in migrated.values()] == ["8 (8 .. 8)", "1"]
    assert below(effects, "touched")["stock"]["guest's least free memory"] == "1 GiB"
    table, after = grids(page, DROPPING)
    assert below(table, "cached")["stock"]["dropping the cache"] == "-"
    assert below(table, "cached")["fast-drop"]["dropping the cache"] == "50.0 ms"
    assert below(after, "cached")["fast-drop"]["a reader misses"] == "65536 pages"


def test_provenance_says_once_what_all_variants_share(page):
    shared, own = grids(page, "Provenance")[:2]
    assert ("host CPU", "Some CPU") in shared.rows
    assert tuple(map(str, own.header)) == ("", "stock", "fast-pfn", "fast")
    assert ("kernel series", "none", "b" * 12, "b" * 12) in own.rows


def test_the_four_figures_that_matter_stand_on_top(page):
    (figures,) = (block for block in page.sections[0].blocks if isinstance(block, Figures))
    assert [figure.label for figure in figures.figures] == [
        "Inflating takes",
        "Deflating takes",
        "Migrating takes",
        "Migrating sends",
    ]
    inflating, *_, sending = figures.figures
    assert inflating.value == "14.0 ms"
    assert inflating.remark.startswith(f"fast, {TOUCHED}; stock: 4.00 s, 286 (")
    assert inflating.remark.endswith(") times as long")
    assert (sending.value, sending.colour) == ("512 MiB", colour_of("fast"))


def test_a_single_bench_has_four_figures_of_its_own(files):
    for name in ("touched", "deflate", "migrate", "drop-cache"):
        (path,) = (path for path in files if path.stem == name)
        page = report([load(path)])
        (figures,) = (block for block in page.sections[0].blocks if isinstance(block, Figures))
        assert len(figures.figures) == 4, name
        assert len({figure.label for figure in figures.figures}) == 4


def test_the_first_section_says_how_the_variants_compare(page):
    (table,) = grids(page, "In short")
    assert below(table, "inflate")[TOUCHED]["compared"] == "stock / fast"
    assert below(table, "inflate")[TOUCHED]["time (95 %)"].startswith("286 (")
    pairs = [row[1:3] for row in table.rows if not table.heads(row) and row[0].startswith("cached")]
    assert pairs[0][0] == "stock-drop / fast-drop"
    assert pairs[0][1].startswith("57.1 (")
    (migrated,) = below(table, "migrate").values()
    assert migrated["time (95 %)"].startswith("5.95 (")
    assert migrated["sent (95 %)"] == "8 (8 .. 8)"


def test_the_order_is_that_of_the_topics_and_not_of_the_files(files):
    loaded = [load(path) for path in files]
    forwards, backwards = report(loaded), report(loaded[::-1])
    assert [section.title for section in forwards.sections] == [section.title for section in backwards.sections]
    (table,) = grids(backwards, INFLATING)
    headings = [str(row[0]).split(" guest")[0] for row in table.rows if table.heads(row)]
    assert headings == ["touched", "touched", "idle", "fragmented"]


def test_what_tcg_distorts_is_said_only_of_tcg(files):
    said = lambda result: str(report([result]).sections[0])  # noqa: E731
    assert "Measured under TCG" in said(load(files[0]))
    save(files[0], bench(case("fast", [1.0], provenance_changes={"accel": "kvm"})).document())
    assert "TCG" not in said(load(files[0]))


def test_the_guests_memory_over_time_is_drawn_where_it_was_measured(page):
    slugs = [one.slug for one in page.charts() if isinstance(one, Lines)]
    assert slugs == ["memory-inflate-0", "migrate-memory-0"]
    (lines,) = (one for one in page.charts() if one.slug == "migrate-memory-0")
    assert [line.label for line in lines.lines] == ["stock", "fast"]
    assert "at least 1 GiB" in lines.alt


def test_a_variant_has_one_colour_in_all_charts_and_no_two_have_the_same(page):
    seen = {}
    for chart in page.charts():
        for one in chart.bars if isinstance(chart, Bars) else chart.lines:
            seen.setdefault(one.label, set()).add(one.colour)
    known = {name: colours for name, colours in seen.items() if name in ("stock", "fast", "fast-pfn", "fast-drop")}
    assert len(known) == 4
    assert all(len(colours) == 1 for colours in seen.values())
    assert len(set.union(*known.values())) == 4
    # Alone it has the colour that it has beside others.
    alone = report_of(bench(case("fast", [0.1] * 3), case("virtio-mem", [0.2] * 3)))
    (bars,) = (chart for chart in alone.charts() if isinstance(chart, Bars))
    assert bars.bars[0].colour in seen["fast"]


def report_of(result):
    return report([ResultFile(Path("one.json"), "bench", result)])


def test_what_is_decades_apart_is_drawn_on_a_scale_that_says_so(page):
    charts = {chart.slug: chart for chart in page.charts()}
    assert charts["states-inflate"].logarithmic
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", picture(charts["states-inflate"]))
    assert {"10 ms", "100 ms", "1 s", "logarithmic scale"} <= set(labels)
    assert not charts["migrate-total_s"].logarithmic
    assert "logarithmic scale" not in picture(charts["migrate-total_s"])


def test_markdown_links_its_pictures(page, tmp_path):
    drawn = write_pictures(page, tmp_path / "pictures")
    text = markdown(page, drawn, tmp_path / "docs")
    links = re.findall(r"!\[.*\]\(<(.*)>\)", text)
    assert len(links) == len(list(page.charts())) > 5
    for link in links:
        svg = (tmp_path / "docs" / link).resolve().read_text()
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert "prefers-color-scheme" in svg


def test_pictures_have_no_colour_that_a_dark_mode_would_not_change(page):
    for chart in page.charts():
        drawn = picture(chart)
        assert ET.fromstring(drawn).tag.endswith("svg")
        assert not re.search(r"(?:fill|stroke)[=:]\W*(?:#|rgb)", drawn)


def test_the_page_needs_nothing_beside_it(page):
    text = html_page(page)
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text)
    assert "@import" not in text
    assert "console.error" in text
    assert "<script" not in text
    assert text.count("<svg") == len(list(page.charts()))


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
    nowhere = tmp_path / "nowhere" / "report.html"
    ran = fastballoon("--json", "report", names[0], "--out", str(nowhere))
    assert ran.returncode == 3
    assert str(nowhere) in json.loads(ran.stdout)["error"]["message"]


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
  const words = [...document.querySelectorAll('h1, h2, p, dt, dd, th, td, span, svg text')];
  const shown = words.filter(e => e.textContent.trim());
  const ink = e => getComputedStyle(e)[e.closest('svg') ? 'fill' : 'color'];
  const bars = [...document.querySelectorAll('svg rect')];
  const lines = [...document.querySelectorAll('svg path[stroke-dasharray], svg path[style*=dasharray]')];
  const box = e => e.getBoundingClientRect();
  return {
    ground,
    dark: light(ground) < 0.2,
    worst_text: Math.min(...shown.map(e => contrast(ink(e), ground))),
    worst_bar: Math.min(...bars.map(e => contrast(getComputedStyle(e).fill, ground))),
    worst_line: Math.min(...lines.map(e => contrast(getComputedStyle(e).stroke, ground))),
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
    out = tmp_path / "report.html"
    write_whole(out, html_page(page))
    chromium.open(out, width=width, dark=dark)
    seen = chromium.evaluate(_MEASURE)
    assert chromium.complaints() == []
    assert [url for url in chromium.requests() if not url.startswith(("file:", "data:"))] == []
    assert seen["dark"] is dark
    assert seen["scrolls"] <= 0
    assert seen["worst_text"] >= 4.5
    assert seen["worst_bar"] >= 3
    assert seen["worst_line"] >= 3
    assert len(seen["pictures"]) == len(list(page.charts()))
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
