"""What is built twice: with the patch series and without."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fastballoon_cli.build.series import Series
from fastballoon_cli.build.sources import Source
from fastballoon_cli.build.store import Inputs
from fastballoon_cli.build.trees import BASE, series_branch

__all__ = ["Plan", "Variant", "reference_of", "series_sha256", "source_inputs"]


class Variant(StrEnum):
    """``fast`` has the patch series, ``stock`` is the unmodified source with the same configuration."""

    FAST = "fast"
    STOCK = "stock"


@dataclass(frozen=True)
class Plan:
    """What a build would do.

    :param artifact: such as ``kernel-fast``.
    :param directory: of the finished artifact; None if it must be built.
    :param commands: ready to paste, in order; empty if there is nothing to do.
    """

    artifact: str
    directory: Path | None
    commands: list[str]

    @property
    def cached(self) -> bool:
        """Whether there is nothing to do."""
        return self.directory is not None


def series_sha256(variant: Variant, series: Series) -> str | None:
    """Return the sum of the patches that a variant has, None if it has none."""
    return series.sha256 if variant is Variant.FAST else None


def reference_of(variant: Variant, series: Series) -> str:
    """Return what git calls the variant's source."""
    return series_branch(series) if variant is Variant.FAST else BASE


def source_inputs(variant: Variant, series: Series, source: Source) -> Inputs:
    """Return the part of a build's inputs that is its source."""
    return {
        "source_version": source.version,
        "source_sha256": source.sha256,
        "series_sha256": series_sha256(variant, series),
    }
