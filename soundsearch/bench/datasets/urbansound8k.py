"""Read UrbanSound8K as its authors publish it."""

from __future__ import annotations

from pathlib import Path

from soundsearch.bench.datasets.assemble import classification_set, first_file
from soundsearch.bench.datasets.audio_folder import AudioFolder
from soundsearch.bench.datasets.kinds import ClassificationSet, DataSetError
from soundsearch.tables import Table


def read_urbansound8k(root: Path) -> ClassificationSet:
    """UrbanSound8K: 8,732 clips of 10 classes in 10 folds.

    Source: J. Salamon, C. Jacoby, J. P. Bello, A dataset and taxonomy for urban sound research,
    ACM MM 2014.

    Args:
        root: holds metadata/UrbanSound8K.csv and audio/fold1/ to audio/fold10/.

    Raises:
        DataSetError: its table is not right, or none of its recordings is there.
    """
    path = first_file(root, ("metadata/UrbanSound8K.csv",), "urbansound8k")
    rows = list(Table(path, DataSetError).rows(("slice_file_name", "fold", "classID", "class")))
    folder = AudioFolder.first(root, ("audio",), "urbansound8k")
    return classification_set(
        "urbansound8k",
        path,
        folder,
        names=[f"fold{row['fold']}/{row['slice_file_name']}" for row in rows],
        find=folder.named,
        numbers=[row["classID"] for row in rows],
        labels=[row["class"] for row in rows],
        folds=[row["fold"] for row in rows],
    )
