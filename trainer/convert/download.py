"""Fetching published files, once, and checking that they are the published ones."""

from __future__ import annotations

import logging
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from soundsearch.files import sha256_of, write_atomically
from soundsearch.paths import cache_folder
from trainer.convert import ConversionError

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30
SHA256 = re.compile("[0-9a-f]{64}")


def downloads_folder() -> Path:
    """Where fetched files are stored: in the cache folder, which may be emptied at any time."""
    return cache_folder() / "downloads"


def fetch(url: str, path: Path, otherwise: str, sha256: str | None = None) -> Path:
    """Bring a file to `path`, unless it is there.

    otherwise: what can be done without the network, the end of the error's line. sha256: of the
    file, if it is known; a file of another that is there already is fetched anew. Where it is not
    known, that of the fetched file is logged, so that the next call can be given it.
    Raises ConversionError if the file cannot be had whole, or is another one.
    """
    if path.exists():
        if sha256 is None or sha256_of(path) == sha256.lower():
            logger.info("%s was fetched before", path)
            return path
        logger.warning("%s: not the file of SHA-256 %s; it is fetched anew", path, sha256)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as aside:
            _download(url, aside, otherwise)
            if sha256 is None:
                logger.info("%s has SHA-256 %s; none is published", path, sha256_of(aside))
            else:
                check_sha256(aside, sha256, f"{url}: not the file that was expected", otherwise)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer, too
        reason = getattr(error, "reason", None) or error
        raise ConversionError(f"{url}: cannot be fetched ({reason}); {otherwise}") from error
    return path


def _download(url: str, path: Path, otherwise: str) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, open(path, "wb") as file:
        declared = int(answer.headers.get("Content-Length") or 0)
        logger.info("fetching %s (%.0f MB)", url, declared / 1e6)
        shutil.copyfileobj(answer, file, BLOCK_BYTES)
        found = file.tell()
    if declared and found != declared:
        raise ConversionError(f"{url}: ended after {found} of {declared} bytes; {otherwise}")


def check_sha256(path: Path, sha256: str, what: str, otherwise: str) -> None:
    """Raise ConversionError unless a file has this SHA-256, 64 hexadecimal digits.

    what: begins the error's line; otherwise: ends it with the way out.
    """
    found = sha256_of(path)
    if found != sha256.lower():
        raise ConversionError(f"{what}, its SHA-256 is {found}, expected {sha256}; {otherwise}")


def check_hub_file(path: Path) -> None:
    """Raise ConversionError if a file of the Hugging Face hub's cache is not what the hub published.

    The cache holds a large file under the SHA-256 that the hub gives for it, with a link to it from
    its own name; where there is no such link (small files, Windows), nothing is known and checked.
    Source: huggingface_hub, `file_download.py` (the entity tag of a large file is its SHA-256).
    """
    stored = path.resolve()
    if SHA256.fullmatch(stored.name):
        what, otherwise = (
            f"{path}: damaged",
            "delete it and the file it links to, and fetch it anew",
        )
        check_sha256(stored, stored.name, what, otherwise)
