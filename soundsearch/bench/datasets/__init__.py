"""Benchmark data sets as they lie on disk: folders and CSV files to clips, captions and labels.

In: a folder in the layout its authors publish, or a CSV of one's own. Out: a `RetrievalSet`, a
`ClassificationSet` or a `TaggingSet`. Only the CSV is read and the folder listed; no recording is opened. A clip that
the data set should hold and the folder does not is listed in `missing`.
"""

from soundsearch.bench.datasets.audiocaps import audiocaps_stems, read_audiocaps
from soundsearch.bench.datasets.audioset import read_audioset
from soundsearch.bench.datasets.clotho import read_clotho
from soundsearch.bench.datasets.esc50 import read_esc50
from soundsearch.bench.datasets.kinds import (
    PUBLISHED_CLIPS,
    ClassificationSet,
    DataSet,
    DataSetError,
    Missing,
    RetrievalSet,
    TaggingSet,
    require_whole,
)
from soundsearch.bench.datasets.own_recordings import read_manifest
from soundsearch.bench.datasets.urbansound8k import read_urbansound8k

__all__ = [
    "PUBLISHED_CLIPS",
    "ClassificationSet",
    "DataSet",
    "DataSetError",
    "Missing",
    "RetrievalSet",
    "TaggingSet",
    "audiocaps_stems",
    "read_audiocaps",
    "read_audioset",
    "read_clotho",
    "read_esc50",
    "read_manifest",
    "read_urbansound8k",
    "require_whole",
]
