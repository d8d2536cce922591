"""Shards: some files of a library, embedded by one call anywhere, and what they became as a part.

`embed` is a plain function of a plain value. It runs in this process, in other processes, on the
workers of a Dask cluster, in an array of jobs: see `distribute.py` and examples/.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import soundsearch
from indexer.embedding import embed_files
from indexer.parts import PartFolder, Row, name_of
from indexer.reading import PendingFile
from indexer.report import FileProgress, Report
from soundsearch.choices import Device
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.registry import bundle_folders
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import BundleError, SoundsearchError, StoreError
from soundsearch.progress import Silent
from soundsearch.store import FileFacts, PinnedEncoder
from soundsearch.urls import is_url, path_of, url_of

#: A shard ends after so many files, or so many bytes of them.
SHARD_FILES = 256
SHARD_BYTES = 1 << 30


@dataclass(frozen=True)
class ShardFile:
    """A file to read. known_hash: of its content, where that is known; again: read it all the same."""

    root: str
    facts: FileFacts
    known_hash: bytes | None = None
    again: bool = False


@dataclass(frozen=True)
class Job:
    """What all shards of a run share.

    Attributes:
        parts: Path or URL of the folder of parts, which all workers reach.
        bundle: Folder of the encoder; where a worker has none there, one of the same fingerprint
            among its own is taken.
        fingerprint: Of the encoder.
        device: Where it runs: "auto", "cpu" or "cuda".
        jobs: Files read side by side, and threads of the encoder.
        version: Of soundsearch.
    """

    parts: str
    bundle: str
    fingerprint: str
    device: Device = "auto"
    jobs: int = 1
    version: str = soundsearch.__version__


@dataclass(frozen=True)
class Shard:
    """Files that one call embeds."""

    job: Job
    files: tuple[ShardFile, ...]

    @functools.cached_property
    def name(self) -> str:
        """Of the part that it becomes."""
        return name_of(self.job.fingerprint, [(file.root, file.facts) for file in self.files])

    @property
    def n_bytes(self) -> int:
        """Of all files."""
        return sum(file.facts.size_bytes for file in self.files)

    def split(self, n: int) -> list[Shard]:
        """Cut into at most n shards."""
        step = -(-len(self.files) // n)
        return [
            replace(self, files=self.files[i : i + step]) for i in range(0, len(self.files), step)
        ]


def cut_shards(
    job: Job,
    files: Iterable[ShardFile],
    *,
    most_files: int = SHARD_FILES,
    most_bytes: int = SHARD_BYTES,
) -> Iterator[Shard]:
    """Cut files into shards, in their order; a file of more bytes is a shard of its own."""
    some: list[ShardFile] = []
    n_bytes = 0
    for file in files:
        if some and (len(some) == most_files or n_bytes + file.facts.size_bytes > most_bytes):
            yield Shard(job, tuple(some))
            some, n_bytes = [], 0
        some.append(file)
        n_bytes += file.facts.size_bytes
    if some:
        yield Shard(job, tuple(some))


def embed(shard: Shard) -> str:
    """Read and embed the files of a shard, write what they became as a part, and return its name.

    A file that cannot be used is a row with its reason. A part that is there and whole stays,
    unless a file is to be read again, failed for a reason that may have passed, or is unchanged
    from a content that another index knows.
    Raises SoundsearchError where the part cannot be written, or the encoder cannot be used here.
    """
    job = shard.job
    if job.version != soundsearch.__version__:
        raise SoundsearchError(
            f"a worker has soundsearch {soundsearch.__version__}, the run was started with {job.version}; "
            "install the same version on all machines"
        )
    folder = PartFolder(job.parts)
    if folder.has(shard.name) and _may_stay(folder, shard):
        return shard.name
    encoder = _encoder(job)
    rows: list[Row] = []

    def keep(finished: Sequence[PendingFile]) -> None:
        rows.extend(_row(shard.files[pending.file.root_id], pending) for pending in finished)

    progress = FileProgress(Silent())
    pending = (_pending(place, file) for place, file in enumerate(shard.files))
    embed_files(pending, len(shard.files), encoder, job.jobs, keep, Report(), progress)
    rows.sort(key=lambda row: (row.root, row.file.relative_path))  # whichever reader was first
    folder.write(shard.name, PinnedEncoder.of(encoder.bundle), rows)
    return shard.name


def _may_stay(folder: PartFolder, shard: Shard) -> bool:
    if any(file.again for file in shard.files):
        return False
    known = {(file.root, file.facts.relative_path): file.known_hash for file in shard.files}
    try:
        return not any(
            row.may_pass or row.is_of_no_use(known.get((row.root, row.file.relative_path)))
            for row in folder.read(shard.name).rows
        )
    except StoreError:  # not whole
        return False


def _pending(place: int, file: ShardFile) -> PendingFile:
    """A file of a shard as the readers take it; its place in the shard stands for the root's id."""
    path = file.facts.relative_path
    return PendingFile(
        replace(file.facts, root_id=place),
        path_of(file.root, path),
        again=file.again,
        url=url_of(file.root, path) if is_url(file.root) else None,
        known_hash=file.known_hash,
    )


def _row(file: ShardFile, pending: PendingFile) -> Row:
    end = pending.outcome
    assert end is not None
    embeddings = np.concatenate(pending.embeddings) if pending.spans else None
    return Row(file.root, file.facts, end, pending.spans, embeddings)


@functools.lru_cache(maxsize=1)
def _loaded(bundle: str, fingerprint: str, device: Device, n_threads: int) -> Encoder:
    for folder in (Path(bundle), *bundle_folders()):
        try:
            found = EncoderBundle.read(folder)
        except BundleError:
            continue
        if found.fingerprint == fingerprint and all(
            os.path.exists(folder / name) for name in found.files
        ):
            return Encoder(found, device, n_threads)
    raise BundleError(
        f"{bundle}: a worker has no encoder {fingerprint[:12]} there, nor among its own; copy the "
        "bundle there, into the folder that SOUNDSEARCH_MODELS names"
    )


def _encoder(job: Job) -> Encoder:
    """The encoder of a job, loaded once in a process."""
    return _loaded(job.bundle, job.fingerprint, job.device, job.jobs)
