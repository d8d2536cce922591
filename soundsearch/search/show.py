"""All that an index knows of one recording.

In: one state of an index, and the path of a recording. Out: `Details`. No file is read.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from soundsearch.duplicates import Copy, copies_of
from soundsearch.errors import QueryError, StoreError
from soundsearch.files import Presence, has_changed, is_absent
from soundsearch.roots import named_roots, place_of
from soundsearch.search.hits import Hit
from soundsearch.store import Reader, Recording, RecordingFacts


class UnknownRecordingError(QueryError):
    """An index has no recording of an id."""


@dataclass(frozen=True, kw_only=True)
class Details:
    """What an index knows of one recording.

    Attributes:
        recording: What is stored of it.
        is_present: Whether the file exists now. It does not while its disk is not mounted.
        has_changed: Whether the file exists and differs in size or time from what was indexed.
        copies: Other recordings with the same sound.
        nearest: Other recordings that sound most like it, by its stored embeddings; the best first.
    """

    recording: RecordingFacts
    is_present: bool
    has_changed: bool
    copies: Sequence[Copy]
    nearest: Sequence[Hit]


def find_recording(reader: Reader, named: str | Path | int) -> Recording:
    """Return the recording that a path or an id names, whether its file exists or not.

    Raises:
        QueryError: The index knows of none.
    """
    if isinstance(named, int):
        recording = reader.recording(named)
        if recording is None:
            raise UnknownRecordingError(
                f"recording {named}: the index has none of this id; search again"
            )
        return recording
    path = Path(named)
    try:
        for place in _places(path):
            found = reader.recording_at(place)
            if found is not None:
                return found
        place = place_of(path)
    except StoreError as error:
        raise QueryError(str(error)) from error
    raise QueryError(f"{path}: not indexed; {_way_out(reader, place)}")


def _places(path: Path) -> Iterator[Path]:
    """Yield where a path may be indexed: where it leads, and as a link itself, which may be lost."""
    yield place_of(path)
    absolute = Path(os.path.abspath(path.expanduser()))
    yield place_of(absolute.parent) / absolute.name
    yield absolute


def _way_out(reader: Reader, place: Path) -> str:
    if os.path.isdir(place):
        return "it is a folder; give one of the recordings in it"
    if is_absent(place):
        roots = [root.path for root in reader.roots()]
        return f"no such file; {named_roots(roots)}; give a recording in one of them"
    return f"index it with: soundsearch index {shlex.quote(str(place))}"


def details_of(reader: Reader, recording: Recording, nearest: Sequence[Hit]) -> Details:
    """Return what the index knows of a recording, with the recordings that sound most like it."""
    facts = reader.facts(recording)
    copies = [] if facts.sound_hash is None else copies_of(reader, facts.sound_hash)
    return Details(
        recording=facts,
        is_present=Presence()(str(facts.root), recording.relative_path),
        has_changed=has_changed(facts.path, recording.facts),
        copies=[copy for copy in copies if copy.path != facts.path],
        nearest=nearest,
    )
