"""Recordings in object storage: addresses, listings and the state of objects, by fsspec.

In: URLs. Out: paths relative to a root, with size and state, as `scan.walk` gives them for folders.
A URL is a prefix, a recording, a list of URLs (`.txt`, one a line) or a tar file, whose members are
recordings at `x.tar!/name`. fsspec and the packages of a storage are loaded when they are needed.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import os
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import xxhash

from indexer.scan import Scan, is_excluded
from soundsearch.audio.suffixes import AMBIGUOUS_SUFFIXES, AUDIO_SUFFIXES, HEAD_BYTES
from soundsearch.errors import SoundsearchError, StoreError
from soundsearch.files import LARGEST
from soundsearch.progress import SILENT, Progress
from soundsearch.urls import is_url, path_of, url_of

#: Endings of what is opened to find recordings in it.
LIST, TAR = ".txt", ".tar"
#: Stands behind the name of a tar file in the path of a member.
IN_TAR = "!"
#: Objects of a list whose state is asked for at a time.
ASKED_AT_ONCE = 16
#: Bytes read at a time where the headers of a tar file are looked for.
TAR_BLOCK_BYTES = 1 << 16
#: Under which names file systems give the time of change, the best first, and a hash or version.
TIMES = (
    *("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "modified"),
    "created",
)
TAGS = ("ETag", "etag", "content_md5", "md5Hash", "Content-MD5")
SECOND_NS = 10**9
#: What fsspec needs for a scheme; those of the extra `dask` are installed with it.
PACKAGES = {
    "s3": "'soundsearch[dask]'",
    "http": "'soundsearch[dask]'",
    "https": "'soundsearch[dask]'",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "sftp": "paramiko",
}

#: The URL of a tar file with what follows a question mark, and what is wanted of its members.
_WITHIN_TAR = re.compile(
    r"((?:https?:.+?\.tar(?:\?[^!]*)?|.+?\.tar))!(?:/(.*))?", re.DOTALL | re.IGNORECASE
)
#: What a name in a URL cannot hold as it is; an escape stays one.
_UNESCAPED = re.compile(r"[#?]|%(?![0-9A-Fa-f]{2})")
WEB = ("http:", "https:")

Facts = tuple[int, int]


@dataclass(frozen=True)
class Place:
    """Where an object lies. name: in its file system. member: of a tar file, else None."""

    url: str
    system: Any
    name: str
    member: str | None = None

    def info(self) -> Mapping[str, Any]:
        """What the storage says of the object, or of the tar file that it is in; raises OSError."""
        with storage_errors(self.url):
            found: Mapping[str, Any] = self.system.info(self.name)
            return found


def place_at(url: str) -> Place:
    """Return where a URL leads.

    Raises:
        StoreError: it holds a password, or there is no file system for it.
    """
    scheme = url.partition(":")[0]
    user, _, host = urlsplit(url).netloc.rpartition("@")
    if ":" in user:
        raise StoreError(
            f"{scheme}://{host}: the URL holds a password, which would be stored and shown; give it "
            "to the storage's own settings (for https: a netrc file)"
        )
    try:
        import fsspec
    except ImportError as error:
        raise StoreError(
            f"{url}: URLs need fsspec; install it with: pip install 'soundsearch[dask]'"
        ) from error
    try:
        # No listing is remembered: objects change, and a million names need much memory.
        system = fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        package = PACKAGES.get(scheme)
        way_out = f"install it with: pip install {package}" if package else str(error)
        raise StoreError(f"{url}: a package for {scheme}:// is missing; {way_out}") from error
    except ValueError as error:
        raise StoreError(
            f"{url}: no file system for {scheme}://; fsspec knows file, s3, gs, az, https and more"
        ) from error
    whole, member = in_tar(url) or (url, "")
    return Place(url, system, str(system._strip_protocol(whole)), member or None)


def in_tar(url: str) -> tuple[str, str] | None:
    """The tar file that a URL leads into, and the member or folder in it; "" for all of it."""
    found = _WITHIN_TAR.fullmatch(url)
    return None if found is None else (found[1], found[2] or "")


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """What goes wrong in a storage as an OSError that says it in one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "not there", url) from error
    except PermissionError as error:
        reason = " ".join(str(error).split()) or "permission is denied"
        raise PermissionError(errno.EACCES, reason, url) from error
    except SoundsearchError:
        raise
    except Exception as error:  # of many libraries, which share no base
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
        text = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        if "credentials" in text.lower():
            text += (
                "; give those of your storage, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        raise OSError(errno.EIO, text[:300], url) from error


def state_of(info: Mapping[str, Any]) -> Facts:
    """Size and state of an object, of what a file system says of it.

    The state is its time of change in ns. Where the storage also gives a hash or version, that is
    in the digits below a second: storages change an object twice in a second, and some give no time.
    It is compared for equality, never with a clock of this machine.
    """
    seconds = next((s for s in map(_seconds, map(info.get, TIMES)) if s is not None), 0.0)
    most = LARGEST - SECOND_NS  # leaves room for a tag, whatever the clock of the storage says
    state = max(-most, min(most, round(seconds * 1e6) * 1000))
    tag = next((str(info[name]) for name in TAGS if info.get(name)), None)
    if tag is not None:
        state = state // SECOND_NS * SECOND_NS + xxhash.xxh3_64_intdigest(tag.encode()) % SECOND_NS
    return int(info.get("size") or 0), state


def _seconds(time: object) -> float | None:
    """A time of change as seconds since 1970; None if it is none."""
    if isinstance(time, datetime):
        return time.timestamp()
    if isinstance(time, int | float):
        return float(time)
    if isinstance(time, str):
        for parse in (datetime.fromisoformat, email.utils.parsedate_to_datetime):
            with contextlib.suppress(ValueError):
                return parse(time).timestamp()
    return None


def target_url(place: Path) -> Path:
    """Return the URL that is indexed where a person names this place; the place itself if none.

    Tar files and lists of URLs are read by fsspec wherever they lie.
    """
    if in_tar(str(place)) is not None:
        return place
    ending = suffix_of(str(place)).lower()
    if ending in (TAR, LIST) and not is_url(place) and place.is_file():
        place = path_of(f"file://{place}")
    return path_of(f"{place}{IN_TAR}") if is_url(place) and ending == TAR else place


def walk_url(
    root: Path,
    inside: str = ".",
    exclude: Sequence[str] = (),
    found: Scan | None = None,
    progress: Progress = SILENT,
) -> Iterator[tuple[str, Facts]]:
    """Look through a URL as `scan.walk` does through a folder, with the same arguments.

    Raises StoreError as `place_at`.
    """
    found = found or Scan()
    base = url_of(root, inside)
    place = place_at(base)
    try:
        for relative, facts in _entries(place, base, exclude, found):
            progress.advance()
            if inside != ".":
                relative = inside if relative == "." else f"{inside}/{relative}"
            yield relative, facts
    except OSError as error:
        found.add_unreadable(inside, error.strerror or str(error))


def _entries(
    place: Place, base: str, exclude: Sequence[str], found: Scan
) -> Iterator[tuple[str, Facts]]:
    ending = suffix_of(base).lower()
    if in_tar(base) is not None:
        yield from _recordings_in_tar(place, place.info(), exclude)
    elif ending == LIST:
        yield from _listed(place)
    elif ending in AUDIO_SUFFIXES and place.info()["type"] == "file":
        yield ".", state_of(place.info())
    else:
        yield from _below(place, exclude, found)


def _below(place: Place, exclude: Sequence[str], found: Scan) -> Iterator[tuple[str, Facts]]:
    """All recordings under a prefix, folder by folder, so that memory holds one of them.

    Raises OSError, also for a page of the web that leads to none: few servers list their folders.
    """
    top = place.name.rstrip("/")
    n_found = 0

    def relative_to_top(name: str) -> str:
        return name.rstrip("/")[len(top) + 1 :]

    def unreadable(error: Exception) -> None:
        raise error

    with storage_errors(place.url):
        for _, folders, files in place.system.walk(place.name, detail=True, on_error=unreadable):
            for name, info in list(folders.items()):
                if name.startswith(".") or is_excluded(
                    name, relative_to_top(info["name"]), exclude
                ):
                    del folders[name]
            for name, info in sorted(files.items()):
                relative = relative_to_top(info["name"])
                if name.startswith(".") or not name or is_excluded(name, relative, exclude):
                    continue
                if suffix_of(info["name"]).lower() == TAR:
                    inner = Place(place.url, place.system, info["name"])
                    try:
                        for member, facts in _recordings_in_tar(inner, info, exclude):
                            yield f"{relative}{IN_TAR}/{member}", facts
                    except OSError as error:
                        found.add_unreadable(relative + IN_TAR, error.strerror or str(error))
                elif _may_hold_sound(place, info["name"]):
                    yield (
                        relative,
                        state_of(info if info.get("size") is not None else _asked(place, info)),
                    )
                else:
                    found.skip(name)
                    continue
                n_found += 1
    if not n_found and place.url.startswith(WEB):
        raise OSError(
            errno.ENOENT,
            "it lists no recordings; give a recording, a tar file or a list of URLs (.txt)",
            place.url,
        )


def _asked(place: Place, info: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a storage says of an object whose listing says nothing, as that of a web server."""
    return Place(place.url, place.system, info["name"]).info()


def _may_hold_sound(place: Place, name: str) -> bool:
    ending = suffix_of(name).lower()
    begins_so = AMBIGUOUS_SUFFIXES.get(ending)
    if begins_so is None:
        return ending in AUDIO_SUFFIXES
    return begins_so(place.system.cat_file(name, start=0, end=HEAD_BYTES))


def _listed(place: Place) -> Iterator[tuple[str, Facts]]:
    """The URLs of a list, and names relative to it.

    One that cannot be looked at is given all the same: reading it says why.
    """
    with storage_errors(place.url):
        text = place.system.cat_file(place.name).decode("utf-8", "surrogateescape")
    urls = []
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("#"):
            continue
        urls.append(line if is_url(line) else _beside(place.url, line))
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        urls = list(dict.fromkeys(urls))
        for start in range(0, len(urls), 100 * ASKED_AT_ONCE):
            some = urls[start : start + 100 * ASKED_AT_ONCE]
            yield from zip(some, pool.map(_state_or_none, some), strict=True)


def _beside(url: str, name: str) -> str:
    """The URL of a name that a list gives, relative to the list."""
    if url.startswith(WEB):
        name = _UNESCAPED.sub(lambda found: quote(found[0]), name)
        url = url.partition("?")[0]
    if name.startswith("/"):
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}{name}"
    return posixpath.join(posixpath.dirname(url), name)


def _state_or_none(url: str) -> Facts:
    try:
        return state_of(place_at(url).info())
    except OSError:
        return 0, 0


def _recordings_in_tar(
    place: Place, info: Mapping[str, Any], exclude: Sequence[str]
) -> Iterator[tuple[str, Facts]]:
    """Recordings in a tar file, or below the folder in it that is the place's member.

    Their state is that of the file.
    """
    state = state_of(info)[1]
    for whole, (_, size) in members_of(place).items():
        name, base = whole, posixpath.basename(whole)
        if place.member is not None:
            name = "." if whole == place.member else whole.removeprefix(f"{place.member}/")
            if name == whole:
                continue
        if base.startswith(".") or is_excluded(base, whole, exclude):
            continue
        if posixpath.splitext(whole)[1].lower() in AUDIO_SUFFIXES:
            yield name, (size, state)


def members_of(place: Place) -> dict[str, tuple[int, int]]:
    """Members of a tar file by name: where the content begins, and its bytes. Raises OSError."""
    found = {}
    with (
        storage_errors(place.url),
        place.system.open(
            place.name, "rb", block_size=TAR_BLOCK_BYTES, cache_type="readahead"
        ) as file,
        tarfile.open(fileobj=file, mode="r:") as tar,
    ):
        for member in tar:
            if member.isfile():
                name = re.sub(r"^(\.{0,2}/)+", "", posixpath.normpath(member.name))
                found[name] = (member.offset_data, member.size)
    return found


def suffix_of(url: str) -> str:
    """The ending of the name of an object, without what follows a question mark."""
    path = urlsplit(url).path if url.startswith(WEB) else url
    return os.path.splitext(path)[1]
