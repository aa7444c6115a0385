"""Files that are whole whenever somebody looks at them."""

import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Write aside and rename, so that a reader never sees half of a file, and a failure leaves the old one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text)
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
