from pathlib import Path

import pytest

from fastballoon_cli.build.checks import trailers, warnings_in
from fastballoon_cli.build.kconfig import parse, unknown_symbols, unmet
from fastballoon_cli.build.paths import Product
from fastballoon_cli.build.series import load_series
from fastballoon_cli.build.store import key_of
from fastballoon_cli.build.versions import in_range
from fastballoon_cli.errors import BuildError

_MANIFEST = """
[base]
name = "linux"
package = "linux-source-6.12"
suite = "trixie"
version = "6.12.117-1"
sha256 = ""
range = ">=6.12.48,<6.13"
"""


def test_patches_are_in_order_and_the_cover_letter_is_none(tmp_path: Path) -> None:
    (tmp_path / "series.toml").write_text(_MANIFEST)
    for name in ("0002-b.patch", "0000-cover-letter.patch", "0001-a.patch", "notes.txt"):
        (tmp_path / name).write_text(name)
    series = load_series("kernel", tmp_path)
    assert [p.name for p in series.patches] == ["0001-a.patch", "0002-b.patch"]
    assert series.upstream is None


def test_sum_follows_content_and_name(tmp_path: Path) -> None:
    (tmp_path / "series.toml").write_text(_MANIFEST)
    assert load_series("kernel", tmp_path).sha256 is None
    patch = tmp_path / "0001-a.patch"
    patch.write_text("a")
    first = load_series("kernel", tmp_path).sha256
    patch.write_text("b")
    second = load_series("kernel", tmp_path).sha256
    patch.rename(tmp_path / "0001-c.patch")
    third = load_series("kernel", tmp_path).sha256
    assert len({first, second, third}) == 3
    (tmp_path / "0000-cover-letter.patch").write_text("words")
    assert load_series("kernel", tmp_path).sha256 == third


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (None, "cannot read"),
        ("[base", "is not what it should be"),
        ("[base]\nname = 'x'\n", "lacks 'package'"),
        (_MANIFEST + "[upstream]\nurl = 'x'\n", "lacks 'version'"),
    ],
)
def test_bad_manifest(tmp_path: Path, manifest: str | None, says: str) -> None:
    if manifest is not None:
        (tmp_path / "series.toml").write_text(manifest)
    with pytest.raises(BuildError, match=says):
        load_series("kernel", tmp_path)


@pytest.mark.parametrize("product", ["kernel", "qemu"])
def test_the_real_series(product: Product) -> None:
    series = load_series(product)
    assert in_range(series.base.version, series.base.range)
    assert series.upstream is not None
    assert in_range(series.upstream.version, series.base.range)
    assert len(series.upstream.sha256) == 64
    assert not [line for patch in series.patches for line in trailers(patch.read_text().partition("\n---\n")[0])]


def test_key_depends_on_every_input_and_not_on_their_order() -> None:
    assert key_of({"a": 1, "b": "x"}) == key_of({"b": "x", "a": 1})
    assert len({key_of({"a": 1}), key_of({"a": 2}), key_of({"b": 1}), key_of({"a": None})}) == 4


def test_kconfig() -> None:
    fragment = "# words\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=16\nCONFIG_D=y\n"
    assert parse(fragment) == {"A": "y", "B": "n", "C": "16", "D": "y"}
    assert unmet(fragment, "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=8\n# CONFIG_D is not set\n") == ["C", "D"]


def test_unknown_symbols(tmp_path: Path) -> None:
    (tmp_path / "drivers").mkdir()
    (tmp_path / "drivers/Kconfig").write_text("config KNOWN\n\tbool\n\nmenuconfig ALSO_KNOWN\n\tbool\n")
    assert unknown_symbols(tmp_path, ["KNOWN", "ALSO_KNOWN", "NEW"]) == {"NEW"}


def test_trailers() -> None:
    message = "Subject: x\n\nA sentence by-line: no.\nFixes: 1234\nSigned-off-by: A <a@b>\nCc: C <c@d>\n"
    assert trailers(message) == ["Signed-off-by: A <a@b>", "Cc: C <c@d>"]


def test_only_warnings_about_touched_files_count() -> None:
    output = (
        "  CC      a.o\n"
        "/t/trees/kernel/drivers/virtio/virtio_balloon.c:12:3: warning: unused variable 'x' [-Wunused-variable]\n"
        "../mm/other.c:5:1: warning: something old\n"
        "drivers/virtio/virtio_balloon.c:9: note: here\n"
    )
    found = warnings_in(output, {"drivers/virtio/virtio_balloon.c"})
    assert len(found) == 1
    assert "unused variable" in found[0]
