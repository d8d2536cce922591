"""Parts: recordings with their windows and embeddings as Parquet files, which travel between machines.

A part has one row for each recording, and says which encoder made it. It is written aside and put in
place whole; pages have checksums, so a part that was cut short or damaged is known when it is read.
docs/parts.md describes the format.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from indexer.objects import place_at, storage_errors
from indexer.reading import Decoded, PendingFile
from soundsearch.arrays import Array
from soundsearch.audio.peaks import Peaks
from soundsearch.errors import Cause, StoreError
from soundsearch.files import write_bytes
from soundsearch.store import Failed, FileFacts, PinnedEncoder, Recording
from soundsearch.store.embeddings import STORED, check_unit
from soundsearch.urls import is_url, path_of

#: Changes with what the columns mean.
PART_FORMAT = 1
#: Where the schema of a part says what it is.
KEY = b"soundsearch"
SUFFIX = ".parquet"
#: What names a file and its state, at the beginning of the schema.
FILE_COLUMNS = ("root", "relative_path", "size_bytes", "mtime_ns")
#: Columns of a recording that was read, as `Decoded` names them.
NUMBERS, TEXTS = ("duration_s", "sample_rate", "n_channels"), ("format", "damage", "note")
#: Bytes fetched at a time where a part in a storage is looked at.
LOOK_BYTES = 1 << 16
#: What a row says of its file.
INDEXED, UNCHANGED, FAILED = "indexed", "unchanged", "failed"
PASSING = frozenset(cause for cause in Cause if cause.is_passing)


@dataclass(frozen=True)
class Row:
    """What became of one recording.

    root: path or URL of its root. file: in that root; its root_id has no meaning. end: unchanged if
    its content is the one that was known. spans, embeddings: of its n windows, (n, dim) float32.
    is_missing: its file had vanished. captions: texts by field, as a person gave them.
    """

    root: str
    file: FileFacts
    end: Decoded | Failed
    spans: Sequence[tuple[float, float]] = ()
    embeddings: Array | None = None
    is_missing: bool = False
    captions: Mapping[str, str] = field(default_factory=dict)

    @property
    def may_pass(self) -> bool:
        """Whether its file failed for a reason that may have passed since."""
        return isinstance(self.end, Failed) and self.end.cause in PASSING

    def is_of_no_use(self, known_hash: bytes | None) -> bool:
        """Whether it says no more than that its content is that of another index.

        known_hash: of the content that this index knows.
        """
        end = self.end
        return isinstance(end, Decoded) and end.unchanged and end.content_hash != known_hash

    @property
    def path(self) -> Path:
        """Where its file is."""
        return path_of(self.root, self.file.relative_path)

    def pending(self, file: FileFacts, path: Path, before: Recording | None) -> PendingFile:
        """What was read of it, as a file of an index, of which `before` is known there."""
        return PendingFile(
            file,
            path,
            before,
            spans=list(self.spans),
            embeddings=[] if self.embeddings is None else [self.embeddings],
            end=replace(self.end, file=file) if isinstance(self.end, Failed) else self.end,
        )


@dataclass(frozen=True)
class Part:
    """A part that was read, and found whole."""

    encoder: PinnedEncoder
    rows: Sequence[Row]


def name_of(encoder: str, files: Sequence[tuple[str, FileFacts]]) -> str:
    """The name of the part of these files: the same files as they were, the same name.

    encoder: its fingerprint. files: each with its root.
    """
    digest = xxhash.xxh3_128(f"{PART_FORMAT} {encoder}".encode())
    for root, file in files:
        for text in (root, file.relative_path):
            name = os.fsencode(text)
            digest.update(b"%d " % len(name) + name)
        digest.update(b"%d %d " % (file.size_bytes, file.mtime_ns))
    return f"part-{digest.hexdigest()}{SUFFIX}"


class PartFolder:
    """A folder of parts, here or in a storage.

    Args:
        where: path or URL; made when the first part is written.

    Raises:
        StoreError: as `place_at`, or pyarrow is not installed.
    """

    def __init__(self, where: str) -> None:
        self.where = where if is_url(where) else os.path.abspath(where)
        self._at = place_at(where) if is_url(where) else None
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise StoreError(
                f"{where}: parts need pyarrow; install it with: pip install 'soundsearch[dask]'"
            ) from error

    def names(self) -> list[str]:
        """Names of the parts that are there, in order; none where there is no such folder."""
        try:
            if self._at is None:
                names = os.listdir(self.where)
            else:
                with storage_errors(self.where):
                    found = self._at.system.ls(self._at.name, detail=False)
                names = [name.rsplit("/", 1)[-1] for name in found]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._problem("it cannot be listed", error) from error
        return sorted(n for n in names if n.endswith(SUFFIX) and not n.startswith("."))

    def has(self, name: str) -> bool:
        """Whether there is a part of this name, which may not be whole."""
        if self._at is None:
            return os.path.exists(self.path(name))
        try:
            with storage_errors(self.where):
                return bool(self._at.system.exists(f"{self._at.name}/{name}"))
        except OSError as error:
            raise self._problem("it cannot be looked at", error) from error

    def path(self, name: str) -> str:
        """Path or URL of a part."""
        return os.path.join(self.where, name)

    def write(self, name: str, encoder: PinnedEncoder, rows: Sequence[Row]) -> None:
        """Write a part, in place of one of this name. Raises StoreError where that fails."""
        content = _encoded(encoder, rows)
        try:
            if self._at is None:
                os.makedirs(self.where, exist_ok=True)
                write_bytes(Path(self.where, name), content)
            else:
                with storage_errors(self.where):
                    self._at.system.makedirs(self._at.name, exist_ok=True)
                    self._at.system.pipe_file(f"{self._at.name}/{name}", content)
        except OSError as error:
            raise self._problem(
                f"{name} cannot be written", error, "give another folder with --parts"
            ) from error

    def read(self, name: str) -> Part:
        """Read a part.

        Raises:
            StoreError: it is not there, or not whole.
        """
        try:
            if self._at is None:
                content = Path(self.where, name).read_bytes()
            else:
                with storage_errors(self.where):
                    content = self._at.system.cat_file(f"{self._at.name}/{name}")
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.path(name)}: not there; give --parts a folder or a URL that all machines reach"
            ) from error
        except OSError as error:
            raise self._problem(f"{name} cannot be read", error) from error
        return _decoded(content, self.path(name))

    def encoder_of(self, name: str) -> PinnedEncoder:
        """The encoder of a part, of which no more than the end is looked at; raises as `read`."""
        return self._looked_at(name, [])[0]

    def files_of(self, name: str) -> tuple[PinnedEncoder, list[tuple[str, FileFacts]]]:
        """The encoder of a part and its files, each with its root; raises as `read`.

        Little else is looked at, so what comes later in the part may be damaged.
        """
        return self._looked_at(name, FILE_COLUMNS)

    def _looked_at(
        self, name: str, columns: Sequence[str]
    ) -> tuple[PinnedEncoder, list[tuple[str, FileFacts]]]:
        import pyarrow.parquet as parquet

        path = self.path(name)
        try:
            with contextlib.ExitStack() as stack:
                file: Any
                if self._at is None:
                    file = stack.enter_context(open(path, "rb"))
                else:
                    stack.enter_context(storage_errors(self.where))
                    there = f"{self._at.name}/{name}"
                    opened = self._at.system.open(there, "rb", block_size=LOOK_BYTES)
                    file = stack.enter_context(opened)
                table = parquet.read_table(
                    file, columns=[*columns], page_checksum_verification=True
                )
            encoder = _encoder(_facts(table.schema.metadata, path), path)
            return encoder, [_file(row) for row in table.to_pylist() if columns]
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise _not_whole(path, str(error)) from error

    def delete(self, name: str) -> None:
        """Delete a part, if it is there."""
        try:
            if self._at is None:
                os.unlink(self.path(name))
            else:
                with storage_errors(self.where):
                    self._at.system.rm_file(f"{self._at.name}/{name}")
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._problem(f"{name} cannot be deleted", error) from error

    def _problem(self, what: str, error: OSError, way_out: str = "") -> StoreError:
        way = f"; {way_out}" if way_out else ""
        return StoreError(f"{self.where}: {what} ({error.strerror or error}){way}")


def _encoded(encoder: PinnedEncoder, rows: Sequence[Row]) -> bytes:
    """Rows as the content of a Parquet file."""
    import pyarrow
    import pyarrow.parquet as parquet

    facts = {
        "format": PART_FORMAT,
        "encoder": asdict(encoder),
        "recordings": len(rows),
        "windows": sum(len(row.spans) for row in rows),
    }
    table = pyarrow.Table.from_pylist([_columns(row) for row in rows], schema=_schema())
    table = table.replace_schema_metadata({KEY: json.dumps(facts).encode()})
    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd", write_page_checksum=True)
    return file.getvalue()


def _schema() -> Any:
    import pyarrow as pa

    times = pa.list_(pa.float64())
    return pa.schema(
        {
            "root": pa.binary(),
            "relative_path": pa.binary(),
            "size_bytes": pa.int64(),
            "mtime_ns": pa.int64(),
            "status": pa.string(),
            "is_missing": pa.bool_(),
            "cause": pa.string(),
            "error": pa.string(),
            "keep": pa.bool_(),
            "content_hash": pa.binary(),
            "sound_hash": pa.binary(),
            "duration_s": pa.float64(),
            "sample_rate": pa.int64(),
            "n_channels": pa.int64(),
            "format": pa.string(),
            "damage": pa.string(),
            "note": pa.string(),
            "metadata": pa.string(),
            "captions": pa.string(),
            "start_s": times,
            "end_s": times,
            "embeddings": pa.binary(),
            "peaks_per_second": pa.float64(),
            "peaks": pa.binary(),
        }
    )


def _columns(row: Row) -> dict[str, Any]:
    end, file = row.end, row.file
    columns: dict[str, Any] = {
        "root": os.fsencode(row.root),
        "relative_path": os.fsencode(file.relative_path),
        "size_bytes": file.size_bytes,
        "mtime_ns": file.mtime_ns,
        "is_missing": row.is_missing,
        "captions": json.dumps(dict(row.captions)) if row.captions else None,
    }
    if isinstance(end, Failed):
        error = _plain(end.error)
        return columns | {"status": FAILED, "cause": end.cause, "error": error, "keep": end.keep}
    columns["content_hash"] = end.content_hash
    if end.unchanged:
        return columns | {"status": UNCHANGED}
    assert row.embeddings is not None
    return columns | {
        "status": INDEXED,
        "sound_hash": end.sound_hash,
        **{name: getattr(end, name) for name in NUMBERS},
        **{name: _plain(getattr(end, name)) for name in TEXTS},
        "metadata": json.dumps(dict(end.metadata)),
        "start_s": [start for start, _ in row.spans],
        "end_s": [end for _, end in row.spans],
        "embeddings": row.embeddings.astype(STORED).tobytes(),
        "peaks_per_second": None if end.peaks is None else end.peaks.per_second,
        "peaks": None if end.peaks is None else end.peaks.values.tobytes(),
    }


def _plain(text: str | None) -> str | None:
    """A text in which bytes that are no UTF-8 are escaped."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def _decoded(content: bytes, path: str) -> Part:
    """The rows of a part. Raises StoreError where it is not whole."""
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(content), page_checksum_verification=True)
    except (OSError, ValueError) as error:
        raise _not_whole(path, str(error)) from error
    facts = _facts(table.schema.metadata, path)
    encoder = _encoder(facts, path)
    try:
        rows = [_row(columns, encoder.dim) for columns in _dicts(table)]
    except (KeyError, TypeError, ValueError) as error:
        raise _not_whole(path, f"a row cannot be used: {error}") from error
    found = len(rows), sum(len(row.spans) for row in rows)
    if found != (facts.get("recordings"), facts.get("windows")):
        raise _not_whole(
            path,
            f"it holds {found[0]} recordings and {found[1]} windows, and declares "
            f"{facts.get('recordings')} and {facts.get('windows')}",
        )
    return Part(encoder, rows)


def _dicts(table: Any) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=256):
        yield from batch.to_pylist()


def _file(columns: Mapping[str, Any]) -> tuple[str, FileFacts]:
    """The file of a row, and its root."""
    path = os.fsdecode(columns["relative_path"])
    file = FileFacts(0, path, int(columns["size_bytes"]), int(columns["mtime_ns"]))
    return os.fsdecode(columns["root"]), file


def _row(columns: Mapping[str, Any], dim: int) -> Row:
    root, file = _file(columns)
    more: dict[str, Any] = {
        "is_missing": bool(columns["is_missing"]),
        "captions": json.loads(columns["captions"] or "{}"),
    }
    status = columns["status"]
    if status == FAILED:
        failed = Failed(file, columns["cause"], columns["error"], bool(columns["keep"]))
        return Row(root, file, failed, **more)
    content_hash = bytes(columns["content_hash"])
    if status == UNCHANGED:
        return Row(root, file, Decoded(content_hash, unchanged=True), **more)
    if status != INDEXED:
        raise ValueError(f"its status is {status!r}")
    spans = list(zip(columns["start_s"], columns["end_s"], strict=True))
    embeddings = np.frombuffer(columns["embeddings"], STORED).astype(np.float32)
    if not spans or len(embeddings) != len(spans) * dim:
        raise ValueError(f"{len(spans)} windows with {len(embeddings)} numbers")
    embeddings = embeddings.reshape(-1, dim)
    check_unit(embeddings)
    peaks = columns["peaks"]
    decoded = Decoded(
        content_hash,
        **{name: columns[name] for name in (*NUMBERS, *TEXTS)},
        metadata=json.loads(columns["metadata"]),
        sound_hash=bytes(columns["sound_hash"]),
        peaks=None
        if peaks is None
        else Peaks(columns["peaks_per_second"], np.frombuffer(peaks, np.uint8).reshape(-1, 2)),
    )
    _check_spans(spans, decoded.duration_s)
    return Row(root, file, decoded, spans, embeddings, **more)


def _check_spans(spans: Sequence[tuple[float, float]], duration_s: float) -> None:
    """Raise ValueError unless every window lies in its recording."""
    for start_s, end_s in spans:
        if not 0 <= start_s < end_s <= duration_s + 1e-6:
            raise ValueError(f"a window lies at {start_s} to {end_s} of {duration_s} s")


def _facts(metadata: Mapping[bytes, bytes] | None, path: str) -> dict[str, Any]:
    """What a part says of itself."""
    try:
        facts: dict[str, Any] = json.loads((metadata or {})[KEY])
    except (KeyError, ValueError) as error:
        raise StoreError(
            f"{path}: no part of an index, but another Parquet file; give a folder that holds parts alone"
        ) from error
    if facts.get("format") != PART_FORMAT:
        raise StoreError(
            f"{path}: a part of format {facts.get('format')}, this version reads {PART_FORMAT}; use a "
            "matching version of soundsearch"
        )
    return facts


def _encoder(facts: Mapping[str, Any], path: str) -> PinnedEncoder:
    try:
        return PinnedEncoder(**facts["encoder"])
    except (KeyError, TypeError) as error:
        raise _not_whole(path, "it names no encoder") from error


def _not_whole(path: str, reason: str) -> StoreError:
    return StoreError(
        f"{path}: no whole part ({' '.join(reason.split())[:200]}); delete it, and run again what "
        "wrote it"
    )
