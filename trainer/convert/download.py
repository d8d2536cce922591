"""Fetching published files, once."""

from __future__ import annotations

import contextlib
import logging
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from soundsearch.paths import cache_folder
from trainer.convert import ConversionError

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30


def downloads_folder() -> Path:
    """Where fetched files are stored: in the cache folder, which may be emptied at any time."""
    return cache_folder() / "downloads"


def fetch(url: str, path: Path, otherwise: str) -> Path:
    """Bring a file to `path`, unless it is there; written aside and renamed.

    otherwise: what can be done without the network, the end of the error's line.
    Raises ConversionError if it cannot be had whole.
    """
    if path.exists():
        logger.info("%s was fetched before", path)
        return path
    aside = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, open(aside, "wb") as file:
            told = int(answer.headers.get("Content-Length") or 0)
            logger.info("fetching %s (%.0f MB)", url, told / 1e6)
            shutil.copyfileobj(answer, file, BLOCK_BYTES)
            found = file.tell()
        if told and found != told:
            raise ConversionError(f"{url}: ended after {found} of {told} bytes; {otherwise}")
        aside.replace(path)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer, too
        reason = getattr(error, "reason", None) or error
        raise ConversionError(f"{url}: cannot be fetched ({reason}); {otherwise}") from error
    finally:
        with contextlib.suppress(OSError):  # the folder may not be there
            aside.unlink()
    return path
