"""What the documents say of results is what the Result files beside them say."""

from pathlib import Path

from fastballoon_cli.results.files import load
from fastballoon_cli.results.page.files import markdown
from fastballoon_cli.results.report.report import report

_DOCS = Path(__file__).parents[2] / "docs"


def test_the_results_are_those_of_the_files():
    page = report([load(path) for path in sorted((_DOCS / "results").glob("*.json"))])
    pictures = {chart.slug: _DOCS / "pictures" / f"{chart.slug}.svg" for chart in page.charts()}
    assert (_DOCS / "results.md").read_text() == markdown(page, pictures, _DOCS), (
        "docs/results.md is not what 'report' writes: see docs/measuring.md"
    )
    assert {path for path in pictures.values() if not path.is_file()} == set()


def test_the_readme_shows_a_picture_that_is_there():
    readme = (_DOCS.parent / "README.md").read_text()
    links = [part.partition(")")[0] for part in readme.split("](")[1:]]
    pictures = [link for link in links if link.endswith(".svg")]
    assert pictures
    for link in links:
        if "://" not in link:
            assert (_DOCS.parent / link.partition("#")[0]).exists(), link
