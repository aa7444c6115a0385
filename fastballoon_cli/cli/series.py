"""``scripts/series``: a patch series into a git tree, back, and checked."""

import argparse
import sys
from pathlib import Path
from typing import get_args

from fastballoon_cli.build.checks import check_series
from fastballoon_cli.build.devtree import default_tree, export_series, make_tree
from fastballoon_cli.build.paths import Product, series_dir
from fastballoon_cli.cli.output import Output
from fastballoon_cli.errors import FastballoonError, InterruptedByUser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/series", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("apply", "make DIR a git tree: tag 'base', and branch 'series' with a commit per patch"),
        ("export", "write the commits after 'base' in DIR to the series; the cover letter stays"),
        ("check", "applies, checkpatch is content, every patch builds by itself without new warnings"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("product", choices=get_args(Product))
        if name != "check":
            command.add_argument("dir", type=Path, nargs="?", metavar="DIR", help="default: a folder in the cache")
    return parser


def main() -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args()
    product: Product = arguments.product
    output = Output()
    try:
        folder = Path(getattr(arguments, "dir", None) or default_tree(product)).absolute()
        if arguments.command == "apply":
            make_tree(product, folder, output)
            output.say(f"{folder}: commit on branch 'series', then: scripts/series export {product} {folder}")
        elif arguments.command == "export":
            for name in export_series(product, folder, output):
                output.say(f"{series_dir(product) / name}")
        else:
            check_series(product, output)
            output.say(f"the series of {product} is good")
    except KeyboardInterrupt:
        output.error(InterruptedByUser("interrupted"))
        return InterruptedByUser.exit_code
    except FastballoonError as e:
        output.error(e)
        return e.exit_code
    finally:
        output.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
