"""AudioSet: the names of its classes, and its lists of segments as Google publishes them.

    # Segments csv created Sun Mar  5 10:54:31 2017
    # num_ytids=22160, num_segs=22160, ...
    # YTID, start_seconds, end_seconds, positive_labels
    --PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"

The names are those of the ontology; `audioset_names.json` says where it is from and on what terms.
"""

from __future__ import annotations

import csv
import functools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from soundsearch.bench.datasets.audiocaps import audiocaps_stems
from trainer.data.lines import ManifestError

NAMES = "audioset_names.json"
#: The id of a class, of Freebase or of the ontology's own.
CLASS_ID = re.compile(r"/[mgt]/\w+")
#: The line of a list of segments that names its columns.
_HEADER = re.compile(rb"(?m)^(?:\xef\xbb\xbf)?(?:#\s*)?YTID\s*,")
#: The columns of a list of segments.
COLUMNS = "YTID, start_seconds, end_seconds, positive_labels"


@functools.cache
def class_names() -> Mapping[str, str]:
    """Return the display name of each class of the ontology by its id."""
    text = resources.files(__package__).joinpath(NAMES).read_text(encoding="utf-8")
    names: dict[str, str] = json.loads(text)["names"]
    return names


def is_class_id(label: str) -> bool:
    """Return whether a label is written as the id of a class, such as "/m/09x0r"."""
    return CLASS_ID.fullmatch(label.strip()) is not None


def display_name(label: str) -> str | None:
    """Return a label in words: the name of a class of AudioSet, and any other label as it is.

    None for an id that the ontology does not have.
    """
    return class_names().get(label.strip()) if is_class_id(label) else label


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

    `where` begins messages. Raises ManifestError.
    """
    if line.lstrip().startswith(b"#") or _HEADER.match(line):
        return None
    try:
        (cells,) = csv.reader([line.decode("utf-8")], skipinitialspace=True, strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise ManifestError(f"{where}: not a line of CSV in UTF-8 ({error})") from error
    cells = [cell.strip() for cell in cells]
    if len(cells) != 4 or not cells[0]:
        found = f"{len(cells)} cells" if cells[0] else "no YTID"
        raise ManifestError(f"{where}: {found}, expected {COLUMNS}, the labels in quotes")
    try:
        begin_s, end_s = float(cells[1]), float(cells[2])
    except ValueError:
        begin_s = end_s = math.nan
    if not 0 <= begin_s < end_s < math.inf:
        raise ManifestError(
            f"{where}: need 0 <= start_seconds < end_seconds, not {cells[1]!r} and {cells[2]!r}"
        )
    labels = dict.fromkeys(label.strip() for label in cells[3].split(",") if label.strip())
    return Segment(cells[0], begin_s, end_s, tuple(labels))
