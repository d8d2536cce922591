"""Is an index sound? What is in it, what is wrong with it, and mending it.

In: a store. Out: a `Status`, or the `Problem`s found when rows, vectors, files and encoder are held
against each other.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import BundleError, SoundsearchError, StoreError
from soundsearch.files import facts_of
from soundsearch.roots import RootFacts, facts_of_roots
from soundsearch.store.pinned import COPY, check_same_encoder, copy_bundle, pinned_bundle
from soundsearch.store.schema import recordings_table, windows_table
from soundsearch.store.sqlite import RESTORE
from soundsearch.store.store import PinnedEncoder, State, Store
from soundsearch.vectors.cache import discard, refresh, vectors_at
from soundsearch.vectors.exact import NORM_TOLERANCE

#: Windows compared at a time.
BATCH_ROWS = 20_000


@dataclass(frozen=True)
class Status:
    """What an index holds.

    failures: per cause, recordings that could not (or only partly) be read.
    skipped: per ending, files that the last whole scan of a root did not take for sound.
    """

    folder: Path
    encoder: PinnedEncoder
    roots: list[RootFacts]
    n_indexed: int
    n_failed: int
    n_missing: int
    n_windows: int
    duration_s: float
    failures: dict[str, int]
    skipped: Counter[str]
    size_bytes: int


@dataclass(frozen=True)
class Problem:
    """Something `verify` found.

    kind: where; "files" also of a root that is not there. recording_id: the recording it is about,
    if it is about one.
    """

    kind: Literal["database", "rows", "vectors", "encoder", "files"]
    text: str
    recording_id: int | None = None

    @property
    def is_drift(self) -> bool:
        """A file that changed since it was indexed, or a root that is gone: no fault of the index."""
        return self.kind == "files"


def status(store: Store) -> Status:
    """Count what is there."""
    columns = recordings_table.c
    with store.snapshot() as connection:
        states = _counts(connection, columns.state, sa.true())
        causes = _counts(
            connection,
            columns.cause,
            sa.and_(columns.cause.is_not(None), columns.state != State.MISSING),
        )
        duration_s = connection.execute(
            sa.select(sa.func.coalesce(sa.func.sum(columns.duration_s), 0.0)).where(
                columns.state == State.INDEXED
            )
        ).scalar_one()
        n_windows = connection.execute(
            sa.select(sa.func.count())
            .select_from(
                windows_table.join(recordings_table, columns.id == windows_table.c.recording_id)
            )
            .where(columns.state == State.INDEXED)
        ).scalar_one()
        return Status(
            folder=store.folder,
            encoder=store.encoder(connection),
            roots=facts_of_roots(store, connection),
            n_indexed=states.get(State.INDEXED, 0),
            n_failed=states.get(State.FAILED, 0),
            n_missing=states.get(State.MISSING, 0),
            n_windows=n_windows,
            duration_s=duration_s,
            failures=dict(Counter(causes).most_common()),
            skipped=store.skipped(connection),
            size_bytes=_size_of(store.folder),
        )


def _counts(
    connection: Connection, column: sa.Column[Any], condition: sa.ColumnElement[bool]
) -> dict[Any, int]:
    """How many recordings there are of each value of a column."""
    rows = connection.execute(sa.select(column, sa.func.count()).where(condition).group_by(column))
    return {row[0]: row[1] for row in rows}


def _size_of(folder: Path) -> int:
    """Bytes of all files in a folder; those that a running index run takes away do not count."""
    n_bytes = 0
    for inside, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                n_bytes += os.lstat(os.path.join(inside, name)).st_size
    return n_bytes


def verify(store: Store) -> list[Problem]:
    """Hold rows, vectors, encoder and files against each other. Changes nothing."""
    problems = _database_problems(store)
    if problems:  # the rest would only repeat it
        return problems
    with store.snapshot() as connection:
        problems += _row_problems(store, connection)
        problems += _file_problems(store, connection)
        problems += _encoder_problems(store, connection)
    if not any(problem.kind == "rows" for problem in problems):
        problems += _vector_problems(store)
    return problems


def repair(store: Store, bundle: EncoderBundle | None = None) -> list[str]:
    """Mend what `verify` finds, and say what was done.

    bundle: where to take a lost encoder from. The FAISS file is made again; recordings whose
    windows are odd are dropped, so that the next index run embeds them anew.
    Raises StoreError if the database itself is damaged, IndexMismatchError for a wrong bundle.
    """
    done = []
    with store.lock():
        problems = verify(store)
        for problem in problems:
            if problem.kind == "database":
                raise StoreError(f"{store.folder}: {problem.text}; {RESTORE}")
        if bundle is not None:
            check_same_encoder(store, bundle)
        if any(problem.kind == "encoder" for problem in problems):
            copy_bundle(bundle or pinned_bundle(store, own_copy=False), store.folder)
            done.append("put back the encoder")
        odd = {p.recording_id for p in problems if p.kind == "rows" and p.recording_id is not None}
        if odd:
            with store.transaction() as connection:
                store.forget(connection, sorted(odd))
            done.append(
                f"dropped {len(odd)} odd recordings; run `soundsearch index` to embed them anew"
            )
        if odd or any(problem.kind == "vectors" for problem in problems):
            discard(store.folder)
            refresh(store)
            done.append("made the FAISS file again")
    return done


def _encoder_problems(store: Store, connection: Connection) -> Iterator[Problem]:
    """Of the index's own copy: that a twin is at hand today does not help it tomorrow."""
    pinned, copy = store.encoder(connection), store.folder / COPY
    try:
        bundle = EncoderBundle.read(copy)
        for name in bundle.files:
            bundle.file(name)
    except BundleError as error:
        yield Problem("encoder", str(error))
        return
    if bundle.fingerprint != pinned.fingerprint:
        found = PinnedEncoder.of(bundle)
        yield Problem("encoder", f"{copy}: holds {found}, this index was built with {pinned}")


def _database_problems(store: Store) -> list[Problem]:
    found = []
    try:
        with store.snapshot() as connection:
            for (text,) in connection.exec_driver_sql("PRAGMA integrity_check"):
                if text != "ok":
                    found.append(Problem("database", f"SQLite says: {text}"))
            for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
                text = f"row {row[1]} of {row[0]} points at a row of {row[2]} that is not there"
                found.append(Problem("database", text))
    except StoreError as error:
        cause = error.__cause__
        if not isinstance(cause, sa.exc.DBAPIError) or isinstance(cause, sa.exc.OperationalError):
            raise  # busy, say, or on a full disk: no word about what is in it
        return found or [Problem("database", f"SQLite says: {cause.orig}")]  # damaged through
    return found


def _row_problems(store: Store, connection: Connection) -> Iterator[Problem]:
    dim = store.encoder(connection).dim
    columns = recordings_table.c
    roots = {root.id: root.path for root in store.roots(connection)}

    def name_of(root_id: int, relative_path: str) -> str:
        """A file that was named itself is its root."""
        return str(roots[root_id]) if relative_path == "." else relative_path

    without = connection.execute(
        sa.select(columns.id, columns.root_id, columns.relative_path).where(
            columns.state != State.FAILED,
            ~sa.exists().where(windows_table.c.recording_id == columns.id),
        )
    )
    for row in without:
        yield Problem("rows", f"{name_of(row.root_id, row.relative_path)}: has no windows", row.id)
    text_twin = recordings_table.alias()
    twins = connection.execute(
        sa.select(columns.id, columns.root_id, columns.relative_path).where(
            sa.func.typeof(columns.relative_path) == "blob",
            sa.exists().where(
                text_twin.c.root_id == columns.root_id,
                text_twin.c.relative_path == sa.cast(columns.relative_path, sa.Text),
            ),
        )
    )
    for row in twins:  # what a file once became when it was indexed in two locales
        name = name_of(row.root_id, row.relative_path)
        yield Problem("rows", f"{name}: known twice", row.id)
    windows = connection.execute(
        sa.select(windows_table, columns.root_id, columns.relative_path, columns.duration_s)
        .join(recordings_table, columns.id == windows_table.c.recording_id)
        .execution_options(yield_per=BATCH_ROWS)
    )
    for row in windows:
        name = f"{name_of(row.root_id, row.relative_path)}, window {row.id}"
        if len(row.embedding) != 4 * dim:
            text = f"{name}: {len(row.embedding)} bytes of embedding, expected {4 * dim}"
            yield Problem("rows", text, row.recording_id)
            continue
        norm = float(np.linalg.norm(np.frombuffer(row.embedding, "<f4")))
        if not abs(norm - 1) <= NORM_TOLERANCE:
            yield Problem(
                "rows", f"{name}: its embedding has length {norm:.3g}, not 1", row.recording_id
            )
        if not 0 <= row.start_s < row.end_s <= row.duration_s + 1e-6:
            text = f"{name}: lies at {row.start_s} to {row.end_s} of {row.duration_s} s"
            yield Problem("rows", text, row.recording_id)


def _vector_problems(store: Store) -> Iterator[Problem]:
    with store.snapshot() as connection:
        try:
            vectors, _ = vectors_at(store, connection)
        except SoundsearchError as error:
            yield Problem("vectors", str(error))
            return
        wanted = store.window_ids(connection)
        if not np.array_equal(np.sort(vectors.ids), wanted):
            text = f"the FAISS file holds {len(vectors)} windows, the database {len(wanted)}"
            yield Problem("vectors", text)
            return
        for i in range(0, len(wanted), BATCH_ROWS):
            some = wanted[i : i + BATCH_ROWS]
            differ = vectors.embeddings(some) != store.embeddings(connection, some, vectors.dim)
            n_differ = int(differ.any(axis=1).sum())
            if n_differ:
                text = f"{n_differ} vectors of the FAISS file differ from the database"
                yield Problem("vectors", text)


def _file_problems(store: Store, connection: Connection) -> Iterator[Problem]:
    facts = facts_of_roots(store, connection)
    for root in facts:
        if root.is_lost:
            n_kept = root.n_indexed + root.n_missing
            kept = f"recordings of it that are kept: {n_kept}"
            text = f"{root.path}: {root.absence} now; {kept}; {root.way_out}"
            yield Problem("files", text)
    lost = {root.path for root in facts if root.is_lost}
    roots = {root.id: root.path for root in store.roots(connection)}
    for recording in store.recordings(connection):
        folder = roots[recording.root_id]
        if recording.state is not State.INDEXED or folder in lost:
            continue
        path = folder / recording.relative_path
        try:
            stat = os.stat(path)
        except OSError as error:
            yield Problem("files", f"{path}: {error.strerror}", recording.id)
            continue
        if facts_of(stat) != recording.facts:
            yield Problem("files", f"{path}: changed since it was indexed", recording.id)
