"""AudioSet: its lists of segments as Google publishes them, and the benchmark of tagging by them.

# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=22160, num_segs=22160, ...
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from soundsearch.bench.datasets.assemble import (
    first_file,
    refuse_duplicates,
    require_choice,
    tagging_set,
)
from soundsearch.bench.datasets.audio_folder import AudioFolder
from soundsearch.bench.datasets.audiocaps import audiocaps_stems
from soundsearch.bench.datasets.kinds import DataSetError, TaggingSet
from soundsearch.choices import AudioSetSplit
from soundsearch.files import open_regular
from soundsearch.vocabulary.audioset_classes import class_names

#: The line of a list of segments that names its columns.
_HEADER = re.compile(rb"(?m)^(?:\xef\xbb\xbf)?(?:#\s*)?YTID\s*,")
#: The columns of a list of segments.
COLUMNS = "YTID, start_seconds, end_seconds, positive_labels"


@dataclass(frozen=True)
class Segment:
    """A segment of a video of YouTube, in seconds, and the ids of the classes heard in it."""

    ytid: str
    begin_s: float
    end_s: float
    labels: tuple[str, ...]

    @property
    def stems(self) -> tuple[str, ...]:
        """Names without ending under which its recording is commonly stored, likeliest first."""
        duration_s = self.end_s - self.begin_s
        return tuple(audiocaps_stems(self.ytid, str(self.begin_s), (), duration_s))


def is_segments(beginning: bytes) -> bool:
    """Return whether a file that begins so is a list of segments."""
    return _HEADER.search(beginning) is not None


def parse_segment(line: bytes, where: str) -> Segment | None:
    """Parse a line of a list of segments; None for a comment, and for the names of the columns.

    `where` begins messages. Raises DataSetError.
    """
    if line.lstrip().startswith(b"#") or _HEADER.match(line):
        return None
    try:
        (cells,) = csv.reader([line.decode("utf-8")], skipinitialspace=True, strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DataSetError(f"{where}: not a line of CSV in UTF-8 ({error})") from error
    cells = [cell.strip() for cell in cells]
    if len(cells) != 4 or not cells[0]:
        found = f"{len(cells)} cells" if cells[0] else "no YTID"
        raise DataSetError(f"{where}: {found}, expected {COLUMNS}, the labels in quotes")
    try:
        begin_s, end_s = float(cells[1]), float(cells[2])
    except ValueError:
        begin_s = end_s = math.nan
    if not 0 <= begin_s < end_s < math.inf:
        raise DataSetError(
            f"{where}: need 0 <= start_seconds < end_seconds, not {cells[1]!r} and {cells[2]!r}"
        )
    labels = dict.fromkeys(label.strip() for label in cells[3].split(",") if label.strip())
    return Segment(cells[0], begin_s, end_s, tuple(labels))


def read_audioset(
    root: Path, split: str = "eval", *, table: Path | None = None, audio: Path | None = None
) -> TaggingSet:
    """A split of AudioSet: segments with one or more classes each.

    A recording is a segment, and is found by its name, with any common ending: YTID, YYTID,
    YTID_START, YTID_START_END in seconds or milliseconds.
    Source: J. F. Gemmeke et al., Audio Set: an ontology and human-labeled dataset for audio events,
    ICASSP 2017.

    Args:
        root: holds SPLIT_segments.csv (also in csv/), and the recordings in audio/SPLIT_segments/,
            audio/SPLIT/, SPLIT_segments/, SPLIT/, audio/ or the folder itself.
        split: eval, balanced_train or unbalanced_train.
        table: the list of segments, where it lies elsewhere; the split is then called by its name.
        audio: the folder of the recordings, where it lies elsewhere.

    Raises:
        DataSetError: there is no such split, its list is not right, or none of its recordings is
            there.
    """
    require_choice("audioset", split, get_args(AudioSetSplit))
    listed = f"{split}_segments"
    if table is None:
        table = first_file(root, (f"{listed}.csv", f"csv/{listed}.csv"), "audioset")
    if audio is None:
        places = (f"audio/{listed}", f"audio/{split}", listed, split, "audio", ".")
        folder = AudioFolder.first(root, places, "audioset")
    else:
        folder = AudioFolder.first(audio, (".",), "audioset")
    segments = _read_segments(table)
    n_of = Counter(segment.ytid for segment in segments)
    by_name = {
        f"{segment.ytid}_{segment.begin_s:g}" if n_of[segment.ytid] > 1 else segment.ytid: segment
        for segment in segments
    }

    def find(name: str) -> Path | None:
        segment = by_name[name]
        # A name without the start could be that of another segment of the video.
        bare = (segment.ytid, f"Y{segment.ytid}") if n_of[segment.ytid] > 1 else ()
        return folder.with_stem(stem for stem in segment.stems if stem not in bare)

    used = {label for segment in segments for label in segment.labels}
    return tagging_set(
        "audioset",
        table.stem.removesuffix("_segments"),
        table,
        folder,
        tags_of={name: segment.labels for name, segment in by_name.items()},
        find=find,
        class_names={key: name for key, name in class_names().items() if key in used},
    )


def _read_segments(path: Path) -> list[Segment]:
    """The segments of a list, each with classes that the ontology has. Raises DataSetError."""
    segments = []
    try:
        with open_regular(path) as file:
            for n_line, line in enumerate(file, start=1):
                where = f"{path}: line {n_line}"
                segment = parse_segment(line, where) if line.strip() else None
                if segment is None:
                    continue
                segments.append(segment)
                if unknown := [label for label in segment.labels if label not in class_names()]:
                    raise DataSetError(
                        f"{where}: {unknown[0]!r} is no class of AudioSet's ontology; "
                        'expected ids such as "/m/09x0r", separated by commas, in quotes'
                    )
    except OSError as error:
        raise DataSetError(f"{path}: cannot be read ({error.strerror})") from error
    if not segments:
        raise DataSetError(f"{path}: holds no rows, expected {COLUMNS}")
    refuse_duplicates(path, (f"{each.ytid} from {each.begin_s:g} s" for each in segments))
    return segments
