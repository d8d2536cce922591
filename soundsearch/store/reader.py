"""Rows of an index out: one consistent state of the database, whatever a writer does meanwhile."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from soundsearch.arrays import Ids
from soundsearch.errors import Cause
from soundsearch.store.backend import FOUND
from soundsearch.store.candidates import WindowReader
from soundsearch.store.conditions import Condition
from soundsearch.store.fields import FieldReader
from soundsearch.store.lexicon import ucs_name_of
from soundsearch.store.records import (
    FileFacts,
    Indexed,
    PinnedEncoder,
    Place,
    Recording,
    RecordingFacts,
    Root,
    State,
    StoredWindow,
    WordMatch,
)
from soundsearch.store.schema import (
    index_table,
    inside,
    recordings_table,
    revisions_table,
    roots_table,
    skipped_table,
    windows_table,
)
from soundsearch.store.sounds import SoundReader
from soundsearch.store.statements import (
    FETCHED_AT_ONCE,
    chunks,
    recording_of,
    select_recordings,
    select_windows,
)
from soundsearch.urls import is_url, path_of

#: Scores of words are compared to so many decimals: equal names are equally good.
WORD_SCORE_DECIMALS = 6

#: Facts of a recording that are columns of its row.
_PLAIN_FACTS = (
    *("cause", "error", "size_bytes", "mtime_ns", "content_hash", "sound_hash", "duration_s"),
    *("sample_rate", "n_channels", "format", "indexed_at"),
)


class Reader(WindowReader, FieldReader, SoundReader):
    """One state of an index. Made by `Store.snapshot`, and of use until its block ends.

    Each method raises StoreError where the database cannot be read.
    """

    # ---- the index

    def encoder(self) -> PinnedEncoder:
        """The encoder this index is pinned to."""
        row = self._execute(sa.select(index_table)).one()
        return PinnedEncoder(
            row.encoder_name, row.encoder_version, row.encoder_fingerprint, row.dim
        )

    def encoder_files(self, only: str | None = None) -> dict[str, bytes]:
        """The files of the encoder by name, or one, where the database itself carries them."""
        return self._database.encoder_files(self._connection, only)

    def revision(self) -> str:
        """A token that every write changes: what was derived under another one may be stale."""
        latest = sa.select(revisions_table.c.token).order_by(revisions_table.c.id.desc()).limit(1)
        return str(self._execute(latest).scalar_one())

    def has_had_revision(self, token: str) -> bool:
        """Whether this state grew out of that revision; one of a lost future is unknown here."""
        return self._exists(sa.select(revisions_table.c.id).where(revisions_table.c.token == token))

    # ---- roots

    def file_roots(self) -> set[int]:
        """Ids of the roots that are a file which was named itself."""
        is_file = recordings_table.c.relative_path == "."
        return set(self._execute(sa.select(recordings_table.c.root_id).where(is_file)).scalars())

    def root_counts(self) -> Counter[tuple[int, State]]:
        """How many recordings there are by id of the root and state."""
        columns = recordings_table.c
        groups = (columns.root_id, columns.state)
        rows = self._execute(sa.select(*groups, sa.func.count()).group_by(*groups))
        return Counter({(row[0], State(row[1])): row[2] for row in rows})

    def skipped(self, root_id: int | None = None) -> Counter[str]:
        """How many files of each ending the last whole scan skipped, in one root or in all."""
        columns = skipped_table.c
        query = sa.select(columns.ending, columns.n_files)
        if root_id is not None:
            query = query.where(columns.root_id == root_id)
        counts: Counter[str] = Counter()
        for ending, n_files in self._execute(query):
            counts[ending] += n_files
        return counts

    # ---- recordings

    def recordings(self, root_id: int | None = None) -> Iterator[Recording]:
        """Every recording known, in whatever state, by id."""
        query = select_recordings().order_by(recordings_table.c.id)
        if root_id is not None:
            query = query.where(recordings_table.c.root_id == root_id)
        rows = self._execute(query.execution_options(yield_per=FETCHED_AT_ONCE))
        return map(recording_of, rows)

    def recordings_of(self, recording_ids: Iterable[int]) -> Iterator[Recording]:
        """Those of these recordings that are known; by id, if the ids ascend."""
        query = select_recordings().order_by(recordings_table.c.id)
        return map(recording_of, self._rows_with(query, recordings_table.c.id, recording_ids))

    def recordings_at(self, places: Iterable[Place]) -> dict[Place, Recording]:
        """What is known at these places."""
        rows = self._at(places, select_recordings())
        return {(row.root_id, row.relative_path): recording_of(row) for row in rows}

    def recording_ids(self, root_id: int, within: str = ".") -> Ids:
        """Ids of all recordings of a root, (n,) int64, ascending.

        within: only at this path, or in this folder, relative to the root.
        """
        columns = recordings_table.c
        query = sa.select(columns.id).where(columns.root_id == root_id)
        if within != ".":
            path = columns.relative_path
            query = query.where(sa.or_(path == within, inside(path, within)))
        return self._ids(query)

    def hashed_sizes(self, root_id: int) -> Iterator[tuple[int, int]]:
        """Ids of the recordings of a root of which the content is known, each with its bytes."""
        columns = recordings_table.c
        query = sa.select(columns.id, columns.size_bytes).where(
            columns.root_id == root_id,
            columns.content_hash.is_not(None),
            columns.state != State.FAILED,
        )
        return ((row[0], row[1]) for row in self._driver_rows(query.order_by(columns.id)))

    def recording_at(self, path: Path) -> Recording | None:
        """The recording known at this absolute path, if any."""
        for root in self._roots_around(path):
            relative_path = str(path.relative_to(root.path))
            found = self._find(FileFacts(root.id, relative_path, 0, 0))
            if found is not None:
                return found
        if is_url(path):  # in a list of URLs, perhaps
            for root in self._roots(sa.true()):
                if is_url(root.path) and (found := self._find(FileFacts(root.id, str(path), 0, 0))):
                    return found
        return None

    def recording(self, recording_id: int) -> Recording | None:
        """The recording of this id, if there is one."""
        query = select_recordings().where(recordings_table.c.id == recording_id)
        row = self._execute(query).first()
        return None if row is None else recording_of(row)

    def formats(self, recording_ids: Iterable[int]) -> dict[int, str | None]:
        """The formats of recordings by their ids, see `RecordingFacts`."""
        columns = recordings_table.c
        rows = self._rows_with(sa.select(columns.id, columns.format), columns.id, recording_ids)
        return {row.id: row.format for row in rows}

    def facts(self, recording: Recording) -> RecordingFacts:
        """All that is known of a recording."""
        rows, windows = recordings_table.join(roots_table), windows_table.c
        query = sa.select(recordings_table, roots_table.c.path).select_from(rows)
        row = self._execute(query.where(recordings_table.c.id == recording.id)).one()._asdict()
        span = sa.select(
            sa.func.count().label("n_windows"),
            sa.func.min(windows.start_s).label("start_s"),
            sa.func.max(windows.end_s).label("end_s"),
        ).where(windows.recording_id == recording.id)
        root = path_of(row.pop("path"))
        return RecordingFacts(
            recording_id=recording.id,
            path=path_of(root, recording.relative_path),
            root=root,
            state=recording.state,
            metadata=json.loads(row["metadata"] or "{}"),
            ucs=ucs_name_of(root, recording.relative_path),
            captions=json.loads(row["captions"] or "{}"),
            words=self._database.words(self._connection, recording.id),
            **{name: row[name] for name in _PLAIN_FACTS},
            **self._execute(span).one()._asdict(),
        )

    def knows_any(self, conditions: Iterable[Condition]) -> bool:
        """Whether any recording, in whatever state, is chosen by all of these conditions."""
        return self._exists(sa.select(recordings_table.c.id).where(self._chosen(conditions)))

    def causes(self) -> Counter[str]:
        """How many recordings that are not missing have each cause of failure or damage."""
        columns = recordings_table.c
        rows = self._execute(
            sa.select(columns.cause, sa.func.count())
            .where(columns.cause.is_not(None), columns.state != State.MISSING)
            .group_by(columns.cause)
        )
        return Counter({row[0]: row[1] for row in rows})

    def failures(
        self, cause: str | None, offset: int, limit: int
    ) -> list[tuple[int, Path, str | None, str | None]]:
        """Recordings that have a cause of failure or damage and are not missing, by path.

        cause: only those of this cause; None for all. offset: recordings before the first one
        wanted.
        Returns id, path, cause and error of each.
        """
        columns = recordings_table.c
        query = (
            sa.select(
                columns.id, roots_table.c.path, columns.relative_path, columns.cause, columns.error
            )
            .select_from(recordings_table.join(roots_table))
            .where(columns.cause.is_not(None), columns.state != State.MISSING)
            .order_by(roots_table.c.path, columns.relative_path)
            .offset(offset)
            .limit(limit)
        )
        if cause is not None:
            query = query.where(columns.cause == cause)
        return [
            (row.id, path_of(row.path, row.relative_path), row.cause, row.error)
            for row in self._execute(query)
        ]

    def duration_s(self) -> float:
        """Seconds of sound in all recordings that a search may show."""
        columns = recordings_table.c
        total = sa.func.coalesce(sa.func.sum(columns.duration_s), 0.0)
        query = sa.select(total).where(columns.state == State.INDEXED)
        return float(self._execute(query).scalar_one())

    def without_windows(self) -> list[Recording]:
        """Recordings that should have windows, and have none."""
        columns = recordings_table.c
        query = select_recordings().where(
            columns.state != State.FAILED,
            columns.cause.is_distinct_from(Cause.NOT_EMBEDDED),
            ~sa.exists().where(windows_table.c.recording_id == columns.id),
        )
        return list(map(recording_of, self._execute(query)))

    # ---- words

    def find_words(
        self, terms: Sequence[str], *, among: Iterable[Condition] = (), limit: int | None
    ) -> list[WordMatch]:
        """Recordings with any of these words in name, folders or metadata, the best first.

        terms: words of letters and digits; forms of one stem are alike. among: only recordings that
        are chosen by all of these conditions. limit: at most so many; None for all.
        """
        return self._word_matches(
            self._database.word_matches(self._connection, terms), among, limit
        )

    def find_name_parts(
        self, terms: Sequence[str], *, among: Iterable[Condition] = (), limit: int
    ) -> list[WordMatch]:
        """Recordings whose names contain any of these words, the best first; as `find_words`.

        A word also counts within a longer one. Very short ones do not count.
        """
        return self._word_matches(
            self._database.part_matches(self._connection, terms), among, limit
        )

    def known_words(self, words: Iterable[str]) -> set[str]:
        """Those of these words, of letters and digits, that any recording holds in any form."""
        return self._database.known_words(self._connection, words)

    def words_like(self, start: str) -> list[str]:
        """Words of recordings that begin so, in small letters, one for each stem; some if many."""
        return self._database.words_like(self._connection, start)

    def word_problems(self) -> list[str]:
        """Where the words that recordings are found by disagree with the recordings, in words."""
        return self._database.word_problems(self._connection)

    # ---- windows and embeddings

    def describe_windows(self, window_ids: Ids) -> dict[int, StoredWindow]:
        """Windows by their ids, (n,) int64; those that a search may not show are left out."""
        query = select_windows().where(recordings_table.c.state == State.INDEXED)
        rows = self._rows_with(query, windows_table.c.id, window_ids.tolist())
        return {row.id: StoredWindow(*row) for row in rows}

    def whole_recordings(self, among: Iterable[Condition], limit: int) -> list[StoredWindow]:
        """Recordings a search may show, by path, each from its first window to the end of its last.

        among: as of `window_ids`. limit: at most so many.
        """
        order = (roots_table.c.path, recordings_table.c.relative_path)
        first = sa.select(recordings_table.c.id).join(roots_table).where(self._is_shown(among))
        chosen = first.order_by(*order).limit(limit)
        query = select_windows().where(recordings_table.c.id.in_(chosen)).order_by(*order)
        columns = windows_table.c
        spans = query.group_by(
            columns.recording_id, recordings_table.c.id, roots_table.c.id
        ).with_only_columns(
            sa.func.min(columns.id),
            columns.recording_id,
            sa.func.min(columns.start_s),
            sa.func.max(columns.end_s),
            *list(query.selected_columns)[4:],
        )
        return [StoredWindow(*row) for row in self._execute(spans)]

    def indexed(
        self, recording: Recording, file: FileFacts, facts: RecordingFacts, dim: int
    ) -> Indexed:
        """What is stored of a recording with embeddings, to be put into another index as this file."""
        columns = windows_table.c
        spans = self._execute(
            sa.select(columns.start_s, columns.end_s)
            .where(columns.recording_id == recording.id)
            .order_by(columns.id)
        )
        assert recording.content_hash is not None and facts.duration_s is not None
        assert facts.sample_rate is not None and facts.n_channels is not None
        return Indexed(
            file=file,
            content_hash=recording.content_hash,
            duration_s=facts.duration_s,
            sample_rate=facts.sample_rate,
            n_channels=facts.n_channels,
            format=facts.format or "",
            spans=[(span.start_s, span.end_s) for span in spans],
            embeddings=self.embeddings_of(recording.id, dim),
            damage=facts.error if recording.cause is Cause.DAMAGED else None,
            note=facts.error if recording.cause is Cause.TRACKS else None,
            metadata=facts.metadata,
            sound_hash=facts.sound_hash or b"",
            peaks=self.peaks(recording.id),
        )

    # ---- statements

    def _roots_around(self, path: Path) -> list[Root]:
        """The roots that an absolute path is or lies in."""
        return self._roots(roots_table.c.path.in_(map(str, (path, *path.parents))))

    def _at(
        self, places: Iterable[Place], query: sa.Select[Any]
    ) -> Iterator[sa.Row[*tuple[Any, ...]]]:
        """What a query on recordings gives for those at these places."""
        by_root: dict[int, list[str]] = defaultdict(list)
        for root_id, relative_path in places:
            by_root[root_id].append(relative_path)
        columns = recordings_table.c
        for root_id, paths in by_root.items():
            for some in chunks(paths):
                here = (columns.root_id == root_id, columns.relative_path.in_(some))
                yield from self._execute(query.where(*here))

    def _find(self, file: FileFacts) -> Recording | None:
        """The recording known at the place of a file."""
        columns = recordings_table.c
        row = self._execute(
            select_recordings().where(
                columns.root_id == file.root_id, columns.relative_path == file.relative_path
            )
        ).first()
        return None if row is None else recording_of(row)

    def _word_matches(
        self, matches: sa.Subquery, among: Iterable[Condition], limit: int | None
    ) -> list[WordMatch]:
        query = (
            sa.select(matches)
            .join(recordings_table, recordings_table.c.id == matches.c.recording_id)
            .where(self._is_shown(among))
            .order_by(matches.c.score.desc(), matches.c.recording_id)
            .limit(limit)
        )
        return [
            WordMatch(
                row.recording_id,
                round(row.score, WORD_SCORE_DECIMALS),
                tuple(dict.fromkeys(word.lower() for word in FOUND.findall(row.text))),
            )
            for row in self._execute(query)
        ]
