"""The PostgreSQL database of an index: connections, the writer's lock, and rows in bulk.

In: the address of a database. Out: a `Database` that offers what `Backend` says. With the other
modules called `postgres_*` the only one that knows PostgreSQL and its driver, psycopg.
"""

from __future__ import annotations

import contextlib
import functools
import re
import time
import weakref
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import sqlalchemy as sa
from psycopg.adapt import Loader
from psycopg.pq import Format
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.ext.compiler import compiles

from soundsearch.encoder.bundle import MANIFEST
from soundsearch.errors import IndexBusyError, StoreError
from soundsearch.paths import DatabaseUrl
from soundsearch.store.backend import Window
from soundsearch.store.postgres_errors import NO_EXTENSION, RESTORE, translated
from soundsearch.store.postgres_graph import TABLES as GRAPH_TABLES
from soundsearch.store.postgres_graph import Graph
from soundsearch.store.postgres_words import WordIndex
from soundsearch.store.schema import Embedding, Integer64, metadata, revisions_table

if TYPE_CHECKING:
    from soundsearch.encoder.bundle import EncoderBundle

#: Holds the version of the tables, and the encoder, which an index carries with it.
OWN_TABLES = (
    "CREATE TABLE schema_version (version integer NOT NULL)",
    "CREATE TABLE encoder_files (name text PRIMARY KEY, content bytea NOT NULL)",
)
#: Locks of this program are of this class ("snds"); of which index, says the second number.
LOCK_CLASS = 0x736E6473
#: The lock under which revisions are given, so that they count up in the order of their commits.
REVISION_LOCK = 0x736E6472
#: How often the lock is tried, and the seconds between.
ATTEMPTS, ATTEMPT_S = 6, 0.1
#: Seconds that a connection may take, unless the address says another time.
CONNECT_S = 10
#: The version of pgvector that goes on where a filter leaves too few windows.
LEAST_PGVECTOR = (0, 8)
#: Connections that wait for the next search, and those that there may be beside them.
POOLED, MORE = 8, 24
#: What a row of windows takes beside its embedding: in its page, in two b-trees, and in the graph.
WINDOW_BYTES, GRAPH_BYTES = 120, 300
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,50}")


@compiles(Embedding, "postgresql")
def _halves(type_: Embedding, compiler: Any, **_: object) -> str:
    return "HALFVEC"


class _BinaryCursor(psycopg.Cursor[Any]):
    """Receives numbers and embeddings as they are stored, not as texts."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.format = Format.BINARY


class _BinaryServerCursor(psycopg.ServerCursor[Any]):
    """The same for rows that the server gives a part at a time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.format = Format.BINARY


class _HalvesLoader(Loader):
    """An embedding as the store has it, little-endian; the server sends it the other way round."""

    format = Format.BINARY

    def load(self, data: Any) -> bytes:
        return np.frombuffer(data, ">f2", offset=4).astype("<f2").tobytes()


class Database(WordIndex):
    """The database of one index; see `Backend`."""

    restore, is_server = RESTORE, True

    def __init__(self, place: DatabaseUrl) -> None:
        self.place, self.name = place, str(place)
        self.schema = place.schema
        self.engine = _engine(parsed(place), place.schema)
        self.graph: Graph = Graph()
        self._stems: dict[str, str] = {}
        self._writing: Connection | None = None
        weakref.finalize(self, self.engine.dispose)

    # ---- connections

    @contextlib.contextmanager
    def transaction(self, *, writes: bool = False) -> Iterator[Connection]:
        """One consistent state; what is changed is committed at the end, or rolled back on an error.

        A writer changes rows in the session that holds its lock: who loses the one loses the other.
        """
        with translated(self.place):
            if self._writing is not None and writes:
                if self._writing.invalidated or self._writing.closed:
                    raise StoreError(
                        f"{self.name}: the server ended the writer's session; run the command again, "
                        "what was committed is kept"
                    )
                with self._writing.begin():
                    yield self._writing
                return
            level = "READ COMMITTED" if writes else "REPEATABLE READ"
            with self.engine.connect() as connection:
                connection.execution_options(isolation_level=level, postgresql_readonly=not writes)
                with connection.begin():
                    yield connection

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one writer. Raises IndexBusyError at once if another process is.

        The server drops the lock with the session, also when this process is killed.
        """
        with translated(self.place), self.engine.connect() as connection:
            connection.execution_options(isolation_level="READ COMMITTED")
            key = {"class": LOCK_CLASS, "index": self._lock_number}
            for attempt in range(ATTEMPTS):  # a session that was killed just now may not have ended
                if self._ask(connection, "pg_try_advisory_lock", key):
                    break
                time.sleep(attempt and ATTEMPT_S)
            else:
                raise IndexBusyError(
                    f"{self.name}: another soundsearch is writing this index; "
                    "wait until it has finished (searching works meanwhile)"
                )
            self._writing = connection
            try:
                yield
            finally:
                self._writing = None
                try:
                    self._ask(connection, "pg_advisory_unlock", key)
                except sa.exc.SQLAlchemyError:  # the lock is gone with its session
                    connection.invalidate()

    @staticmethod
    def _ask(connection: Connection, function: str, key: Mapping[str, int]) -> bool:
        with connection.begin():
            query = sa.text(f"SELECT {function}(:class, :index)")
            return bool(connection.execute(query, key).scalar_one())

    @property
    def _lock_number(self) -> int:
        number = zlib.crc32(self.schema.encode())
        return number - (1 << 32) if number >= 1 << 31 else number

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    # ---- the schema

    @property
    def is_sealed(self) -> bool:
        """Whether the server takes no writes, or this user does not own the tables."""
        query = sa.text(
            "SELECT pg_is_in_recovery() OR coalesce(bool_or(NOT pg_has_role(c.relowner, 'USAGE')), false) "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = :schema AND c.relkind = 'r'"
        )
        with self.transaction() as connection:
            return bool(connection.execute(query, {"schema": self.schema}).scalar_one())

    def version(self, connection: Connection) -> int:
        """The schema version of the index in it, 0 if there is none. Raises StoreError for all else."""
        ours = {"schema_version", *metadata.tables}
        tables = self._tables(connection)
        if "schema_version" in tables:
            return int(
                connection.execute(sa.text("SELECT version FROM schema_version")).scalar_one()
            )
        if tables & ours:
            raise StoreError(
                f"{self.name}: the schema {self.schema} has tables of other programs "
                f"({', '.join(sorted(tables & ours))}); name another in the address: ?schema=NAME"
            )
        return 0

    def set_version(self, connection: Connection, version: int) -> None:
        """Mark the database as an index of this schema version."""
        connection.exec_driver_sql("DELETE FROM schema_version")
        connection.execute(sa.text("INSERT INTO schema_version VALUES (:v)"), {"v": version})

    def create_tables(self, connection: Connection) -> None:
        """Make all tables in an empty database."""
        name = sa.quoted_name(self.schema, quote=True)
        quoted = connection.dialect.identifier_preparer.quote(name)
        if not connection.execute(
            sa.text("SELECT to_regnamespace(:name) IS NOT NULL"), {"name": quoted}
        ).scalar_one():
            connection.exec_driver_sql(f"CREATE SCHEMA {quoted}")
        self._require_extension(connection)
        for statement in OWN_TABLES:
            connection.exec_driver_sql(statement)
        metadata.create_all(connection, checkfirst=False)
        for statement in GRAPH_TABLES:
            connection.exec_driver_sql(statement)
        self.create_word_tables(connection)

    def back_up(self, version: int) -> None:
        """Nothing: a step changes all or nothing, and backups are the server's."""

    def _require_extension(self, connection: Connection) -> None:
        """Raise StoreError where the extension of vectors is missing or too old, and cannot be made."""
        query = sa.text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        found = connection.execute(query).scalar()
        if found is None:
            try:
                with connection.begin_nested():
                    connection.exec_driver_sql("CREATE EXTENSION vector SCHEMA public")
            except sa.exc.DBAPIError as error:
                raise StoreError(f"{self.name}: {NO_EXTENSION}") from error
            found = connection.execute(query).scalar_one()
        if tuple(map(int, str(found).split(".")[:2])) < LEAST_PGVECTOR:
            raise StoreError(
                f"{self.name}: its extension vector is of version {found}, expected 0.8 or newer; "
                "an administrator runs: ALTER EXTENSION vector UPDATE"
            )
        raw = connection.connection.driver_connection
        oid = connection.exec_driver_sql("SELECT to_regtype('halfvec')::int8").scalar_one()
        raw.adapters.register_loader(oid, _HalvesLoader)  # type: ignore[union-attr]

    def _tables(self, connection: Connection) -> set[str]:
        query = sa.text("SELECT tablename::text FROM pg_tables WHERE schemaname = :schema")
        return set(connection.execute(query, {"schema": self.schema}).scalars())

    def drop(self) -> None:
        """Delete the index with all that it holds, if it is there."""
        quoted = self.engine.dialect.identifier_preparer.quote_identifier(self.schema)
        with self.transaction(writes=True) as connection:
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {quoted} CASCADE")

    # ---- rows

    def put_encoder(self, connection: Connection, bundle: EncoderBundle) -> None:
        """Store the files of a bundle, in place of those before."""
        connection.exec_driver_sql("DELETE FROM encoder_files")
        put = sa.text("INSERT INTO encoder_files VALUES (:name, :content)")
        for file in (*map(bundle.file, bundle.files), bundle.folder / MANIFEST):
            connection.execute(put, {"name": file.name, "content": file.read_bytes()})

    def encoder_files(self, connection: Connection, only: str | None = None) -> dict[str, bytes]:
        """The files of the bundle by name, or one of them."""
        query = sa.text(
            "SELECT name, content FROM encoder_files WHERE name = :only OR :only IS NULL"
        ).bindparams(sa.bindparam("only", only, sa.Text))
        rows = connection.execute(query)
        return {row.name: row.content for row in rows}

    def add_revision(self, connection: Connection, token: str) -> None:
        """Give the state that is written here a token of its own; the last write of a transaction."""
        lock = sa.text("SELECT pg_advisory_xact_lock(:class, :index)")
        connection.execute(lock, {"class": REVISION_LOCK, "index": self._lock_number})
        connection.execute(revisions_table.insert().values(token=token))

    def one_of(self, column: sa.ColumnElement[int], ids: Sequence[int]) -> sa.ColumnElement[bool]:
        """See `Backend`. One array makes one statement for any number of ids."""
        return column == sa.func.any(sa.literal(ids, sa.ARRAY(Integer64)))

    def put_windows(self, connection: Connection, rows: Sequence[Window]) -> None:
        """Add windows, many in one go (COPY)."""
        if not rows:
            return
        raw = connection.connection.driver_connection
        assert raw is not None
        columns = "recording_id, start_s, end_s, embedding"
        with (
            raw.cursor() as cursor,
            cursor.copy(f"COPY windows ({columns}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.write(copied(rows))

    # ---- room and damage

    def bytes_of_windows(self, n_windows: int, dim: int) -> int:
        """About how much room windows take in tables and graph."""
        return n_windows * (2 * 2 * dim + WINDOW_BYTES + GRAPH_BYTES)

    def sizes(self) -> tuple[int, int]:
        """Bytes that can be given back: none, the server sees to it. And bytes of all tables."""
        with self.transaction() as connection:
            query = sa.text(
                "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 FROM pg_class c "
                "JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = :schema AND c.relkind = 'r'"
            )
            return 0, int(connection.execute(query, {"schema": self.schema}).scalar_one())

    def compact(self) -> None:
        """Nothing: the server gives room back by itself (autovacuum)."""

    def trim_log(self, to_bytes: int | None = None) -> None:
        """Add up what transactions noted of the number of words."""
        with contextlib.suppress(StoreError), self.transaction(writes=True) as connection:
            self.sum_up(connection)

    def problems(self) -> list[str]:
        """What is damaged in the database, in words: indexes that are not valid.

        Rows that point at rows which are not there are refused by the server.
        """
        query = sa.text(
            "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = :schema AND NOT i.indisvalid"
        )
        with self.transaction() as connection:
            names = connection.execute(query, {"schema": self.schema}).scalars().all()
        return [f"the index {name} of the database is not valid; run: REINDEX" for name in names]


def _engine(conninfo: dict[str, Any], schema: str) -> Engine:
    """Connections to a server. They know no `Database`, so that one nobody closed lets go of them."""
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=functools.partial(_connect, conninfo),
        pool_size=POOLED,
        max_overflow=MORE,
        pool_pre_ping=True,  # a server that was started anew
        use_native_hstore=False,
        hide_parameters=True,
    )
    sa.event.listen(engine, "connect", lambda connection, record: _prepare(connection, schema))
    return engine


def _connect(conninfo: dict[str, Any]) -> psycopg.Connection[Any]:
    connection = psycopg.connect(**conninfo, cursor_factory=_BinaryCursor)
    connection.server_cursor_factory = _BinaryServerCursor
    return connection


def _prepare(connection: Any, schema: str) -> None:
    """Let a session find the tables of this index first, and read embeddings as they are."""
    driver = getattr(connection, "driver_connection", connection)
    with driver.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('search_path', concat_ws(', ', quote_ident(%s), "
            "nullif(current_setting('search_path'), '')), false), to_regtype('halfvec')::int8",
            (schema,),
        )
        ((_, halfvec),) = cursor.fetchall()
    driver.commit()
    if halfvec is not None:
        driver.adapters.register_loader(halfvec, _HalvesLoader)


def parsed(place: DatabaseUrl) -> dict[str, Any]:
    """What the driver needs to connect.

    Raises:
        StoreError: The address is not understood.
    """
    if not _NAME.fullmatch(place.schema):
        raise StoreError(
            f"{place}: schema is {place.schema!r}, expected letters, digits and _, at most 51, and no "
            "digit at the beginning"
        )
    with translated(place):
        conninfo = psycopg.conninfo.conninfo_to_dict(place.server)
    return {"connect_timeout": CONNECT_S, "application_name": "soundsearch", **conninfo}


def copied(rows: Sequence[Window]) -> bytes:
    """Windows as COPY takes them in its binary format."""
    dim = len(rows[0][3]) // 2
    kinds: list[Any] = [("n_fields", ">i2")]
    for name, kind in (("id", ">i8"), ("start", ">f8"), ("end", ">f8")):
        kinds += [(f"{name}_bytes", ">i4"), (name, kind)]
    kinds += [
        ("embedding_bytes", ">i4"),
        ("dim", ">i2"),
        ("unused", ">i2"),
        ("embedding", ">f2", (dim,)),
    ]
    table = np.zeros(len(rows), np.dtype(kinds))
    table["n_fields"] = 4
    for name, column in (("id", 0), ("start", 1), ("end", 2)):
        table[f"{name}_bytes"] = 8
        table[name] = [row[column] for row in rows]
    table["embedding_bytes"], table["dim"] = 4 + 2 * dim, dim
    blobs = b"".join(row[3] for row in rows)
    table["embedding"] = np.frombuffer(blobs, "<f2").reshape(len(rows), dim)
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + table.tobytes() + b"\xff\xff"
