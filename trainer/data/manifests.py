"""Read the manifests of a data folder, sounds.csv and esc10.csv, as recordings.

The data folder is the one given, else that of SOUNDSEARCH_DATA.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from soundsearch.errors import SoundsearchError
from soundsearch.tables import Row, Table

Split = Literal["train", "valid"]

SOUNDS = "sounds.csv"
ESC10 = "esc10.csv"
#: Columns that a row may leave empty, and what stands for an empty licence.
MAY_BE_EMPTY = ("tags", "licence")
NOT_STATED = "not stated"
#: Tags that say where a file is from or what may be done with it, not how it sounds.
SILENT_TAGS = frozenset(
    {
        "foley",
        "game sound effect",
        "no-standalone-redistribution",
        "olpc berklee sampling archive",
        "sample",
        "sound effect",
    }
)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One recording of a manifest.

    path: the file. caption: what it sounds like. tags: lower-case words about it, possibly none.
    source, licence: where it is from and on what terms. label: its class where the manifest has
    classes (ESC-10), else None.
    """

    path: Path
    caption: str
    tags: tuple[str, ...]
    split: Split
    source: str
    licence: str
    label: str | None = None


class ManifestError(SoundsearchError):
    """A manifest that is missing or does not hold what it should."""


def find_data(folder: Path | None = None) -> Path:
    """The data folder: the one given, else that of SOUNDSEARCH_DATA. Raises ManifestError."""
    named = folder or os.environ.get("SOUNDSEARCH_DATA")
    if not named:
        raise ManifestError("no data folder is named; give one, or set SOUNDSEARCH_DATA to it")
    if not Path(named).is_dir():
        raise ManifestError(
            f"{named}: no data folder here; give one, or set SOUNDSEARCH_DATA to it"
        )
    return Path(named)


def read_sounds(data: Path) -> list[Recording]:
    """The recordings of sounds.csv. Raises ManifestError naming file and line."""
    table = Table(data / SOUNDS, ManifestError)
    return [
        Recording(
            path=data / row["file"],
            caption=row["caption"].strip(),
            tags=_tags(row["tags"]),
            split=_split(row, table),
            source=row["source"],
            licence=row["licence"].strip() or NOT_STATED,
        )
        for row in table.rows(
            ("file", "caption", "tags", "split", "source", "licence"), may_be_blank=MAY_BE_EMPTY
        )
    ]


def read_esc10(data: Path) -> list[Recording]:
    """The recordings of esc10.csv; the label is also the only tag. Raises ManifestError."""
    table = Table(data / ESC10, ManifestError)
    return [
        Recording(
            path=data / row["file"],
            caption=row["caption"].strip(),
            tags=(row["label"].replace("_", " "),),
            split=_split(row, table),
            source=row["source"],
            licence=row["licence"].strip() or NOT_STATED,
            label=row["label"].replace("_", " "),
        )
        for row in table.rows(
            ("file", "label", "caption", "split", "licence", "source"), may_be_blank=MAY_BE_EMPTY
        )
    ]


def of_split(recordings: Sequence[Recording], split: Split) -> list[Recording]:
    """The recordings of one split, in the manifest's order."""
    return [recording for recording in recordings if recording.split == split]


def digest(data: Path, names: Sequence[str]) -> str:
    """SHA-256 over the named files of the data folder: what a training run depended on."""
    total = hashlib.sha256()
    for name in names:
        try:
            total.update((data / name).read_bytes())
        except OSError as error:
            raise ManifestError(f"{data / name}: cannot be read ({error.strerror})") from error
    return total.hexdigest()


def _tags(text: str) -> tuple[str, ...]:
    tags = (tag.strip().lower() for tag in re.split("[,;]", text))
    return tuple(dict.fromkeys(tag for tag in tags if tag and tag not in SILENT_TAGS))


def _split(row: Row, table: Table) -> Split:
    text = row["split"]
    if text not in ("train", "valid"):
        raise table.fault(row, f"split must be train or valid, not {text!r}")
    return cast(Split, text)
