"""Files of a plan embedded by workers: shards out, parts in, and their rows into the index.

The caller alone writes the index, and holds its lock. A run that was killed leaves parts; the next one
takes what it needs of them, and has the rest embedded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from indexer.distribute import Processes, distribute, distributor_of
from indexer.embedding import batches
from indexer.index_options import IndexOptions
from indexer.parts import PartFolder, Row
from indexer.plan import Plan, ToRead
from indexer.reading import Decoded, PendingFile
from indexer.report import FileProgress, Report
from indexer.shards import SHARD_BYTES, SHARD_FILES, Job, Shard, ShardFile, cut_shards
from indexer.storing import Committer, into
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import Cause, StoreError
from soundsearch.progress import Progress
from soundsearch.store import Failed, FileFacts, Writer

#: Folder inside an index for parts that nobody wants to keep: they are deleted once they are stored.
OWN_PARTS = "parts"
#: So many shards for each worker, where they do not become smaller than these.
SHARDS_A_SLOT = 8
LEAST_FILES = 8
LEAST_BYTES = 16 << 20


def read_by_workers(
    writer: Writer,
    bundle: EncoderBundle,
    plan: Plan,
    options: IndexOptions,
    report: Report,
    progress: Progress,
) -> None:
    """Have the files of a plan embedded by workers, store them, and count them in a report.

    progress: gets a note of each part that cannot be used. Raises SoundsearchError where no workers
    answer or parts cannot be written, or as `pipeline.run`.
    """
    assert options.workers is not None
    distributor = distributor_of(options.workers, progress)
    is_local = isinstance(distributor, Processes)
    folder = PartFolder(options.parts or _own_parts(writer))
    n_threads = (os.cpu_count() or 1) // distributor.n_slots if is_local else 1
    job = Job(
        folder.where,
        str(bundle.folder.absolute()),
        bundle.fingerprint,
        options.device,
        options.jobs or max(1, n_threads),
    )
    taker = _Taker(writer, plan, report, progress)
    taker.take_over(folder, job.fingerprint, progress)
    with closing(distribute(taker.shards(job, distributor.n_slots), distributor)) as found:
        for shard, name, why in found:
            taker.take([_lost(shard, why)] if name is None else folder.read(name).rows)
            if name is not None and options.parts is None:
                folder.delete(name)
    taker.give_up()


def _own_parts(writer: Writer) -> str:
    """Where parts lie if that was not said. Raises StoreError for an index in a database."""
    if not isinstance(writer.place, Path):
        raise StoreError(
            f"{writer.name}: an index in a database has no folder for parts; give one that all "
            "workers reach: --parts FOLDER or URL"
        )
    return str(writer.folder / OWN_PARTS)


class _Taker:
    """Stores the rows of parts that a plan wants."""

    def __init__(self, writer: Writer, plan: Plan, report: Report, progress: Progress) -> None:
        self._plan = plan
        self._wanted: dict[tuple[str, str], ToRead] = {}
        for todo in plan.to_read:
            file = todo.file
            self._wanted[str(plan.roots[file.root_id]), file.relative_path] = todo
        self._progress = FileProgress(progress, with_time_left=True)
        n_bytes = sum(todo.file.size_bytes for todo in self._wanted.values())
        self._progress.begin(len(self._wanted), n_bytes)
        self._committer = Committer(into(writer), report, self._progress)

    def take_over(self, folder: PartFolder, fingerprint: str, progress: Progress) -> None:
        """Take what earlier runs left: rows of the wanted files as they are now.

        What has failed for a reason that may have passed is read again, and so is what the run is to
        read whatever is known of it. Parts that hold nothing of use are not read; those of the index
        itself are deleted.
        """
        options = self._plan.options
        is_own = options.parts is None
        for name in folder.names() if self._wanted or is_own else ():
            if self._wanted:
                try:
                    rows = self._of_use(folder, name, fingerprint, progress)
                except StoreError as error:
                    progress.note(f"note {error}; it is not used")
                    rows = []
                self.take(row for row in rows if isinstance(row.end, Decoded) or not options.retry)
            elif not is_own:
                break
            if is_own:
                folder.delete(name)
        self._progress.begin_anew()

    def _of_use(
        self, folder: PartFolder, name: str, fingerprint: str, progress: Progress
    ) -> list[Row]:
        """The rows of an earlier run's part that may be taken. Raises StoreError as `folder.read`."""

        def is_of_use(root: str, file: FileFacts) -> bool:
            todo = self._todo(root, file)
            return todo is not None and not todo.again and not self._plan.options.force

        encoder, files = folder.files_of(name)
        if encoder.fingerprint != fingerprint:
            progress.note(f"note {folder.path(name)}: made by {encoder}; it is not used")
            return []
        if not any(is_of_use(*file) for file in files):
            return []
        rows = folder.read(name).rows
        return [row for row in rows if is_of_use(row.root, row.file) and not row.may_pass]

    def take(self, rows: Iterable[Row]) -> None:
        """Store those of these rows that are wanted, in transactions of bounded size."""
        for some in batches(filter(None, map(self._pending, rows))):
            self._commit(some)

    def shards(self, job: Job, n_slots: int) -> Iterable[Shard]:
        """What is still wanted; of a small run less in each, so that no worker is idle at the end."""
        options = self._plan.options
        is_on_demand = options.force or options.retry  # then no earlier failure may stay
        files = [
            ShardFile(
                root,
                todo.file,
                todo.known_hash,
                todo.again or (todo.before is None and is_on_demand),
            )
            for (root, _), todo in self._wanted.items()
        ]
        n_shards = SHARDS_A_SLOT * n_slots
        n_bytes = sum(file.facts.size_bytes for file in files)
        return cut_shards(
            job,
            files,
            most_files=min(SHARD_FILES, max(LEAST_FILES, len(files) // n_shards)),
            most_bytes=min(SHARD_BYTES, max(LEAST_BYTES, n_bytes // n_shards)),
        )

    def give_up(self) -> None:
        """What no part has said anything of is a failure, which the next run tries again."""
        reason = "the part that should hold it does not; another run wrote its parts there"
        self.take(
            Row(root, todo.file, Failed(todo.file, Cause.NOT_HANDLED, reason, keep=True))
            for (root, _), todo in list(self._wanted.items())
        )

    def _todo(self, root: str, file: FileFacts) -> ToRead | None:
        """What is to be done with a file as it was then; None if it is not wanted, or not any more."""
        todo = self._wanted.get((root, file.relative_path))
        if todo is None or replace(file, root_id=todo.file.root_id) != todo.file:
            return None
        return todo

    def _pending(self, row: Row) -> PendingFile | None:
        """A row as a file that was read; None if it is not wanted, or not any more."""
        todo = self._todo(row.root, row.file)
        if todo is None or row.is_of_no_use(todo.known_hash):
            return None
        del self._wanted[row.root, row.file.relative_path]
        return row.pending(todo.file, self._plan.path_of(todo.file), todo.before)

    def _commit(self, finished: list[PendingFile]) -> None:
        for pending in finished:
            self._progress.read(pending.file.size_bytes)
            if isinstance(pending.end, Decoded):
                self._progress.embedded(pending.end.duration_s)
        self._committer.commit(finished)


def _lost(shard: Shard, why: str) -> Row:
    (file,) = shard.files
    reason = f"each process that read it ended ({why})"
    return Row(file.root, file.facts, Failed(file.facts, Cause.FATAL, reason))
