"""What the documents say of results is what the Result files beside them say."""

from pathlib import Path

import pytest

from fastballoon_cli.results.files import load
from fastballoon_cli.results.page.files import markdown
from fastballoon_cli.results.report.report import report

_DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("name", "part"), [("results.md", "."), ("results-distribution.md", "distribution")])
def test_the_results_are_those_of_the_files(name, part):
    page = report([load(path) for path in sorted((_DOCS / "results" / part).glob("*.json"))])
    pictures = {chart.slug: _DOCS / "pictures" / part / f"{chart.slug}.svg" for chart in page.charts()}
    assert (_DOCS / name).read_text() == markdown(page, pictures, _DOCS), (
        f"docs/{name} is not what 'report' writes: see docs/measuring.md"
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
