"""How a Page is written, whatever it says: nothing in it is ever taken for markup."""

import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from fastballoon_cli.results.page.files import markdown
from fastballoon_cli.results.page.html import html_page
from fastballoon_cli.results.page.model import (
    Bar,
    Bars,
    Cell,
    Colour,
    Figure,
    Figures,
    Grid,
    Group,
    Line,
    Lines,
    Page,
    Part,
    Section,
    Text,
    Tone,
)
from fastballoon_cli.results.page.scale import scale_of, tick_label
from fastballoon_cli.results.page.svg import picture
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.page.text import chart
from tests.unit.foreign import FOREIGN

GIB = 1 << 30


def page_of(word):
    """Return a page that has a word wherever a page can have one."""
    bar = Bar(word, (1.0, 2.0), word, Colour.RED)
    parts = (Part(word, Colour.TINT_1), Part("b", Colour.TINT_2))
    return Page(
        word,
        [
            Section(
                word,
                [
                    Text(word),
                    Text(f"a {word} b"),
                    Figures([Figure(word, word, word, Colour.BLUE), Figure(word, word)]),
                    Grid((word, word), [(word,), (word, word), (Cell(word, colour=Colour.RED), Cell(word, Tone.BAD))]),
                    Grid((), [(word, Cell(word, Tone.QUIET))], words={1}),
                    Bars("one", word, [Group(word, [bar])], parts=parts),
                    Bars("two", word, [Group(word, [Bar(word, (2.0,), word)])]),
                    Lines("three", word, [Line(word, [0.0, 1.0], [GIB, 1])]),
                ],
            )
        ],
    )


def on_a_terminal(page, **options):
    out = io.StringIO()
    console = Console(file=out, **{"width": 2000, "force_terminal": True, "color_system": "standard", **options})
    for part in terminal(page.sections):
        console.print(part)
    return out.getvalue()


def tags(document):
    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, tuple(name for name, _ in attrs)))

        def handle_endtag(self, tag):
            found.append((tag,))

        def handle_comment(self, data):
            found.append(("comment",))

    found = []
    # What is drawn depends on how wide a word is.
    Parser().feed(re.sub(r"(<svg[^>]*>).*?(</svg>)", r"\1\2", document, flags=re.DOTALL))
    return found


def tokens(document):
    parsed = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(document)
    return [
        (token.type, tuple(child.type for child in token.children or () if child.type != "text")) for token in parsed
    ]


def escapes(text):
    return re.findall(r"\x1b.[^m]*m?", text)


def assert_only_words(word):
    benign, hostile = page_of("word"), page_of(word)
    assert tags(html_page(hostile)) == tags(html_page(benign))
    assert tokens(markdown(hostile, {}, None)) == tokens(markdown(benign, {}, None))
    assert escapes(on_a_terminal(hostile)) == escapes(on_a_terminal(benign))
    for one in hostile.charts():
        drawn = {element.tag.rpartition("}")[2] for element in ET.fromstring(picture(one)).iter()}
        assert drawn <= {"svg", "text", "rect", "path", "circle", "g"}
    html_page(hostile).encode()


@pytest.mark.parametrize("word", FOREIGN)
def test_what_looks_like_markup_is_only_words(word):
    assert_only_words(word)


@settings(deadline=None, max_examples=60)
@given(st.text(st.sampled_from("[]/<>&*_`|~#+-=.:1\\\"'\n\r\t\x1b\x00\x9b\u202e\ud800 ab"), min_size=1, max_size=8))
def test_no_text_is_markup(word):
    if word.strip():
        assert_only_words(f"w{word}w")
    assert_only_words(f"{word}w")


def test_words_are_shown_as_they_are():
    page = page_of("[bold]x[/] <b>&amp; \\")
    assert "[bold]x[/] <b>&amp; \\" in on_a_terminal(page)
    assert "[bold]x[/] &lt;b&gt;&amp;amp; \\" in html_page(page)
    rendered = MarkdownIt("commonmark").enable("table").render(markdown(page, {}, None))
    assert "<h2>[bold]x[/] &lt;b&gt;&amp;amp; \\</h2>" in rendered


def test_a_heading_in_a_table_is_as_wide_as_the_table():
    page = Page("t", [Section("s", [Grid(("", "a", "b"), [("group",), ("x", "1", "2")])])])
    assert "| **group** |  |  |" in markdown(page, {}, None)
    assert 'colspan="3">group</th>' in html_page(page)
    assert "group" in on_a_terminal(page)


def test_groups_of_a_table_stand_below_each_other():
    groups = [("group one",), ("x", "1", "22222222"), ("group two",), ("longer", "333", "4")]
    page = Page("t", [Section("s", [Grid(("", "a", "b and c"), groups)])])
    plain = {"force_terminal": False, "color_system": None}
    lines = [line.rstrip() for line in on_a_terminal(page, **plain).splitlines()]
    one, two = (next(line for line in lines if line.lstrip().startswith(name)) for name in ("x", "longer"))
    assert len(one) == len(two) == len(" longer   333   22222222")
    assert sum("b and c" in line for line in lines) == 1
    assert lines.index("group one") < lines.index(one) < lines.index("group two") < lines.index(two)


@pytest.mark.parametrize("columns", [12, 24, 40, 80])
def test_no_terminal_is_too_narrow_for_a_table(columns):
    rows = [("group",), *((f"row-{n}", *(f"{n}{m}{n}{m}{n}{m}" for m in range(6))) for n in range(1, 4))]
    page = Page("t", [Section("s", [Grid(("", *(f"title-{m}" for m in range(6))), rows)])])
    text = on_a_terminal(page, force_terminal=False, color_system=None, width=columns)
    for row in rows:
        for word in row:
            assert word in text
    assert "title-5" in text
    assert max(map(len, text.splitlines())) <= columns


def test_colours_are_those_of_the_things_on_every_medium():
    page = Page("t", [Section("s", [Bars("b", "t", [Group("", [Bar("x", (1.0,), "1", Colour.GREEN)])])])])
    assert "fill:var(--green)" in html_page(page)
    assert "\x1b[32m█" in on_a_terminal(page)
    assert "\x1b[" not in on_a_terminal(page, force_terminal=False, color_system=None)


def lines_of(shown):
    return [line.plain for line in chart(shown)]


def test_what_is_said_of_a_line_stands_below_it_where_it_does_not_fit_beside_it():
    lines = Lines("s", "t", [Line("long", [0.0, 4.0], [8 << 30, 4 << 30]), Line("b", [0.0, 0.1], [8, 4])])
    page = Page("t", [Section("s", [lines])])
    shown = {
        columns: on_a_terminal(page, force_terminal=False, color_system=None, width=columns).splitlines()
        for columns in (80, 160)
    }
    drawn, said = next(pair for pair in zip(shown[80], shown[80][1:], strict=False) if pair[0].startswith("long"))
    assert drawn.rstrip().endswith("▅")
    assert said.startswith("      8 GiB, at least 4 GiB")
    (beside,) = [line for line in shown[160] if line.startswith("long")]
    assert "▅  8 GiB, at least 4 GiB" in beside
    assert len(shown[160]) < len(shown[80])


def test_bars_of_characters_show_shares():
    parts = (Part("x", Colour.TINT_1), Part("y", Colour.TINT_2))
    groups = [Group("one", [Bar("a", (1.0, 1.0), "2 s"), Bar("bb", (0.0, 5.0), "5 s")])]
    title, heading, a, bb, legend = lines_of(Bars("s", "t", groups, parts=parts))
    assert (title, heading) == ("t", "one")
    assert a == f"a   {'█' * 20}{'▓' * 20}  2 s"
    assert bb == f"bb  {'▓' * 40}  5 s"
    assert legend.split() == ["█", "x", "▓", "y"]


def test_bars_of_characters_show_lengths_and_what_a_scale_says():
    linear = lines_of(Bars("s", "t", [Group("", [Bar("a", (4.0,), "4"), Bar("b", (1.0,), "1")])]))
    assert [line.count("█") for line in linear[1:]] == [40, 10]
    apart = [Group("", [Bar("a", (4.0,), "4"), Bar("b", (0.01,), "1")])]
    _, long, short, axis = lines_of(Bars("s", "t", apart, logarithmic=True))
    assert 0 < short.count("█") < 20 < long.count("█")
    assert re.findall(r"\S+ m?s", axis) == ["|1 ms", "|10 ms", "|100 ms", "|1 s"]
    assert lines_of(Bars("s", "t", [Group("", [Bar("a", (0.0,), "0")])]))[1].split() == ["a", "0"]


def test_lines_of_characters_are_as_long_as_they_took_and_as_high_as_the_least():
    lines = Lines("s", "t", [Line("a", [0.0, 2.0, 4.0], [8 << 30, 1 << 30, 4 << 30]), Line("b", [0.0, 0.1], [8, 4])])
    title, slow, fast, axis = lines_of(lines)
    assert title == "t"
    assert slow == f"a  {'█' * 20}{'▂' * 19}▅  8 GiB, at least 1 GiB, at the end 4 GiB after 4.00 s"
    assert fast.split()[1] == "▁▁"
    assert [label.strip() for label in axis.split("|")[1:]] == ["0 s", "1 s", "2 s", "3 s", "4 s"]


@pytest.mark.parametrize(
    ("values", "unit", "logarithmic", "labels"),
    [
        ([4.9], "s", False, ["0 s", "2 s", "4 s"]),
        ([0.02], "s", False, ["0 s", "5 ms", "10 ms", "15 ms", "20 ms"]),
        ([0.02, 4.9], "s", True, ["10 ms", "100 ms", "1 s"]),
        ([0.01, 4.9], "s", True, ["1 ms", "10 ms", "100 ms", "1 s"]),
        ([3 * GIB], "bytes", False, ["0 B", "1 GiB", "2 GiB", "3 GiB"]),
        ([100 << 20, 3 * GIB], "bytes", True, ["64 MiB", "256 MiB", "1 GiB"]),
        ([1, 262144], "", True, ["0.1", "10", "1000", "100000"]),
        ([], "s", False, ["0 s", "500 ms", "1 s"]),
    ],
)
def test_an_axis_has_few_round_labels(values, unit, logarithmic, labels):
    scale = scale_of(values, unit, logarithmic=logarithmic)
    assert [tick_label(tick, unit) for tick in scale.ticks] == labels
    assert all(0 <= scale.at(value) <= 1 for value in values)


@given(st.lists(st.floats(0, 1e300), min_size=1), st.sampled_from(["s", "bytes", ""]), st.booleans())
def test_every_value_stands_on_its_axis_in_order(values, unit, logarithmic):
    scale = scale_of(values, unit, logarithmic=logarithmic)
    places = [scale.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 1
    assert 2 <= len(scale.ticks) <= 6
    assert list(scale.ticks) == sorted(set(scale.ticks))
