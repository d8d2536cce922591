"""Read ESC-50 as its author publishes it."""

from __future__ import annotations

from pathlib import Path

from soundsearch.bench.datasets.assemble import classification_set, first_file
from soundsearch.bench.datasets.audio_folder import AudioFolder
from soundsearch.bench.datasets.kinds import ClassificationSet, DataSetError
from soundsearch.tables import Table


def read_esc50(root: Path) -> ClassificationSet:
    """ESC-50: 2,000 clips of 50 classes in 5 folds.

    Source: K. J. Piczak, ESC: dataset for environmental sound classification, ACM MM 2015.

    Args:
        root: holds meta/esc50.csv and audio/.

    Raises:
        DataSetError: its table is not right, or none of its recordings is there.
    """
    path = first_file(root, ("meta/esc50.csv",), "esc50")
    rows = list(Table(path, DataSetError).rows(("filename", "fold", "target", "category")))
    folder = AudioFolder.first(root, ("audio",), "esc50")
    return classification_set(
        "esc-50",
        path,
        folder,
        names=[row["filename"] for row in rows],
        find=folder.named,
        numbers=[row["target"] for row in rows],
        labels=[row["category"] for row in rows],
        folds=[row["fold"] for row in rows],
    )
