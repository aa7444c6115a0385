"""The commands that get a patched source tree, for people to read and paste."""

from pathlib import Path

from fastballoon_cli.build import sources
from fastballoon_cli.build.paths import apt_dir, sources_dir, tree_dir
from fastballoon_cli.build.series import Series
from fastballoon_cli.build.trees import BASE
from fastballoon_cli.process import paste

__all__ = ["source_commands"]


def source_commands(series: Series, reference: str) -> list[str]:
    """Return what brings the tree of ``series`` to ``reference``."""
    tree, base = tree_dir(series.product), series.base
    commands: list[str] = []
    source = sources.fetched(series)
    if source is None:
        options: list[str | Path] = ["-c", apt_dir() / "apt.conf"]
        what = ["source", "--download-only"] if series.product == "qemu" else ["download"]
        commands += [
            paste(["apt-get", *options, "update"]),
            f"cd {sources_dir(series.product)} && {paste(['apt-get', *options, *what, base.package])}",
        ]
    if not tree.exists():
        main = source.main_file if source else sources_dir(series.product) / base.package
        unpack = ["dpkg-source", "--no-check", "-x"] if series.product == "qemu" else ["dpkg-deb", "-x"]
        commands += [
            paste([*unpack, main, tree]),
            f"cd {tree} && git init -q && git add --all --force && git commit -q -m {base.name} && git tag {BASE}",
        ]
    commands.append(f"cd {tree} && {paste(['git', 'checkout', '--force', '--detach', BASE])}")
    if reference != BASE:
        commands += [f"cd {tree} && {paste(['git', 'am', patch])}" for patch in series.patches]
    return commands
