"""A cache of embeddings of benchmarks: one SQLite file in the user's cache folder.

The key of an embedding is its input (a hash of the recording's bytes, or of the text) and what
computed it (the encoder's fingerprint, and the versions of the programs). A recording whose path,
size and modification time are stored is not hashed again. The file can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import xxhash

import soundsearch
from soundsearch.arrays import Array
from soundsearch.encoder.runtime import load_onnxruntime
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import NoHomeError
from soundsearch.files import facts_of, hash_of
from soundsearch.paths import cache_folder

log = logging.getLogger(__name__)

#: Kinds of embedding: unit vectors of all windows of a recording, one unit vector of a clip, the
#: unit vector of a text, the vector of a text before normalisation.
Kind = Literal["windows", "clip", "text", "raw-text"]

#: Seconds to wait for another process that writes; each transaction is one embedding.
WAIT_S = 30.0
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, digest BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS embeddings (
    encoder TEXT NOT NULL, kind TEXT NOT NULL, digest BLOB NOT NULL,
    vectors BLOB NOT NULL, -- little-endian float32, (n, dim)
    PRIMARY KEY (encoder, kind, digest)
);
"""


def cache_file() -> Path | None:
    """Return the path of the cache; None, with a warning in the log, if there is no home folder."""
    try:
        return cache_folder() / "benchmarks.db"
    except NoHomeError as error:
        log.warning("%s; going on without cached embeddings", error)
        return None


class EmbeddingCache:
    """Cached embeddings of one encoder. Not for several threads.

    A damaged file is replaced by a new one. Without a file, or with one that cannot be written,
    nothing is cached: a warning in the log, never an error.
    """

    def __init__(self, path: Path | None, encoder: Encoder) -> None:
        self._encoder = _computed_by(encoder)
        self._dim = encoder.bundle.dim
        self._path = path
        self._connection = _opened(path) if path is not None else None

    def digest_of(self, path: Path) -> bytes | None:
        """Return the hash of a recording's bytes, from the cache if the file has not changed.

        None if nothing is cached. Raises OSError if the file cannot be read.
        """
        if self._connection is None:
            return None
        name, facts = os.fsencode(path.absolute()), facts_of(path.stat())
        known = self._row(
            "SELECT digest FROM files WHERE path = ? AND size = ? AND mtime_ns = ?",
            (name, *facts),
        )
        if known is not None:
            return bytes(known[0])
        digest = hash_of(path)
        self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (name, *facts, digest))
        return digest

    def get(self, kind: Kind, digest: bytes | None) -> Array | None:
        """Return the stored embeddings, (n, dim) float32, or None."""
        if digest is None:
            return None
        row = self._row(
            "SELECT vectors FROM embeddings WHERE encoder = ? AND kind = ? AND digest = ?",
            (self._encoder, kind, digest),
        )
        if row is None or not row[0] or len(row[0]) % (4 * self._dim):
            return None
        return np.frombuffer(row[0], "<f4").reshape(-1, self._dim).astype(np.float32)

    def put(self, kind: Kind, digest: bytes | None, vectors: Array) -> None:
        """Store embeddings, (n, dim) float32."""
        if digest is not None:
            self._write(
                "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)",
                (self._encoder, kind, digest, vectors.astype("<f4").tobytes()),
            )

    def close(self) -> None:
        """Close the file; from then on nothing is found."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> EmbeddingCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _row(self, statement: str, values: tuple[object, ...]) -> tuple[bytes] | None:
        with self._close_on_error():
            if self._connection is not None:
                row: tuple[bytes] | None = self._connection.execute(statement, values).fetchone()
                return row
        return None

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._close_on_error():
            if self._connection is not None:
                self._connection.execute(statement, values)  # each a transaction of its own

    @contextlib.contextmanager
    def _close_on_error(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            log.warning("%s: %s; going on without cached embeddings", self._path, error)
            self.close()


def text_digest(text: str) -> bytes:
    """Return the hash of a text."""
    return xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass"))


def _computed_by(encoder: Encoder) -> str:
    """Return all that decides an embedding beside its input, in one line."""
    onnxruntime = load_onnxruntime()
    providers = ",".join(onnxruntime.get_available_providers())
    return (
        f"{encoder.bundle.fingerprint} soundsearch {soundsearch.__version__} "
        f"onnxruntime {onnxruntime.__version__} {encoder.device} of {providers}"
    )


def _opened(path: Path) -> sqlite3.Connection | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _connected(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, or not to be written
                raise
            log.warning("%s: damaged (%s); it is made again", path, error)
            for ending in ("", "-wal", "-shm"):
                Path(f"{path}{ending}").unlink(missing_ok=True)
            return _connected(path)
    except (OSError, sqlite3.Error) as error:
        log.warning("%s: cannot be used (%s); going on without cached embeddings", path, error)
        return None


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
    try:
        connection.executescript(_SCHEMA)
        connection.execute("SELECT path, size, mtime_ns, digest FROM files LIMIT 1").fetchone()
        connection.execute(
            "SELECT encoder, kind, digest, vectors FROM embeddings LIMIT 1"
        ).fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
