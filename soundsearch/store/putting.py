"""Recordings with their windows into the tables: many in a few statements."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from soundsearch.errors import Cause
from soundsearch.store.embeddings import to_blobs
from soundsearch.store.lexicon import WORDS_VERSION, words_of
from soundsearch.store.reader import Reader
from soundsearch.store.records import FileFacts, Indexed, Place, State
from soundsearch.store.schema import peaks_table, recordings_table, roots_table, windows_table
from soundsearch.store.statements import chunks

if TYPE_CHECKING:
    from soundsearch.audio.peaks import Peaks

#: What is known of a file that was read; of one that was not, none of it.
_OF_SOUND = (
    *("content_hash", "sound_hash", "duration_s", "sample_rate", "n_channels", "format"),
    *("metadata", "cause", "error"),
)


class Putting(Reader):
    """The part of a `Transaction` that stores recordings, with windows and words."""

    def put(self, recording: Indexed) -> int:
        """Store a recording and its windows, in place of what was known of that path.

        Returns:
            The id of the recording.
        """
        (recording_id,) = self.put_all([recording])
        return recording_id

    def put_all(self, recordings: Iterable[Indexed]) -> list[int]:
        """Store recordings and their windows, in place of what was known of their paths.

        Of two of one path, the later one counts. All are held in memory, so a caller that has many
        gives a part at a time.

        Returns:
            The ids of the recordings, in the order of their paths' first occurrence.
        """
        by_place = {place_of(recording.file): recording for recording in recordings}
        known = self._ids_at(by_place)
        self._delete_sound(known.values())
        ids = self._put_rows(
            {place: (one.file, _values_of(one)) for place, one in by_place.items()}, known
        )
        hashes = [
            {"of_content": one.content_hash, "of_sound": one.sound_hash}
            for one in by_place.values()
            if one.sound_hash
        ]
        if hashes:  # now known for copies of the files, too
            columns = recordings_table.c
            copies = recordings_table.update().where(
                columns.sound_hash == sa.bindparam("of_content")
            )
            self._connection.execute(copies.values(sound_hash=sa.bindparam("of_sound")), hashes)
        self.put_words(known.values())
        self._add_words(
            (recording_id, one)
            for recording_id, (place, one) in zip(ids, by_place.items(), strict=True)
            if place not in known
        )
        windows = [
            (recording_id, start, end, blob)
            for recording_id, one in zip(ids, by_place.values(), strict=True)
            for (start, end), blob in zip(one.spans, to_blobs(one.embeddings), strict=True)
        ]
        self._database.put_windows(self._connection, windows)
        self._put_peaks(
            (recording_id, one.peaks)
            for recording_id, one in zip(ids, by_place.values(), strict=True)
            if one.peaks is not None
        )
        return ids

    def put_words(self, recording_ids: Iterable[int]) -> None:
        """Store by which words these recordings are found, as their rows are now."""
        columns = recordings_table.c
        texts = (columns["metadata"], columns.captions)
        query = sa.select(columns.id, roots_table.c.path, columns.relative_path, *texts)
        query = query.join(roots_table).where(columns.state != State.FAILED)
        for some in chunks(recording_ids):
            chosen = columns.id.in_(some)
            rows = self._execute(query.where(chosen)).all()
            words = {i: words_of(Path(root), *of_file) for i, root, *of_file in rows}
            self._database.put_words(self._connection, words)
            stored = recordings_table.update().where(chosen).values(words_version=WORDS_VERSION)
            self._execute(stored)

    # ---- statements

    def _add_words(self, recordings: Iterable[tuple[int, Indexed]]) -> None:
        """Store by which words new recordings are found, by their ids."""
        roots = {root.id: root.path for root in self.roots()}
        words = {
            i: words_of(
                roots[one.file.root_id], one.file.relative_path, _as_json(one.metadata), None
            )
            for i, one in recordings
        }
        self._database.add_words(self._connection, words)

    def _put_peaks(self, outlines: Iterable[tuple[int, Peaks]]) -> None:
        """Store the outlines of recordings that have none, by their ids."""
        rows = [
            {
                "recording_id": recording_id,
                "per_second": peaks.per_second,
                "extremes": peaks.values.tobytes(),
            }
            for recording_id, peaks in outlines
        ]
        if rows:
            self._insert(peaks_table, rows)

    def _ids_at(self, places: Iterable[Place]) -> dict[Place, int]:
        """Ids of the recordings at these places, of those that are known."""
        columns = recordings_table.c
        rows = self._at(places, sa.select(columns.root_id, columns.relative_path, columns.id))
        return {(root_id, path): recording_id for root_id, path, recording_id in rows}

    def _put_rows(
        self, rows: Mapping[Place, tuple[FileFacts, Mapping[str, object]]], known: dict[Place, int]
    ) -> list[int]:
        """Store all that is known of files; what is not among the values is not known any more.

        rows: by place, the file and values by column. known: ids of those that have a row already.
        Returns their ids, in the same order.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        changed, added = [], []
        for place, (file, values) in rows.items():
            row = dict.fromkeys(_OF_SOUND) | dict(values)
            row |= {"size_bytes": file.size_bytes, "mtime_ns": file.mtime_ns, "indexed_at": now}
            if place in known:
                changed.append(row | {"of_id": known[place]})
            else:
                added.append(row | {"root_id": place[0], "relative_path": place[1]})
        if changed:
            chosen = recordings_table.update().where(recordings_table.c.id == sa.bindparam("of_id"))
            self._connection.execute(chosen, changed)
        if added:
            self._insert(recordings_table, added)
            known = known | self._ids_at(place for place in rows if place not in known)
        return [known[place] for place in rows]

    def _delete_sound(self, recording_ids: Iterable[int]) -> None:
        """Delete what was made of the samples of recordings: their windows and outlines."""
        for some in chunks(recording_ids):
            for table in (windows_table, peaks_table):
                self._execute(table.delete().where(table.c.recording_id.in_(some)))

    def _insert(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        self._connection.execute(table.insert(), rows)


def place_of(file: FileFacts) -> Place:
    """Where a file is."""
    return file.root_id, file.relative_path


def _as_json(texts: Mapping[str, str]) -> str | None:
    return json.dumps(dict(texts)) if texts else None


def _values_of(recording: Indexed) -> dict[str, object]:
    """What the row of a recording holds, beside the facts of its file."""
    cause = Cause.DAMAGED if recording.damage else Cause.TRACKS if recording.note else None
    remarks = [text for text in (recording.damage, recording.note) if text]
    return {
        "content_hash": recording.content_hash,
        "sound_hash": recording.sound_hash or recording.content_hash,
        "duration_s": recording.duration_s,
        "sample_rate": recording.sample_rate,
        "n_channels": recording.n_channels,
        "format": recording.format,
        "metadata": _as_json(recording.metadata),
        "words_version": WORDS_VERSION,
        "state": State.INDEXED,
        "cause": cause,
        "error": "; ".join(remarks) or None,
    }
