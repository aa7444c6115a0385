"""The compiler: what it is, and how it is called through ccache."""

import os
import shutil
import subprocess
from functools import cache

from fastballoon_cli.build.packages import require
from fastballoon_cli.build.paths import ccache_dir
from fastballoon_cli.errors import PreconditionError

__all__ = ["ccache_environment", "compiler_version", "have_ccache", "jobs"]


@cache
def compiler_version(compiler: str = "gcc") -> str:
    """Return what the compiler calls itself; another one makes other artifacts.

    :raise PreconditionError: there is none.
    """
    # Not under a guardian: it takes 2 ms, and a cached build should take no more than a few of those.
    try:
        answer = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as e:
        require("kernel", "qemu", *(("sanitize",) if compiler == "clang" else ()))
        raise PreconditionError(f"{compiler} does not run: {e}", hint=f"install the package {compiler}") from e
    return answer.stdout.partition("\n")[0]


def ccache_environment() -> dict[str, str | None]:
    """Return the environment for ccache: nothing that the user set for other projects.

    With CCACHE_DEPEND it takes a file's headers from the compiler, as kernel and QEMU have it write them down anyway.
    Else it runs the preprocessor by itself, which took a first build of the kernel half as long again.
    """
    own: dict[str, str | None] = {name: None for name in os.environ if name.startswith("CCACHE_")}
    return {**own, "CCACHE_DIR": str(ccache_dir()), "CCACHE_MAXSIZE": "3G", "CCACHE_DEPEND": "1"}


def have_ccache() -> bool:
    """Say whether ccache is installed."""
    return shutil.which("ccache") is not None


def jobs() -> int:
    """Return how many compilers to run at once: as many as this process may use processors."""
    return len(os.sched_getaffinity(0))
