"""The truth: one SQLite database per index, holding recordings, windows and their embeddings.

In: rows, written a batch at a time, each batch one transaction. Out: rows, read from one
consistent snapshot. Embeddings are blobs of little-endian float32. Everything else about an index
(the FAISS file) can be made again from here.

Only the process that holds the writer's lock may write; readers need no lock (WAL mode).
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import Cause, IndexBusyError, StoreError
from soundsearch.store.schema import (
    MIGRATIONS,
    READABLE_SCHEMA,
    index_table,
    is_path,
    recordings_table,
    revisions_table,
    roots_table,
    schema_of,
    skipped_table,
    stored_path,
    windows_table,
)
from soundsearch.store.sqlite import DATABASE, cannot_write, engine_of, is_sealed, translated

Array = NDArray[np.float32]
Ids = NDArray[np.int64]

LOCK = "writer.lock"


class State(StrEnum):
    """What the last look at a recording found."""

    INDEXED = "indexed"
    FAILED = "failed"
    MISSING = "missing"


#: Which of two recordings of one path says more.
_WORTH = {State.INDEXED: 2, State.MISSING: 1, State.FAILED: 0}


@dataclass(frozen=True)
class PinnedEncoder:
    """The one encoder whose embeddings an index holds."""

    name: str
    version: str
    fingerprint: str
    dim: int

    @classmethod
    def of(cls, bundle: EncoderBundle) -> PinnedEncoder:
        """What of a bundle an index remembers."""
        return cls(bundle.name, bundle.version, bundle.fingerprint, bundle.dim)

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.dim}-d, {self.fingerprint[:12]})"


@dataclass(frozen=True)
class Root:
    """A folder that was indexed, or a file that was named itself; path is absolute."""

    id: int
    path: Path


@dataclass(frozen=True, slots=True)
class Recording:
    """One audio file known to the database."""

    id: int
    root_id: int
    relative_path: str
    size_bytes: int
    mtime_ns: int
    content_hash: bytes | None
    state: State
    cause: Cause | None = None

    @property
    def facts(self) -> tuple[int, int]:
        """Size and time of change, to be compared with those of `facts_of`."""
        return self.size_bytes, self.mtime_ns

    @property
    def is_root(self) -> bool:
        """Whether it is a root of its own: a file that was named itself."""
        return self.relative_path == "."


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the file system says of a file: enough to see that it has not changed."""

    root_id: int
    relative_path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Indexed:
    """A recording with its windows, ready to be stored.

    spans: (start_s, end_s) of n windows; embeddings: (n, dim) float32, unit norm.
    damage: one sentence if only part of the file could be read. note: one if it holds more than was
    read, such as other sound tracks.
    """

    file: FileFacts
    content_hash: bytes
    duration_s: float
    sample_rate: int
    n_channels: int
    format: str
    spans: Sequence[tuple[float, float]]
    embeddings: Array
    damage: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Failed:
    """A file that could not be used, and why. keep: its earlier embeddings still hold."""

    file: FileFacts
    cause: str
    error: str
    keep: bool = False


class Store:
    """An opened index folder. Use `Store.open` or `Store.create`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = engine_of(folder / DATABASE)
        weakref.finalize(self, self.engine.dispose)  # a store that nobody closed

    # ---- opening

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether there is an index in this folder; one killed while being made is none yet."""
        try:
            (folder / DATABASE).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise StoreError(
                f"{folder}: the index folder cannot be read ({error.strerror}); "
                "check its permissions or choose another with --index"
            ) from error
        store = cls(folder)
        with contextlib.closing(store), store.snapshot() as connection:
            tables = connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").first()
        return tables is not None

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open an existing index, bringing an older schema up to date.

        Raises StoreError if there is none, or if it cannot be used.
        """
        if not cls.exists(folder):
            raise StoreError(f"no index at {folder}; make one with: soundsearch index FOLDER")
        store = cls(folder)
        store._migrate()
        return store

    @classmethod
    def create(cls, folder: Path, encoder: PinnedEncoder) -> Store:
        """Open the index in this folder, making it first if there is none."""
        if cls.exists(folder):
            return cls.open(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(cannot_write(folder, error)) from error
        store = cls(folder)
        with store.lock(), store.transaction() as connection:
            if schema_of(connection) == 0:  # nobody was faster
                for migrate in MIGRATIONS:
                    migrate(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {len(MIGRATIONS)}")
                connection.execute(
                    index_table.insert().values(
                        id=1,
                        encoder_name=encoder.name,
                        encoder_version=encoder.version,
                        encoder_fingerprint=encoder.fingerprint,
                        dim=encoder.dim,
                        created_at=_now(),
                    )
                )
        return store

    def _migrate(self) -> None:
        with self.snapshot() as connection:
            found = schema_of(connection)
        if found == len(MIGRATIONS) or (
            READABLE_SCHEMA <= found < len(MIGRATIONS) and is_sealed(self.folder / DATABASE)
        ):
            return
        if found > len(MIGRATIONS):
            raise StoreError(
                f"{self.folder}: written by a newer soundsearch (schema {found}, this one knows "
                f"{len(MIGRATIONS)}); upgrade soundsearch"
            )
        if found == 0:
            raise StoreError(
                f"{self.folder / DATABASE}: not an index of soundsearch (no schema in it); "
                "move the file away or choose another --index"
            )
        with self.lock():
            backup = self.folder / f"soundsearch-schema{found}.db"
            if not backup.exists():
                self._back_up(backup)
            with self.transaction() as connection:
                for migrate in MIGRATIONS[schema_of(connection) :]:
                    migrate(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _back_up(self, backup: Path) -> None:
        """A copy of the database, written aside and then renamed."""
        aside = backup.with_name(f".{backup.name}")
        aside.unlink(missing_ok=True)
        with (
            translated(self.folder),
            contextlib.closing(sqlite3.connect(aside)) as copy,
            contextlib.closing(sqlite3.connect(self.folder / DATABASE)) as original,
        ):
            original.backup(copy)
        aside.replace(backup)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    # ---- transactions

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one writer. Raises IndexBusyError at once if another process is.

        The operating system drops the lock with the process, also when it is killed.
        """
        import filelock

        lock = filelock.FileLock(self.folder / LOCK, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise IndexBusyError(
                f"{self.folder}: another soundsearch is writing this index; "
                "wait until it has finished (searching works meanwhile)"
            ) from error
        except OSError as error:
            raise StoreError(cannot_write(self.folder, error)) from error
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def transaction(self, *, new_revision: bool = True) -> Iterator[Connection]:
        """All or nothing: commits at the end, rolls back on any error, and gives a new revision.

        new_revision: False for what no search depends on, so that the FAISS file stays as it is.
        """
        with translated(self.folder), self.engine.begin() as connection:
            yield connection
            if new_revision:
                connection.execute(revisions_table.insert().values(token=secrets.token_hex(8)))

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Read one consistent state, whatever a writer does meanwhile."""
        with translated(self.folder), self.engine.begin() as connection:
            yield connection

    # ---- writing (with the lock held)

    def add_root(self, connection: Connection, path: Path) -> Root:
        """The root of this absolute path, added if it is new."""
        row = connection.execute(
            sa.select(roots_table.c.id).where(is_path(roots_table.c.path, str(path)))
        ).first()
        if row is None:
            added = connection.execute(roots_table.insert().values(path=str(path), added_at=_now()))
            return Root(_new_id(added), path)
        return Root(row.id, path)

    def relocate(self, connection: Connection, root: Root, path: Path) -> Root:
        """Put a root under a new path; where it then overlaps others, they become one root.

        Recordings keep their embeddings. Returns the root they are in now.
        """
        others = [other for other in self.roots(connection) if other.id != root.id]
        for around in others:
            if path.is_relative_to(around.path):
                self.absorb(connection, root, around, path.relative_to(around.path))
                return around
        connection.execute(
            roots_table.update().where(roots_table.c.id == root.id).values(path=str(path))
        )
        moved = Root(root.id, path)
        for inner in others:
            if inner.path.is_relative_to(path):
                self.absorb(connection, inner, moved, inner.path.relative_to(path))
        return moved

    def absorb(self, connection: Connection, old: Root, new: Root, inside: Path) -> None:
        """Let a root take over another one, whose files lie in its folder `inside` (relative).

        Recordings keep their embeddings. Of two recordings of one path, one stays: the one that is
        indexed, else the one that is missing, else the one of the new root.
        """
        there = {r.relative_path: r for r in self.recordings(connection, new.id)}
        for recording in list(self.recordings(connection, old.id)):
            relative_path = str(inside / recording.relative_path)
            rival = there.get(relative_path)
            if rival is not None:
                is_better = _WORTH[recording.state] > _WORTH[rival.state]
                self.forget(connection, [(rival if is_better else recording).id])
                if not is_better:
                    continue
            connection.execute(
                recordings_table.update()
                .where(recordings_table.c.id == recording.id)
                .values(root_id=new.id, relative_path=relative_path)
            )
            there[relative_path] = recording
        connection.execute(roots_table.delete().where(roots_table.c.id == old.id))

    def drop_empty_roots(self, connection: Connection, roots: Iterable[Root]) -> list[Root]:
        """Delete those of these roots of which no recording with embeddings is known; returns them."""
        columns = recordings_table.c
        dropped = []
        for root in roots:
            of_root = columns.root_id == root.id
            embedded = sa.select(columns.id).where(of_root, columns.state != State.FAILED).limit(1)
            if connection.execute(embedded).first() is None:
                connection.execute(recordings_table.delete().where(of_root))
                connection.execute(roots_table.delete().where(roots_table.c.id == root.id))
                dropped.append(root)
        return dropped

    def put(self, connection: Connection, recording: Indexed) -> int:
        """Store a recording and its windows, in place of what was known of that path. Returns its id."""
        cause = Cause.DAMAGED if recording.damage else Cause.TRACKS if recording.note else None
        said = [text for text in (recording.damage, recording.note) if text]
        recording_id = self._put_row(
            connection,
            recording.file,
            content_hash=recording.content_hash,
            duration_s=recording.duration_s,
            sample_rate=recording.sample_rate,
            n_channels=recording.n_channels,
            format=recording.format,
            state=State.INDEXED,
            cause=cause,
            error="; ".join(said) or None,
        )
        connection.execute(
            windows_table.delete().where(windows_table.c.recording_id == recording_id)
        )
        connection.execute(
            windows_table.insert(),
            [
                {"recording_id": recording_id, "start_s": start, "end_s": end, "embedding": blob}
                for (start, end), blob in zip(
                    recording.spans, _blobs(recording.embeddings), strict=True
                )
            ],
        )
        return recording_id

    def put_failed(self, connection: Connection, failed: Failed) -> None:
        """Store that a file failed. Its earlier windows go, unless failed.keep."""
        known = self._find(connection, failed.file)
        if failed.keep and known is not None and known.state is not State.FAILED:
            connection.execute(
                recordings_table.update()
                .where(recordings_table.c.id == known.id)
                .values(cause=failed.cause, error=failed.error)
            )
            return
        recording_id = self._put_row(
            connection, failed.file, state=State.FAILED, cause=failed.cause, error=failed.error
        )
        connection.execute(
            windows_table.delete().where(windows_table.c.recording_id == recording_id)
        )

    def _put_row(self, connection: Connection, file: FileFacts, **values: object) -> int:
        values = {
            "content_hash": None,
            "duration_s": None,
            "sample_rate": None,
            "n_channels": None,
            "format": None,
            **values,
            "size_bytes": file.size_bytes,
            "mtime_ns": file.mtime_ns,
            "indexed_at": _now(),
        }
        known = self._find(connection, file)
        if known is None:
            added = connection.execute(
                recordings_table.insert().values(
                    root_id=file.root_id, relative_path=file.relative_path, **values
                )
            )
            return _new_id(added)
        connection.execute(
            recordings_table.update().where(recordings_table.c.id == known.id).values(**values)
        )
        return known.id

    def _find(self, connection: Connection, file: FileFacts) -> Recording | None:
        column = recordings_table.c.relative_path
        row = connection.execute(
            _select_recordings()
            .where(recordings_table.c.root_id == file.root_id, is_path(column, file.relative_path))
            .order_by(sa.func.typeof(column).desc())  # text before an old twin of it, a blob
        ).first()
        return None if row is None else _recording(row)

    def move(self, connection: Connection, recording_id: int, file: FileFacts) -> None:
        """The same sound under a new path (or the same path again): nothing is embedded anew."""
        columns = recordings_table.c
        connection.execute(  # a failed row may stand at the new path
            recordings_table.delete().where(
                recordings_table.c.root_id == file.root_id,
                is_path(recordings_table.c.relative_path, file.relative_path),
                recordings_table.c.id != recording_id,
            )
        )
        connection.execute(
            recordings_table.update()
            .where(recordings_table.c.id == recording_id)
            .values(
                root_id=file.root_id,
                relative_path=file.relative_path,
                size_bytes=file.size_bytes,
                mtime_ns=file.mtime_ns,
                state=State.INDEXED,
                # Damage stays with the sound; that it could not be reached for a time does not.
                **{
                    name: sa.case((columns.cause.in_((Cause.DAMAGED, Cause.TRACKS)), columns[name]))
                    for name in ("cause", "error")
                },
            )
        )

    def mark_missing(self, connection: Connection, recording_ids: Iterable[int]) -> None:
        """These files have vanished: keep their embeddings, do not show them. Failed rows go."""
        for some in _chunks(recording_ids):
            chosen = recordings_table.c.id.in_(some)
            connection.execute(
                recordings_table.delete().where(chosen, recordings_table.c.state == State.FAILED)
            )
            connection.execute(recordings_table.update().where(chosen).values(state=State.MISSING))

    def forget(self, connection: Connection, recording_ids: Iterable[int]) -> None:
        """Delete recordings with their windows."""
        for some in _chunks(recording_ids):
            connection.execute(recordings_table.delete().where(recordings_table.c.id.in_(some)))

    def put_skipped(self, connection: Connection, root_id: int, counts: Mapping[str, int]) -> None:
        """Store how many files of each ending were skipped in a root, in place of what was known."""
        columns = skipped_table.c
        connection.execute(skipped_table.delete().where(columns.root_id == root_id))
        if counts:
            connection.execute(
                skipped_table.insert(),
                [
                    {"root_id": root_id, "ending": ending, "n_files": n}
                    for ending, n in counts.items()
                ],
            )

    # ---- reading

    def skipped(self, connection: Connection, root_id: int | None = None) -> Counter[str]:
        """How many files of each ending the last whole scan skipped, in one root or in all."""
        if schema_of(connection) < 2:  # a read-only index of an earlier version
            return Counter()
        columns = skipped_table.c
        query = sa.select(columns.ending, columns.n_files)
        if root_id is not None:
            query = query.where(columns.root_id == root_id)
        counts: Counter[str] = Counter()
        for ending, n_files in connection.execute(query):
            counts[ending] += n_files
        return counts

    def encoder(self, connection: Connection) -> PinnedEncoder:
        """The encoder this index is pinned to."""
        row = connection.execute(sa.select(index_table)).one()
        return PinnedEncoder(
            row.encoder_name, row.encoder_version, row.encoder_fingerprint, row.dim
        )

    def revision(self, connection: Connection) -> str:
        """A token that every write changes: what was derived under another one may be stale."""
        latest = sa.select(revisions_table.c.token).order_by(revisions_table.c.id.desc()).limit(1)
        return str(connection.execute(latest).scalar_one())

    def has_had_revision(self, connection: Connection, token: str) -> bool:
        """Whether this state grew out of that revision; one of a lost future is unknown here."""
        found = sa.select(revisions_table.c.id).where(revisions_table.c.token == token)
        return connection.execute(found).first() is not None

    def roots(self, connection: Connection) -> list[Root]:
        """All roots, by path."""
        rows = connection.execute(sa.select(roots_table.c.id, roots_table.c.path)).all()
        return sorted((Root(row.id, Path(row.path)) for row in rows), key=lambda root: root.path)

    def recordings(self, connection: Connection, root_id: int | None = None) -> Iterator[Recording]:
        """Every recording known, in whatever state, by id."""
        query = _select_recordings().order_by(recordings_table.c.id)
        if root_id is not None:
            query = query.where(recordings_table.c.root_id == root_id)
        for row in connection.execute(query):
            yield _recording(row)

    def recording_at(self, connection: Connection, path: Path) -> Recording | None:
        """The recording known at this absolute path, if any."""
        for root in self.roots(connection):
            if path.is_relative_to(root.path):
                inside = FileFacts(root.id, str(path.relative_to(root.path)), 0, 0)
                found = self._find(connection, inside)
                if found is not None:
                    return found
        return None

    def window_ids(self, connection: Connection, within: Iterable[Path] | None = None) -> Ids:
        """Ids of all windows a search may show, ascending; within: only of files in these folders.

        within: absolute paths, of files too.
        """
        if within is not None:
            per_folder = [self._window_ids(connection, folder) for folder in within]
            return np.unique(np.concatenate([np.empty(0, np.int64), *per_folder]))
        return self._window_ids(connection)

    def _window_ids(self, connection: Connection, folder: Path | None = None) -> Ids:
        query = (
            sa.select(windows_table.c.id)
            .join(recordings_table, recordings_table.c.id == windows_table.c.recording_id)
            .where(recordings_table.c.state == State.INDEXED)
            .order_by(windows_table.c.id)
        )
        if folder is not None:
            query = query.where(self._lies_in(connection, folder))
        return np.array(connection.execute(query).scalars().all(), np.int64)

    def knows_of(self, connection: Connection, folder: Path) -> bool:
        """Whether anything was ever indexed at this absolute path or in the folder that it names."""
        query = sa.select(recordings_table.c.id).where(self._lies_in(connection, folder)).limit(1)
        return connection.execute(query).first() is not None

    def _lies_in(self, connection: Connection, folder: Path) -> sa.ColumnElement[bool]:
        roots = self.roots(connection)
        whole = [root.id for root in roots if root.path.is_relative_to(folder)]
        of_whole = sa.func.json_each(json.dumps(whole)).table_valued("value")  # there may be many
        choices: list[sa.ColumnElement[bool]] = [
            recordings_table.c.root_id.in_(sa.select(of_whole.c.value))
        ]
        for root in roots:
            here = recordings_table.c.root_id == root.id
            if folder != root.path and folder.is_relative_to(root.path):
                relative_path = str(folder.relative_to(root.path))
                choices.append(here & is_path(recordings_table.c.relative_path, relative_path))
                # '0' follows '/': all that lies between them starts with "inside/".
                inside = stored_path(relative_path)
                as_bytes = inside.encode() if isinstance(inside, str) else inside
                for low, high in (
                    (inside + "/", inside + "0") if isinstance(inside, str) else (b"", b""),
                    (as_bytes + b"/", as_bytes + b"0"),
                ):
                    raw = sa.type_coerce(recordings_table.c.relative_path, sa.types.NullType)
                    choices.append(here & (raw >= sa.literal(low)) & (raw < sa.literal(high)))
        return sa.or_(*choices)

    def embeddings(self, connection: Connection, window_ids: Ids, dim: int) -> Array:
        """(n, dim) float32 in the order of window_ids. Raises StoreError if one is missing or odd."""
        found = np.empty((len(window_ids), dim), np.float32)
        place = 0
        for some in _chunks(window_ids.tolist()):
            rows = connection.execute(
                sa.select(windows_table.c.id, windows_table.c.embedding).where(
                    windows_table.c.id.in_(some)
                )
            )
            blobs = {row.id: row.embedding for row in rows}
            for window_id in some:
                blob = blobs.get(window_id, b"")
                if len(blob) != 4 * dim:
                    raise StoreError(
                        f"{self.folder}: window {window_id} holds {len(blob)} bytes of embedding, "
                        f"expected {4 * dim}; run: soundsearch repair"
                    )
                found[place] = np.frombuffer(blob, "<f4")
                place += 1
        return found

    def embeddings_of(self, connection: Connection, recording_id: int, dim: int) -> Array:
        """(n, dim) float32: the embeddings of one recording's windows in order."""
        ids = connection.execute(
            sa.select(windows_table.c.id)
            .where(windows_table.c.recording_id == recording_id)
            .order_by(windows_table.c.id)
        ).scalars()
        return self.embeddings(connection, np.array(ids.all(), np.int64), dim)

    def describe_windows(self, connection: Connection, window_ids: Ids) -> dict[int, sa.Row[Any]]:
        """Per window id: recording_id, start_s, end_s, duration_s, root (path), relative_path.

        Windows that a search may not show (any more) are left out.
        """
        found: dict[int, sa.Row[Any]] = {}
        for some in _chunks(window_ids.tolist()):
            rows = connection.execute(
                sa.select(
                    windows_table.c.id,
                    windows_table.c.recording_id,
                    windows_table.c.start_s,
                    windows_table.c.end_s,
                    recordings_table.c.duration_s,
                    recordings_table.c.relative_path,
                    roots_table.c.path.label("root"),
                )
                .join(recordings_table, recordings_table.c.id == windows_table.c.recording_id)
                .join(roots_table, roots_table.c.id == recordings_table.c.root_id)
                .where(windows_table.c.id.in_(some), recordings_table.c.state == State.INDEXED)
            )
            found.update({row.id: row for row in rows})
        return found


_CAUSES = frozenset(Cause)  # an index may hold some of another version


def _select_recordings() -> sa.Select[Any]:
    columns = recordings_table.c
    return sa.select(
        columns.id,
        columns.root_id,
        columns.relative_path,
        columns.size_bytes,
        columns.mtime_ns,
        columns.content_hash,
        columns.state,
        columns.cause,
    )


def _recording(row: sa.Row[Any]) -> Recording:
    return Recording(
        row.id,
        row.root_id,
        row.relative_path,
        row.size_bytes,
        row.mtime_ns,
        row.content_hash,
        State(row.state),
        Cause(row.cause) if row.cause in _CAUSES else None,
    )


def _blobs(embeddings: Array) -> Iterator[bytes]:
    for row in embeddings.astype("<f4"):
        yield row.tobytes()


def _chunks(ids: Iterable[int], size: int = 500) -> Iterator[list[int]]:
    listed = list(ids)
    for i in range(0, len(listed), size):
        yield listed[i : i + size]


def _new_id(result: sa.CursorResult[Any]) -> int:
    return int(result.inserted_primary_key[0])  # type: ignore[index]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
