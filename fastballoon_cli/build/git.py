"""git, made deterministic: no user's settings, a fixed identity, fixed dates."""

from collections.abc import Sequence
from pathlib import Path

from fastballoon_cli.build.job import Job

__all__ = ["ENVIRONMENT", "git"]

_DATE = "2025-01-01T00:00:00Z"
_NAME, _MAIL = "fastballoon", "fastballoon@localhost"

ENVIRONMENT: dict[str, str | None] = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "3",
    # The cache may have been made through sudo.
    **{"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"},
    # No housekeeping behind our back that outlives the command.
    **{"GIT_CONFIG_KEY_1": "gc.auto", "GIT_CONFIG_VALUE_1": "0"},
    # 1.5 GB of source are imported in half the time, and never pushed anywhere.
    **{"GIT_CONFIG_KEY_2": "core.looseCompression", "GIT_CONFIG_VALUE_2": "0"},
    **{"GIT_AUTHOR_NAME": _NAME, "GIT_AUTHOR_EMAIL": _MAIL, "GIT_AUTHOR_DATE": _DATE},
    **{"GIT_COMMITTER_NAME": _NAME, "GIT_COMMITTER_EMAIL": _MAIL, "GIT_COMMITTER_DATE": _DATE},
    "GIT_TERMINAL_PROMPT": "0",
}


def git(job: Job, tree: Path, arguments: Sequence[str | Path], *, hint: str | None = None) -> str:
    """Run git in ``tree`` and return what it says.

    :raise BuildError: it failed.
    """
    return job.run(["git", *arguments], cwd=tree, env=ENVIRONMENT, hint=hint)
