"""Recordings with captions that an encoder is calibrated on (`trainer/calibrate.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soundsearch.demo import CREDITS, shipped_recordings
from soundsearch.tables import Table
from trainer.data.lines import ManifestError

#: Recordings of a library, at most, and the seed by which they are drawn.
N_LIBRARY, SEED = 2000, 0
#: The split of a manifest that is no library, but the background.
BACKGROUND_SPLIT = "train"


@dataclass(frozen=True)
class Captioned:
    """A recording, and what it sounds like."""

    path: Path
    caption: str


@dataclass(frozen=True)
class CalibrationSet:
    """Recordings that an encoder is calibrated on.

    Attributes:
        name: For the card.
        library: Recordings that are searched, and whose captions are the queries.
        ordinary: Recordings that windows of the background are drawn from.
    """

    name: str
    library: Sequence[Captioned]
    ordinary: Sequence[Path]


def demo_set() -> CalibrationSet:
    """Return the recordings that come with soundsearch, described in their credits."""
    shipped = shipped_recordings()
    folder = shipped[0].parents[1]
    rows = Table(folder.parent / CREDITS).rows(("file", "description"))
    library = [Captioned(folder / row["file"], row["description"]) for row in rows]
    library = [one for one in library if one.path in set(shipped)]
    return CalibrationSet("the demo's recordings", library, [one.path for one in library])


def read_calibration_set(manifest: Path) -> CalibrationSet:
    """Read a CSV with the columns file and caption.

    With a column split, rows of `BACKGROUND_SPLIT` are the background and all others the library;
    otherwise all rows are both. A row without a caption is background alone.

    Args:
        manifest: The CSV; files are named from its folder.

    Raises:
        ManifestError: The CSV is not right, or no row has a caption to ask by.
    """
    table = Table(manifest, ManifestError)
    has_split = "split" in table.columns
    columns = ("file", "caption", *(("split",) if has_split else ()))
    captioned, ordinary = [], []
    for row in table.rows(columns, may_be_blank=("caption", "split")):
        path, caption = manifest.parent / row["file"], row["caption"].strip()
        is_background = has_split and row["split"] == BACKGROUND_SPLIT
        if is_background or not has_split or not caption:
            ordinary.append(path)
        if caption and not is_background:
            captioned.append(Captioned(path, caption))
    if not captioned:
        raise ManifestError(
            f"{manifest}: no row has a caption and another split than {BACKGROUND_SPLIT}; "
            "captions of recordings are needed for calibration"
        )
    rng = np.random.default_rng(SEED)
    drawn = sorted(rng.permutation(len(captioned))[:N_LIBRARY])
    library = [captioned[i] for i in drawn]
    return CalibrationSet(manifest.name, library, ordinary or [one.path for one in library])
