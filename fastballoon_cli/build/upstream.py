"""Release tarballs from upstream, for machines without a Debian mirror."""

import hashlib
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from fastballoon_cli.build.series import Upstream
from fastballoon_cli.errors import BuildError
from fastballoon_cli.progress import Progress

__all__ = ["fetch"]

_TIMEOUT_SECONDS = 8
_CHUNK = 1 << 20


def fetch(upstream: Upstream, into: Path, progress: Progress) -> Path:
    """Download a tarball into the folder ``into``, check its sum, and return its path.

    :raise BuildError: it cannot be fetched, or is not what it should be.
    """
    target = into / upstream.url.rsplit("/", 1)[-1]
    digest = hashlib.sha256()
    done = 0
    try:
        # The sum is checked, so the way it comes does not matter; file:// would only confuse.
        if not upstream.url.startswith(("https://", "http://")):
            raise BuildError(f"'{upstream.url}' is no web address")
        with urllib.request.urlopen(upstream.url, timeout=_TIMEOUT_SECONDS) as answer, target.open("wb") as file:
            total = int(answer.headers.get("Content-Length") or 0) or None
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
                done += len(chunk)
                progress.update(done, total=total, note=f"{done >> 20} MiB")
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as e:
        reason = getattr(e, "reason", None) or e
        raise BuildError(
            f"cannot fetch {upstream.url}: {reason}", hint="check the network, or the proxy settings"
        ) from e
    if digest.hexdigest() != upstream.sha256:
        target.unlink()
        raise BuildError(
            f"{upstream.url} is not what it should be: SHA-256 {digest.hexdigest()}, not {upstream.sha256}",
            hint="a proxy may have sent an error page, or the download was cut short: try again",
        )
    return target
