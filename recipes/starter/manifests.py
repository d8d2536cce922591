"""Read the manifests of a data folder, sounds.csv, more.csv and esc10.csv, as recordings.

The data folder is the one given, else that of SOUNDSEARCH_DATA.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from soundsearch.tables import Row, Table
from trainer.data.lines import ManifestError

Split = Literal["train", "valid"]
#: How far a caption can be trusted.
Quality = Literal["high", "medium", "low"]

SOUNDS = "sounds.csv"
MORE = "more.csv"
ESC10 = "esc10.csv"
#: Columns that a row may leave empty, and what stands for an empty licence.
MAY_BE_EMPTY = ("caption", "tags", "licence", "caption_quality")
NOT_STATED = "not stated"
#: Quality of a caption of which nobody states it.
UNSTATED: Quality = "medium"
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

    Attributes:
        path: The file.
        caption: What it sounds like; empty where nobody says.
        tags: Words about it in lower case, possibly none.
        split: train or valid.
        source: Where it is from.
        licence: On what terms.
        quality: How far the caption can be trusted.
        label: Its class where the manifest has classes (ESC-10), else None.
    """

    path: Path
    caption: str
    tags: tuple[str, ...]
    split: Split
    source: str
    licence: str
    quality: Quality = UNSTATED
    label: str | None = None


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
    return _read(Table(data / SOUNDS, ManifestError), captions=True)


def read_more(data: Path) -> list[Recording]:
    """The recordings of more.csv, some without a caption; none if there is no such file."""
    path = data / MORE
    return _read(Table(path, ManifestError), captions=False) if path.exists() else []


def read_esc10(data: Path) -> list[Recording]:
    """The recordings of esc10.csv; the label is also the only tag. Raises ManifestError."""
    return _read(Table(data / ESC10, ManifestError), captions=True)


def _read(table: Table, *, captions: bool) -> list[Recording]:
    has_label, has_quality = (name in table.columns for name in ("label", "caption_quality"))
    columns = ["file", "caption", "label" if has_label else "tags", "split", "source", "licence"]
    columns += ["caption_quality"] if has_quality else []
    found = []
    for row in table.rows(columns, may_be_blank=MAY_BE_EMPTY):
        if captions and not row["caption"].strip():
            raise table.fault(row, "caption is empty")
        label = row["label"].replace("_", " ") if has_label else None
        found.append(
            Recording(
                path=table.path.parent / row["file"],
                caption=row["caption"].strip(),
                tags=_tags(row["tags"]) if label is None else (label,),
                split=_one_of(("train", "valid"), "split", row, table),
                source=row["source"],
                licence=row["licence"].strip() or NOT_STATED,
                quality=_one_of(get_args(Quality), "caption_quality", row, table)
                if has_quality and row["caption_quality"]
                else UNSTATED,
                label=label,
            )
        )
    return found


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


def _one_of(known: Sequence[str], column: str, row: Row, table: Table) -> Any:
    if row[column] not in known:
        raise table.fault(row, f"{column} must be {' or '.join(known)}, not {row[column]!r}")
    return row[column]


def draw_weights(
    recordings: Sequence[Recording], caption_power: float, source_power: float
) -> NDArray[np.float64]:
    """Weights to draw recordings by, so that no caption and no source is most of all draws.

    For each, (recordings of its caption) ** caption_power * (those of its source) ** source_power.
    """
    weights = np.ones(len(recordings))
    for values, power in (
        ([recording.caption for recording in recordings], caption_power),
        ([recording.source for recording in recordings], source_power),
    ):
        _, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
        weights *= counts[numbers].astype(np.float64) ** power
    return weights
