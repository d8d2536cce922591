"""Folders to the audio files in them.

In: a root and a part of it. Out: a `Scan`: relative paths with size and time of change, the
folders that could not be listed, and how many other files there are, by ending. Reads names and
file facts only, and changes nothing.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from soundsearch.audio.suffixes import AUDIO_SUFFIXES, may_hold_sound
from soundsearch.descriptors import stop_if_ran_out
from soundsearch.files import facts_of, kind_of, open_regular
from soundsearch.progress import Progress, Silent

#: Folders that systems keep for themselves beside a person's files.
SYSTEM_FOLDERS = frozenset(
    {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"}
)
#: Longer endings are none, but part of a name with a dot in it.
LONGEST_ENDING = 16
#: So many endings of skipped files are counted apart.
MOST_ENDINGS = 1000
#: Bytes hashed at a time.
HASH_BLOCK_BYTES = 1 << 20


@dataclass
class Scan:
    """What a walk through one target found.

    unreadable: folders (relative, with the reason) that could not be listed; nothing can be said
    about what is in them, nor about what lies behind lost_links, which lead nowhere now. empty:
    folders in which there is nothing at all, as where a disk is not mounted. skipped: how many
    regular files that are neither hidden nor excluded were skipped, by ending in lower case; ""
    counts those without one, and those with the rarest where there are more than MOST_ENDINGS.
    """

    files: dict[str, tuple[int, int]] = field(default_factory=dict)  # relative: (size, mtime_ns)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    lost_links: list[str] = field(default_factory=list)
    empty: set[str] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)

    def can_tell(self, relative_path: str) -> bool:
        """Whether the absence of this file from `files` means that it is gone."""
        unknown = [folder for folder, _ in self.unreadable] + self.lost_links
        return not any(
            folder == "." or relative_path.startswith(folder + os.sep) for folder in unknown
        )

    def skip(self, name: str) -> None:
        """Count a file that holds no sound by its ending."""
        ending = _ending(name)
        if len(ending) > LONGEST_ENDING or (
            ending not in self.skipped and len(self.skipped) >= MOST_ENDINGS
        ):
            ending = ""
        self.skipped[ending] += 1

    def emptied(self, relative_path: str) -> str | None:
        """The empty folder in which this file would lie, if there is one."""
        for folder in map(str, Path(relative_path).parents):
            if folder in self.empty:
                return folder
        return None


def scan(
    root: Path, inside: str = ".", exclude: Sequence[str] = (), progress: Progress | None = None
) -> Scan:
    """Walk a root, a folder in it, or one file in it (`inside`, relative).

    Hidden files, system folders, devices and pipes are skipped; links are followed once.
    exclude: shell patterns, matched against names and against paths relative to the root.
    Raises SoundsearchError where too many files are open to list a folder.
    """
    progress = progress or Silent()
    found = Scan()
    place = root / inside
    if os.path.isfile(place):
        found.files[inside] = facts_of(os.stat(place))
        return found
    if odd := _what_is_no_folder(place):
        found.unreadable.append((inside, odd))
        return found
    seen: set[tuple[int, int]] = set()
    for folder in _folders(root, place, exclude, seen, found):
        for entry in folder:
            if entry.name.startswith("."):
                continue
            is_sound = _ending(entry.name) in AUDIO_SUFFIXES
            relative = os.path.relpath(entry.path, root)
            if exclude and _excluded(entry.name, relative, exclude):
                continue
            try:
                if not is_sound:
                    if entry.is_file():
                        found.skip(entry.name)
                    continue
                if entry.is_file():
                    if not may_hold_sound(entry.path):
                        found.skip(entry.name)
                        continue
                    found.files[relative] = facts_of(entry.stat())
                elif entry.is_symlink() and not os.path.exists(entry.path):
                    found.files[relative] = (0, 0)  # it leads nowhere: it will fail, by name
                else:
                    continue
            except OSError:
                if not is_sound:
                    continue
                found.files[relative] = (0, 0)  # decoding it will tell why
            progress.advance()
    return found


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _what_is_no_folder(place: Path) -> str | None:
    """What a place is that is neither a file nor a folder, in words; None where it is one."""
    try:
        mode = os.stat(place).st_mode
    except OSError:
        return None  # listing it will tell why
    return None if stat.S_ISDIR(mode) else f"{kind_of(mode)}, neither a recording nor a folder"


def _folders(
    root: Path, place: Path, exclude: Sequence[str], seen: set[tuple[int, int]], found: Scan
) -> Iterator[list[os.DirEntry[str]]]:
    """The entries of every folder from place on, each folder once, in the order of names."""
    waiting = [str(place)]
    while waiting:
        folder = waiting.pop()
        try:
            facts = os.stat(folder)
            if (facts.st_dev, facts.st_ino) in seen:
                continue  # a link led here again
            seen.add((facts.st_dev, facts.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            stop_if_ran_out(error)
            found.unreadable.append((os.path.relpath(folder, root), error.strerror or ""))
            continue
        if not entries:
            found.empty.add(os.path.relpath(folder, root))
        yield entries
        below = []
        for entry in entries:
            relative = os.path.relpath(entry.path, root)
            if entry.name.startswith(".") or entry.name in SYSTEM_FOLDERS:
                continue
            try:
                if (
                    entry.is_dir()
                    and not _excluded(entry.name, relative, exclude)
                    and not (entry.is_symlink() and _leads_up(entry.path, root))
                ):
                    # Real folders go before links, so that a link never takes a folder's place.
                    below.append((entry.is_symlink(), entry.path))
                elif entry.is_symlink() and not entry.is_dir() and not entry.is_file():
                    found.lost_links.append(relative)  # to an unmounted disk, say
            except OSError as error:  # a link into a closed folder, say
                if error.errno != errno.ELOOP:
                    found.unreadable.append((relative, error.strerror or ""))
        links = [path for is_link, path in below if is_link]
        waiting[:0] = reversed(links)
        waiting += reversed([path for is_link, path in below if not is_link])


def _leads_up(link: str, root: Path) -> bool:
    """Whether a link points at the root or above it, so that following it would leave the library."""
    return root.is_relative_to(os.path.realpath(link))


def _excluded(name: str, relative: str, exclude: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(relative, pattern.rstrip("/"))
        for pattern in exclude
    )


def hash_of(path: Path) -> bytes:
    """Content hash of a file, 16 bytes (XXH3-128). Raises OSError, also for what is not a file."""
    digest = xxhash.xxh3_128()
    with open_regular(path) as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.digest()
