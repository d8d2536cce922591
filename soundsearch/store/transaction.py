"""One transaction of the writer: rows of an index in, all of them or none."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from soundsearch.errors import Cause
from soundsearch.store.embeddings import from_blobs, is_earlier, to_blobs
from soundsearch.store.lexicon import joined
from soundsearch.store.putting import Putting, place_of
from soundsearch.store.reader import Reader
from soundsearch.store.records import Failed, FileFacts, PinnedEncoder, Recording, Root, State
from soundsearch.store.schema import (
    index_table,
    recordings_table,
    revisions_table,
    roots_table,
    skipped_table,
    windows_table,
)
from soundsearch.store.statements import chunks

if TYPE_CHECKING:
    from soundsearch.audio.peaks import Peaks
    from soundsearch.encoder.bundle import EncoderBundle

#: Which of two recordings of one path says more.
_WORTH = {State.INDEXED: 2, State.MISSING: 1, State.FAILED: 0}
#: Causes that a recording keeps when it is found elsewhere, or again.
_STAYING = (Cause.DAMAGED, Cause.TRACKS, Cause.NOT_EMBEDDED)


class Transaction(Putting):
    """Changes that count together. Made by `Writer.transaction`; it reads what it has changed."""

    # ---- the index

    def pin(self, encoder: PinnedEncoder) -> None:
        """Say which encoder a new index is pinned to."""
        self._execute(index_table.insert().values(id=1, created_at=_now(), **_columns_of(encoder)))

    def pin_another(self, encoder: PinnedEncoder) -> None:
        """Pin the index to another encoder; the embeddings are to be its from here on.

        Earlier revisions are of another history now, so that no vectors are caught up from them.
        """
        self._execute(index_table.update().values(**_columns_of(encoder)))
        self._execute(revisions_table.delete())
        if self._database.graph is not None:
            self._database.graph.drop(self._connection)  # of embeddings of another length

    def put_encoder(self, bundle: EncoderBundle) -> None:
        """Store the files of the encoder where the database itself carries them."""
        self._database.put_encoder(self._connection, bundle)

    def add_revision(self) -> None:
        """Give the state that is written here a token of its own."""
        self._database.add_revision(self._connection, secrets.token_hex(8))

    def convert_embeddings(self, n_windows: int) -> int:
        """Make float16 of the embeddings of the youngest windows that may hold float32.

        n_windows: at most so many. Returns how many it has looked at; 0 where all are done.
        """
        columns, dim = windows_table.c, self.encoder().dim
        younger = sa.select(columns.id, columns.embedding).where(columns.id < self.float16_from())
        rows = list(self._driver_rows(younger.order_by(columns.id.desc()).limit(n_windows)))
        wide = [row for row in rows if is_earlier(row[1], dim)]
        narrow = to_blobs(from_blobs([blob for _, blob in wide], dim))
        if wide:
            chosen = windows_table.update().where(columns.id == sa.bindparam("of_id"))
            new = [
                {"of_id": row[0], "embedding": blob} for row, blob in zip(wide, narrow, strict=True)
            ]
            self._connection.execute(chosen, new)
        self._execute(index_table.update().values(float16_from=rows[-1][0] if rows else 1))
        return len(rows)

    def end_conversion(self) -> None:
        """Say that all embeddings are float16, and that the room they took was given back."""
        self._execute(index_table.update().values(float16_from=0))

    # ---- roots

    def add_root(self, path: Path) -> Root:
        """The root of this absolute path, added if it is new."""
        known = self._roots(roots_table.c.path == str(path))
        if known:
            return known[0]
        added = self._execute(roots_table.insert().values(path=str(path), added_at=_now()))
        return Root(_new_id(added), path)

    def relocate(self, root: Root, path: Path) -> Root:
        """Put a root under a new path; where it then overlaps others, they become one root.

        Recordings keep their embeddings; see `Writer.renew_words` for their words. Returns the root
        they are in now.
        """
        others = [other for other in self.roots() if other.id != root.id]
        for around in others:
            if path.is_relative_to(around.path):
                self.absorb(root, around, path.relative_to(around.path))
                return around
        self._execute(
            roots_table.update().where(roots_table.c.id == root.id).values(path=str(path))
        )
        moved = Root(root.id, path)
        if path.name != root.path.name:
            of_root = recordings_table.c.root_id == root.id
            self._execute(recordings_table.update().where(of_root).values(words_version=None))
        for inner in others:
            if inner.path.is_relative_to(path):
                self.absorb(inner, moved, inner.path.relative_to(path))
        return moved

    def absorb(self, old: Root, new: Root, inside: Path) -> None:
        """Let a root take over another one, whose files lie in its folder `inside` (relative).

        Recordings keep their embeddings; see `Writer.renew_words` for their words. Of two of one
        path, one stays: the one that is indexed, else the one that is missing, else the one of the
        new root. It inherits the captions of the other.
        """
        there = {r.relative_path: r for r in self.recordings(new.id)}
        for recording in list(self.recordings(old.id)):
            relative_path = str(inside / recording.relative_path)
            rival = there.get(relative_path)
            if rival is not None:
                is_better = _WORTH[recording.state] > _WORTH[rival.state]
                stays, goes = (recording, rival) if is_better else (rival, recording)
                self._inherit_captions(stays.id, [goes.id])
                self.delete([goes.id])
                if not is_better:
                    continue
            place = {"root_id": new.id, "relative_path": relative_path}
            self._update(recording.id, words_version=None, **place)
            there[relative_path] = recording
        self._execute(roots_table.delete().where(roots_table.c.id == old.id))

    def drop_empty_roots(self, roots: Iterable[Root]) -> list[Root]:
        """Delete those of these roots of which no recording with embeddings is known; returns them."""
        columns = recordings_table.c
        dropped = []
        for root in roots:
            of_root = columns.root_id == root.id
            if not self._exists(
                sa.select(columns.id).where(of_root, columns.state != State.FAILED)
            ):
                self._execute(recordings_table.delete().where(of_root))
                self._execute(roots_table.delete().where(roots_table.c.id == root.id))
                dropped.append(root)
        return dropped

    def put_skipped(self, root_id: int, counts: Mapping[str, int]) -> None:
        """Store how many files of each ending were skipped in a root, in place of what was known."""
        self._execute(skipped_table.delete().where(skipped_table.c.root_id == root_id))
        if counts:
            self._insert(
                skipped_table,
                [
                    {"root_id": root_id, "ending": ending, "n_files": n}
                    for ending, n in counts.items()
                ],
            )

    # ---- recordings

    def put_from(
        self, other: Reader, recordings: Iterable[tuple[Recording, FileFacts]]
    ) -> list[int]:
        """Store as these files what another index has of recordings with embeddings; see `put_all`."""
        dim = other.encoder().dim
        return self.put_all(
            other.indexed(recording, file, other.facts(recording), dim)
            for recording, file in recordings
        )

    def put_failed(self, failed: Failed) -> None:
        """Store that a file failed. Its earlier windows go, unless failed.keep."""
        known = self._find(failed.file)
        if failed.keep and known is not None and known.state is not State.FAILED:
            if known.is_embedded:
                self._update(known.id, cause=failed.cause, error=failed.error)
                return
            if Cause(failed.cause).is_passing:
                return  # it still waits to be embedded
        place = place_of(failed.file)
        values = {"state": State.FAILED, "cause": failed.cause, "error": failed.error}
        (recording_id,) = self._put_rows(
            {place: (failed.file, values)}, {} if known is None else {place: known.id}
        )
        self._database.put_words(self._connection, {recording_id: None})
        self._delete_sound([recording_id])

    def move(self, recording_id: int, file: FileFacts) -> None:
        """The same sound under a new path (or the same path again): nothing is embedded anew.

        See `Writer.renew_words` for its words.
        """
        columns = recordings_table.c
        is_there = sa.and_(
            columns.root_id == file.root_id, columns.relative_path == file.relative_path
        )
        in_its_place = sa.select(columns.id).where(is_there, columns.id != recording_id)
        failed = list(self._execute(in_its_place).scalars())
        if failed:  # a row that failed may stand at the new path
            self._inherit_captions(recording_id, failed)
            self.delete(failed)
        self._update(
            recording_id,
            words_version=sa.case((is_there, columns.words_version)),
            root_id=file.root_id,
            relative_path=file.relative_path,
            size_bytes=file.size_bytes,
            mtime_ns=file.mtime_ns,
            state=State.INDEXED,
            # Damage stays with the sound; that it could not be reached for a time does not.
            **{
                name: sa.case((columns.cause.in_(_STAYING), columns[name]))
                for name in ("cause", "error")
            },
        )

    def add_peaks(self, recording: Recording, peaks: Peaks) -> None:
        """Store the outline of a recording that has none, if it is still the one that was read."""
        columns = recordings_table.c
        same = sa.select(columns.id).where(
            columns.id == recording.id, columns.content_hash == recording.content_hash
        )
        if self._exists(same) and self.peaks(recording.id) is None:
            self._put_peaks([(recording.id, peaks)])

    def put_captions(self, captions: Mapping[int, Mapping[str, str]]) -> None:
        """Store texts by field of recordings, by their ids, in place of those before; {}: none.

        See `Writer.renew_words` for their words.
        """
        for recording_id, fields in captions.items():
            text = json.dumps(dict(fields)) if fields else None
            self._update(recording_id, captions=text, words_version=None)

    def empty_words(self) -> None:
        """Take all words away, for `Writer.renew_words` to make them again."""
        self._database.empty_words(self._connection)
        self._execute(recordings_table.update().values(words_version=None))

    def mark_missing(self, recording_ids: Iterable[int]) -> None:
        """These files have vanished: keep their embeddings, do not show them. Failed rows go."""
        for some in chunks(recording_ids):
            chosen = recordings_table.c.id.in_(some)
            self._execute(
                recordings_table.delete().where(chosen, recordings_table.c.state == State.FAILED)
            )
            self._execute(recordings_table.update().where(chosen).values(state=State.MISSING))

    def mark_not_embedded(self, recording_ids: Iterable[int], error: str) -> None:
        """Delete the windows of these recordings; the next index run that finds them embeds them."""
        for some in chunks(recording_ids):
            self._execute(windows_table.delete().where(windows_table.c.recording_id.in_(some)))
            self._execute(
                recordings_table.update()
                .where(recordings_table.c.id.in_(some))
                .values(cause=Cause.NOT_EMBEDDED, error=error)
            )

    def delete(self, recording_ids: Iterable[int]) -> None:
        """Delete recordings with their windows."""
        for some in chunks(recording_ids):
            self._execute(recordings_table.delete().where(recordings_table.c.id.in_(some)))

    # ---- statements

    def _update(self, recording_id: int, **values: object) -> None:
        chosen = recordings_table.c.id == recording_id
        self._execute(recordings_table.update().where(chosen).values(**values))

    def _inherit_captions(self, heir: int, others: Sequence[int]) -> None:
        """Give a recording the captions of others that stood at its place, beside its own."""
        columns = recordings_table.c
        query = sa.select(columns.id, columns.captions).where(columns.id.in_([heir, *others]))
        known = {i: json.loads(text) for i, text in self._execute(query) if text is not None}
        if any(i in known for i in others):
            self.put_captions({heir: joined(known.get(i, {}) for i in (heir, *others))})


def _new_id(result: sa.CursorResult[Any]) -> int:
    return int(result.inserted_primary_key[0])  # type: ignore[index]


def _columns_of(encoder: PinnedEncoder) -> dict[str, Any]:
    return {
        "encoder_name": encoder.name,
        "encoder_version": encoder.version,
        "encoder_fingerprint": encoder.fingerprint,
        "dim": encoder.dim,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
