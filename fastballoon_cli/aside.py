"""Files that are whole whenever somebody looks at them."""

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Write aside and rename, so that a reader never sees half of a file, and a failure leaves the old one.

    :raise OSError: it could not be written; names the file itself.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text)
        aside.rename(path)
    except OSError as e:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise type(e)(e.errno, e.strerror, str(path)) from e
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
