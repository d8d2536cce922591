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

from soundsearch.audio.suffixes import AUDIO_SUFFIXES, may_hold_sound
from soundsearch.descriptors import stop_if_ran_out
from soundsearch.files import facts_of, kind_of
from soundsearch.progress import SILENT, Progress

#: Folders that systems keep for themselves beside a person's files.
SYSTEM_FOLDERS = frozenset(
    {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"}
)
#: Longer endings are none, but part of a name with a dot in it.
LONGEST_ENDING = 16
#: So many endings of skipped files are counted apart.
MOST_ENDINGS = 1000


@dataclass
class Scan:
    """What a walk through one target found.

    unreadable: folders (relative, with the reason) that could not be listed; nothing can be said
    about what is in them, nor about what lies behind links that lead nowhere now. empty:
    folders in which there is nothing at all, as where a disk is not mounted. skipped: how many
    regular files that are neither hidden nor excluded were skipped, by ending in lower case; ""
    counts those without one, and those with the rarest where there are more than MOST_ENDINGS.
    """

    files: dict[str, tuple[int, int]] = field(default_factory=dict)  # relative: (size, mtime_ns)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    empty: set[str] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)
    _unknown: set[str] = field(default_factory=set)

    def add_unreadable(self, folder: str, why: str) -> None:
        """Remember a folder that could not be listed."""
        self.unreadable.append((folder, why))
        self._unknown.add(folder)

    def add_lost_link(self, path: str) -> None:
        """Remember a link that leads nowhere now."""
        self._unknown.add(path)

    def can_tell(self, relative_path: str) -> bool:
        """Whether the absence of this file means that it is gone."""
        if not self._unknown:
            return True
        folders = (str(folder) for folder in Path(relative_path).parents)
        return "." not in self._unknown and self._unknown.isdisjoint(folders)

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
    root: Path, inside: str = ".", exclude: Sequence[str] = (), progress: Progress = SILENT
) -> Scan:
    """Walk a root and hold all that was found, see `walk`."""
    found = Scan()
    found.files.update(walk(root, inside, exclude, found, progress))
    return found


def walk(
    root: Path,
    inside: str = ".",
    exclude: Sequence[str] = (),
    found: Scan | None = None,
    progress: Progress = SILENT,
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Walk a root, a folder in it, or one file in it (`inside`, relative), file by file.

    What else is found goes into `found`; its `files` stay empty, so that memory does not grow with
    their number.

    Hidden files, system folders, devices and pipes are skipped; links are followed once.
    exclude: shell patterns, matched against names and against paths relative to the root.
    Raises SoundsearchError where too many files are open to list a folder.

    Yields:
        The path of a file, relative to the root; its size and time of change.
    """
    found = found or Scan()
    place = root / inside
    if os.path.isfile(place):
        yield inside, facts_of(os.stat(place))
        return
    if odd := _what_is_no_folder(place):
        found.add_unreadable(inside, odd)
        return
    n_above = _length_above(root)
    seen: set[tuple[int, int]] = set()
    for folder in _folders(root, place, exclude, seen, found):
        for entry in folder:
            if entry.name.startswith("."):
                continue
            is_sound = _ending(entry.name) in AUDIO_SUFFIXES
            relative = entry.path[n_above:]
            if exclude and is_excluded(entry.name, relative, exclude):
                continue
            facts = (0, 0)  # of a file that cannot be looked at: decoding it will tell why
            try:
                if not is_sound:
                    if entry.is_file():
                        found.skip(entry.name)
                    continue
                if entry.is_file():
                    if not may_hold_sound(entry.path):
                        found.skip(entry.name)
                        continue
                    facts = facts_of(entry.stat())
                elif not entry.is_symlink() or os.path.exists(entry.path):
                    continue  # a link that leads nowhere will fail, by name
            except OSError:
                if not is_sound:
                    continue
            progress.advance()
            yield relative, facts


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
    waiting, n_above = [str(place)], _length_above(root)
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
            found.add_unreadable(os.path.relpath(folder, root), error.strerror or "")
            continue
        if not entries:
            found.empty.add(os.path.relpath(folder, root))
        yield entries
        below = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name in SYSTEM_FOLDERS:
                continue
            relative = entry.path[n_above:]
            try:
                if (
                    entry.is_dir()
                    and not is_excluded(entry.name, relative, exclude)
                    and not (entry.is_symlink() and _leads_up(entry.path, root))
                ):
                    # Real folders go before links, so that a link never takes a folder's place.
                    below.append((entry.is_symlink(), entry.path))
                elif entry.is_symlink() and not entry.is_dir() and not entry.is_file():
                    found.add_lost_link(relative)  # to an unmounted disk, say
            except OSError as error:  # a link into a closed folder, say
                if error.errno != errno.ELOOP:
                    found.add_unreadable(relative, error.strerror or "")
        links = [path for is_link, path in below if is_link]
        waiting[:0] = reversed(links)
        waiting += reversed([path for is_link, path in below if not is_link])


def _length_above(root: Path) -> int:
    """How many characters a path in a root has before it is relative to the root."""
    return len(os.path.join(root, ""))


def _leads_up(link: str, root: Path) -> bool:
    """Whether a link points at the root or above it, so that following it would leave the library."""
    return root.is_relative_to(os.path.realpath(link))


def is_excluded(name: str, relative: str, exclude: Sequence[str]) -> bool:
    """Whether a name, or a path relative to the root, is like one of these shell patterns."""
    return any(
        fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(relative, pattern.rstrip("/"))
        for pattern in exclude
    )
