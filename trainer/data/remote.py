"""Shards that are named by the URL of a list: fetched once, into the cache folder.

A list has a file on each line: its URL, or its path beside the list, and its SHA-256 where that is
known, before or behind it (as `sha256sum *.tar` prints). It may name side files (.safetensors) too.
Empty lines, and lines that begin with #, mean nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from soundsearch.files import write_text
from soundsearch.progress import Progress, Silent
from trainer.convert import ConversionError
from trainer.convert.download import SHA256, download, downloads_folder
from trainer.data.example import ShardError

logger = logging.getLogger(__name__)

SCHEMES = ("http://", "https://")
SUFFIXES = (".tar", ".safetensors")
LIST, FETCHED, LOCK = "list.txt", "fetched.json", "writer.lock"
OTHERWISE = "try again, or fetch the shards into a folder and name that"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a list. sha256: 64 hexadecimal digits, or None if the list does not say it."""

    url: str
    name: str
    sha256: str | None


def local_shards(place: str, progress: Progress | None = None) -> Path:
    """The folder of shards that a path or the URL of a list names.

    Files that were fetched before are not fetched again, unless the list now has another SHA-256.
    Several processes may ask for the same list: one fetches, and the others wait.

    Raises:
        ShardError: The list names something that is no shard.
        ConversionError: A file cannot be fetched, or has another SHA-256.
    """
    if not place.startswith(SCHEMES):
        return Path(place)
    import filelock

    url = hashlib.sha256(place.encode()).hexdigest()[:16]
    folder = downloads_folder() / "shards" / url
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / LOCK):
        _fetch_all(place, folder, progress or Silent())
    return folder


def _fetch_all(url: str, folder: Path, progress: Progress) -> None:
    try:
        download(url, folder / LIST, OTHERWISE)
    except ConversionError as error:
        if not (folder / LIST).exists():
            raise
        logger.warning("%s; the list of before is used", error)
    files = parse_list((folder / LIST).read_text(encoding="utf-8", errors="replace"), url)
    fetched: dict[str, str | None] = {}
    with contextlib.suppress(OSError, ValueError):  # the first time; or everything is fetched anew
        fetched = dict(json.loads((folder / FETCHED).read_text(encoding="utf-8")))
    for file in files:
        path = folder / file.name
        is_same = file.sha256 is None or fetched.get(file.name) == file.sha256
        if path.exists() and is_same:
            continue
        download(file.url, path, OTHERWISE, file.sha256, progress)
        fetched[file.name] = file.sha256
        write_text(folder / FETCHED, json.dumps(fetched, indent=1))
    logger.info("%s: %d files in %s", url, len(files), folder)


def parse_list(text: str, url: str) -> list[RemoteFile]:
    """The files of a list. url: its own. Raises ShardError naming the line."""
    files: dict[str, RemoteFile] = {}
    for n, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or line.lstrip().startswith("#"):
            continue
        hashes = [word.lower() for word in words if SHA256.fullmatch(word.lower())]
        places = [word.removeprefix("*") for word in words if not SHA256.fullmatch(word.lower())]
        if len(places) != 1 or len(hashes) > 1:
            raise ShardError(
                f"{url}: line {n} must be a URL or a path, and its SHA-256 if it is known, not "
                f"{line.strip()[:80]!r}"
            )
        target = urljoin(url, places[0])
        name = unquote(urlsplit(target).path).rpartition("/")[2]
        if not target.startswith(SCHEMES) or not name.endswith(SUFFIXES) or name.startswith("."):
            raise ShardError(
                f"{url}: line {n} must name a file {' or '.join(SUFFIXES)} by http or https, not "
                f"{places[0][:80]!r}"
            )
        if name in files:
            raise ShardError(f"{url}: line {n} names a second file {name}; give each another name")
        files[name] = RemoteFile(target, name, hashes[0] if hashes else None)
    if not any(name.endswith(".tar") for name in files):
        raise ShardError(f"{url}: the list names no shard (*.tar)")
    return list(files.values())
