"""Read Clotho as its authors publish it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from soundsearch.bench.datasets.assemble import (
    first_file,
    refuse_duplicates,
    require_choice,
    retrieval_set,
)
from soundsearch.bench.datasets.audio_folder import AudioFolder
from soundsearch.bench.datasets.kinds import DataSetError, RetrievalSet
from soundsearch.choices import ClothoSplit
from soundsearch.tables import Table

CAPTIONS = tuple(f"caption_{i}" for i in range(1, 6))


def read_clotho(root: Path, split: str = "evaluation") -> RetrievalSet:
    """A split of Clotho, version 1 or 2: five captions for each clip.

    Source: K. Drossos, S. Lipping, T. Virtanen, Clotho: an audio captioning dataset, ICASSP 2020.

    Args:
        root: holds clotho_captions_SPLIT.csv and the recordings in SPLIT/ or clotho_audio_SPLIT/
            (also one in the other, as the archives unpack).
        split: development, validation or evaluation.

    Raises:
        DataSetError: there is no such split, its table is not right, or none of its recordings
            is there.
    """
    require_choice("clotho", split, get_args(ClothoSplit))
    table = f"clotho_captions_{split}.csv"
    path = first_file(root, (table, f"clotho_csv_files/{table}"), "clotho")
    captions_of = {}
    names = []
    for row in Table(path, DataSetError).rows(("file_name", *CAPTIONS)):
        names.append(row["file_name"])
        captions_of[row["file_name"]] = tuple(row[column] for column in CAPTIONS)
    refuse_duplicates(path, names)
    unpacked = f"clotho_audio_{split}"
    folder = AudioFolder.first(
        root, (split, f"{unpacked}/{split}", unpacked, f"clotho_audio_files/{split}"), "clotho"
    )
    return retrieval_set("clotho", split, path, folder, captions_of, folder.named)
