"""Find the recordings of a data set in its folder, by name, path or stem."""

from __future__ import annotations

import contextlib
import functools
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from soundsearch.bench.datasets.kinds import DataSetError

#: Endings of recordings, for finding AudioCaps clips by the stem of their names.
AUDIO_ENDINGS = frozenset(
    [
        ".wav",
        ".flac",
        ".mp3",
        ".ogg",
        ".opus",
        ".m4a",
        ".aac",
        ".aif",
        ".aiff",
        ".webm",
        ".mp4",
        ".mkv",
    ]
)


class AudioFolder:
    """A folder of recordings, found by name in any Unicode normal form, or by stem."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listings: dict[Path, dict[str, list[str]]] = {}

    @classmethod
    def first(cls, root: Path, names: Sequence[str], what: str) -> AudioFolder:
        """The first of these folders in root that is there and holds something."""
        folders = [cls(root / name) for name in names]
        for folder in folders:
            if folder.path.is_dir() and folder._names:
                return folder
        looked = " or ".join(str(folder.path) for folder in folders)
        raise DataSetError(f"{what}: no recordings at {looked}; unpack them there")

    @functools.cached_property
    def _names(self) -> dict[str, list[Path]]:
        """Every file below the folder by its path from there, in normal form."""
        found: dict[str, list[Path]] = {}
        for folder, subfolders, files in os.walk(self.path, onerror=_cannot_list):
            subfolders.sort()
            for file in sorted(files):
                path = Path(folder, file)
                found.setdefault(_normal(path.relative_to(self.path).as_posix()), []).append(path)
        return found

    @functools.cached_property
    def _stems(self) -> dict[str, Path]:
        return {
            path.stem: path
            for paths in self._names.values()
            for path in paths
            if path.suffix.lower() in AUDIO_ENDINGS
        }

    def named(self, name: str) -> Path | None:
        """The file of this name, or of the name without blanks at its ends."""
        for each in (name, name.strip()):
            exact = self.path / _name_on_disk(each)
            alike = self._names.get(_normal(_name_on_disk(each)), [])
            if exact in alike or len(alike) == 1:
                return exact if exact in alike else alike[0]
        return None

    def at(self, name: str) -> Path | None:
        """The file at this path from the folder, or at an absolute one."""
        exact = self.path / _name_on_disk(name)
        path = exact if os.path.isfile(exact) else self._alike(exact)
        return path if path is not None and os.path.isfile(path) else None

    def _alike(self, path: Path) -> Path | None:
        """The one path that is there and differs from this one in Unicode form alone."""
        there = Path(path.anchor)
        for part in path.relative_to(there).parts:
            if os.path.lexists(there / part):
                there /= part
                continue
            alike = self._listed(there).get(_normal(part), [])
            if len(alike) != 1:
                return None
            there /= alike[0]
        return there

    def _listed(self, folder: Path) -> dict[str, list[str]]:
        """What a folder holds, by names in normal form; nothing if it cannot be listed."""
        if folder not in self._listings:
            names: dict[str, list[str]] = {}
            with contextlib.suppress(OSError):
                for name in sorted(os.listdir(folder)):
                    names.setdefault(_normal(name), []).append(name)
            self._listings[folder] = names
        return self._listings[folder]

    def with_stem(self, stems: Iterable[str]) -> Path | None:
        """The file of the first of these names that there is, with any audio ending."""
        return next((self._stems[stem] for stem in stems if stem in self._stems), None)


def _cannot_list(error: OSError) -> None:
    raise DataSetError(f"{error.filename}: cannot be listed ({error.strerror})") from error


def _normal(name: str) -> str:
    """The name of a file in the one Unicode form in which names are compared, in any locale."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "surrogateescape"))


def _name_on_disk(name: str) -> str:
    """A name of a CSV as Python has names of files: the locale may know no UTF-8."""
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))
