"""Download published files, once, and check their SHA-256."""

from __future__ import annotations

import http.client
import logging
import math
import re
import urllib.error
import urllib.request
from pathlib import Path

from soundsearch.files import sha256_of, write_atomically
from soundsearch.paths import cache_folder
from soundsearch.progress import Progress, Silent
from trainer.convert import ConversionError

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30
SHA256 = re.compile("[0-9a-f]{64}")


def downloads_folder() -> Path:
    """Return the folder of downloaded files, in the cache folder, which may be emptied at any time."""
    return cache_folder() / "downloads"


def fetch(
    url: str,
    path: Path,
    otherwise: str,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Download a file, unless it was downloaded before.

    Args:
        url: Of the file.
        path: Where to store it.
        otherwise: Way out without the network, the end of an error message.
        sha256: Of the file, if it is known. A stored file with another one is downloaded again. If
            it is not known, that of the downloaded file is logged, for the next call.
        progress: Is notified of megabytes.

    Returns:
        The path.

    Raises:
        ConversionError: The file cannot be downloaded completely, or has another SHA-256.
    """
    if path.exists():
        if sha256 is None or sha256_of(path) == sha256.lower():
            logger.info("%s was downloaded before", path)
            return path
        logger.warning("%s: not the file of SHA-256 %s; it is downloaded again", path, sha256)
    download(url, path, otherwise, sha256, progress)
    if sha256 is None:
        logger.info("%s has SHA-256 %s; none is published", path, sha256_of(path))
    return path


def download(
    url: str,
    path: Path,
    otherwise: str,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Download a file, atomically. Arguments and errors are those of `fetch`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as temporary:
            _download(url, temporary, otherwise, progress or Silent())
            if sha256 is not None:
                check_sha256(temporary, sha256, f"{url}: not the file that was expected", otherwise)
    except (OSError, ValueError, http.client.HTTPException) as error:  # urllib's are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", None) or error
        raise ConversionError(f"{url}: cannot be fetched ({reason}); {otherwise}") from error


def _download(url: str, path: Path, otherwise: str, progress: Progress) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response, open(path, "wb") as file:
        declared = int(response.headers.get("Content-Length") or 0)
        logger.info("fetching %s (%.0f MB)", url, declared / 1e6)
        progress.begin(f"MB of {url.rsplit('/', 1)[-1]}", math.ceil(declared / 1e6) or None)
        while block := response.read(BLOCK_BYTES):
            file.write(block)
            progress.advance(len(block) / 1e6)
        found = file.tell()
    if declared and found != declared:
        raise ConversionError(f"{url}: ended after {found} of {declared} bytes; {otherwise}")


def check_sha256(path: Path, sha256: str, what: str, otherwise: str) -> None:
    """Raise ConversionError unless a file has this SHA-256, 64 hexadecimal digits.

    what: beginning of the message; otherwise: its end, the way out.
    """
    found = sha256_of(path)
    if found != sha256.lower():
        raise ConversionError(f"{what}, its SHA-256 is {found}, expected {sha256}; {otherwise}")


def check_hub_file(path: Path) -> None:
    """Raise ConversionError if a file in the cache of the Hugging Face hub is damaged.

    The cache names a large file by the SHA-256 that the hub publishes, and links to it from the
    file's own name. Without such a link (small files, Windows) nothing is checked.
    Source: huggingface_hub, `file_download.py` (the entity tag of a large file is its SHA-256).
    """
    stored = path.resolve()
    if SHA256.fullmatch(stored.name):
        otherwise = "delete it and the file it links to, and download it again"
        check_sha256(stored, stored.name, f"{path}: damaged", otherwise)
