"""Captions: words and fields that a person gives to recordings, in a CSV file beside the library.

In: a table with the columns `file` and `text`, and any others. Out: texts by field, stored with the
recordings that `file` names. What an index run was given takes the place of all captions in what it
looked through; nothing is read or embedded.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.report import Report
from indexer.targets import Target
from soundsearch.audio.metadata import CONTROL
from soundsearch.store import Reader, Recording, Writer
from soundsearch.store.lexicon import joined
from soundsearch.store.statements import chunks
from soundsearch.tables import Table
from soundsearch.urls import path_of

#: Columns that a table of captions has; every other column is a field too.
FILE, TEXT = "file", "text"
#: Recordings that get their captions in one transaction.
STORED_AT_ONCE = 2000


@dataclass(frozen=True)
class Caption:
    """A row: a file, absolute or relative (to its root or to what is indexed), and its texts."""

    file: str
    fields: dict[str, str]


def read_captions(path: Path) -> list[Caption]:
    """All rows of a table of captions; cells that are blank are no texts.

    Raises:
        TableError: it cannot be read, or lacks a column or a cell.
    """
    rows = Table(path).rows([FILE, TEXT], may_be_blank=[TEXT])
    return [Caption(row[FILE].strip(), _texts(row.cells)) for row in rows]


def _texts(cells: dict[str, str]) -> dict[str, str]:
    clean = {name: CONTROL.sub(" ", cell).strip() for name, cell in cells.items() if name != FILE}
    return {name: text for name, text in clean.items() if text}


def apply_captions(
    writer: Writer, targets: Sequence[Target], captions: Sequence[Caption], report: Report
) -> None:
    """Give the recordings in these targets these captions, and no others.

    The report says how many have some now, how many lost theirs, and which rows name no recording.
    """
    with writer.snapshot() as reader:
        places = _places(reader, targets)
        known = reader.captions()
    wanted: dict[int, list[dict[str, str]]] = defaultdict(list)
    for caption in captions:
        ids = places.get(_key(caption.file)) or places.get(_key(os.path.realpath(caption.file)))
        if not ids:
            report.unmatched_captions.append(caption.file)
        for recording_id in ids or ():
            wanted[recording_id].append(caption.fields)
    changes = {}
    for recording_id in sorted(set().union(*places.values())):
        fields = joined(wanted.get(recording_id, ()))
        report.n_captioned += bool(fields)
        if fields != known.get(recording_id, {}):
            changes[recording_id] = fields
            report.n_uncaptioned += not fields
    for some in chunks(changes, STORED_AT_ONCE):
        with writer.transaction(new_revision=False) as transaction:
            transaction.put_captions({recording_id: changes[recording_id] for recording_id in some})


def _places(reader: Reader, targets: Sequence[Target]) -> dict[str, set[int]]:
    """Ids of the recordings in these targets by each name that a row may give them."""
    places: dict[str, set[int]] = defaultdict(set)
    for target in targets:
        for recording in reader.recordings(target.root.id):
            if target.covers(recording.relative_path):
                for name in _names(target, recording):
                    places[_key(name)].add(recording.id)
    return places


def _names(target: Target, recording: Recording) -> list[str]:
    path = path_of(target.root.path, recording.relative_path)
    if recording.is_root:
        return [str(path), path.name]
    return [str(path), recording.relative_path, os.path.relpath(path, target.path)]


def _key(name: str) -> str:
    """A path in the one form that spellings of it share; accents are composed."""
    return unicodedata.normalize("NFC", os.path.normpath(name))
