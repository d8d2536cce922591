"""From a list of sources to a folder of shards: side by side, in order, to be stopped at any time.

    sources -> workers (decode, encode) -> their examples in the order of the list -> shards

Which example comes into which shard follows from the list and the options alone, whatever the number
of workers. So progress.json need only say where in the list the finished shards end: a run that
was killed goes on from there, and makes the same shards as one that was not.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from soundsearch.config import fill
from soundsearch.errors import ConfigError
from soundsearch.files import remove_unfinished, write_text
from soundsearch.progress import Progress, Silent
from soundsearch.tables import Table
from trainer.data.example import Example, ShardError, renamed
from trainer.data.part import Part
from trainer.data.shard_writer import ShardWriter, shard_path

logger = logging.getLogger(__name__)

PROGRESS = "progress.json"
FAILURES = "failures.csv"
FAILURE_COLUMNS = ("file", "clips", "reason")
LOCK = "writer.lock"
FORMAT = 1
#: Examples that a worker may be ahead of the writer, for each source it works on.
EXAMPLES_AHEAD = 8
#: Sources that are begun ahead of the writer, for each worker.
SOURCES_AHEAD = 2

Source = TypeVar("Source")
Source_co = TypeVar("Source_co", covariant=True)


class Sources(Protocol[Source_co]):
    """What is worked through in order: a list, or something that reads each when it is asked."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, i: int, /) -> Source_co:
        """Number i, from 0 on; asked for in threads."""
        ...


class Mapped(Generic[Source]):
    """What `make` gives for each of some records, made when it is asked for."""

    def __init__(self, records: Sources[Any], make: Callable[[Any], Source]) -> None:
        self._records, self._make = records, make

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int) -> Source:
        return self._make(self._records[i])


@dataclass(frozen=True)
class Problem:
    """What is wrong with a source. n_examples: how many examples it gave all the same."""

    file: str
    reason: str
    n_examples: int = 0


Outcome = Example | Problem


@dataclass(frozen=True)
class Report:
    """What a folder of shards holds when a run has ended. n_new: examples of this run alone."""

    n_examples: int
    n_shards: int
    n_sources: int
    n_problems: int
    n_new: int


@dataclass(frozen=True)
class _Progress:
    """How far the finished shards reach.

    The next example is number `example` of source `source`. problems, failures_bytes: the rows of the
    table of failures up to there.
    """

    source: int = 0
    example: int = 0
    n_shards: int = 0
    n_examples: int = 0
    n_problems: int = 0
    failures_bytes: int = 0
    finished: bool = False


def pack(
    sources: Sources[Source],
    work: Callable[[Source], Iterable[Outcome]],
    out: Path,
    options: Mapping[str, Any],
    *,
    examples_per_shard: int,
    n_workers: int,
    part: Part | None = None,
    progress: Progress | None = None,
) -> Report:
    """Write the examples of all sources into shards in `out`, or go on where an earlier run stopped.

    work: gives the examples of one source in order, and what is wrong with it; called in threads.
    options: all else that decides what is in the shards (JSON); a run with others is refused.
    part: the sources to work on, for one of several machines; it decides what is in the shards, too.
    progress: counts the sources and the examples, and gets a note for each problem beside its row in failures.csv.
    Raises ShardError, also if no source gave an example.
    """
    options = {**options, "examples_per_shard": examples_per_shard}
    if part is not None and not part.is_all:
        options["part"] = str(part)
        sources = Mapped(part.of(range(len(sources))), sources.__getitem__)
    progress = progress or Silent()
    with _locked(out):
        begun = _begin(out, options)
        if begun.finished:
            return _report(begun, len(sources), 0)
        packing = _Packing(out, options, begun, examples_per_shard, progress)
        progress.begin("sources", len(sources))
        progress.advance(begun.source)
        at = begun.source
        with (
            contextlib.closing(packing),
            contextlib.closing(_in_order(sources, begun.source, work, n_workers)) as items,
        ):
            for source, item in items:
                progress.advance(source - at)
                at = source
                packing.take(source, item)
            progress.advance(len(sources) - at)
            done = packing.end(len(sources))
        return _report(done, len(sources), done.n_examples - begun.n_examples)


def _report(progress: _Progress, n_sources: int, n_new: int) -> Report:
    return Report(progress.n_examples, progress.n_shards, n_sources, progress.n_problems, n_new)


def read_problems(out: Path) -> Iterator[Problem]:
    """The rows of failures.csv, one after the other."""
    table = Table(out / FAILURES, ShardError, undecodable="surrogateescape")
    for row in table.rows(FAILURE_COLUMNS, may_be_blank=FAILURE_COLUMNS, may_have_none=True):
        yield Problem(row["file"], row["reason"], int(row["clips"]))


class _Packing:
    """Examples and problems in order to shards, table and progress, one step of progress a shard."""

    def __init__(
        self,
        out: Path,
        options: Mapping[str, Any],
        begun: _Progress,
        examples_per_shard: int,
        progress: Progress,
    ) -> None:
        self._out, self._options, self._done = out, options, begun
        self._examples_per_shard, self._progress = examples_per_shard, progress
        self._writer: ShardWriter | None = None
        self._source, self._example = begun.source, 0
        self._skipped = begun.example  # examples of the first source that lie in finished shards
        self._n_problems = begun.n_problems
        self._failures = open(  # noqa: SIM115 - closed by `close`
            out / FAILURES, "r+", encoding="utf-8", errors="surrogateescape", newline=""
        )
        self._failures.seek(0, os.SEEK_END)

    def take(self, source: int, item: Outcome) -> None:
        if source != self._source:
            self._source, self._example, self._skipped = source, 0, 0
        if isinstance(item, Example):
            self._example += 1
            if self._example <= self._skipped:
                return
        elif self._example < self._skipped:
            return  # a problem that is in the table already
        else:
            self._note(item)
            return
        self._writer = self._writer or ShardWriter(self._out, self._done.n_shards)
        self._writer.add(item)
        n_examples = self._done.n_examples + self._writer.n_examples
        self._progress.status(f"{n_examples} examples")
        if self._writer.n_examples == self._examples_per_shard:
            self._finish_shard()

    def _note(self, problem: Problem) -> None:
        try:
            csv.writer(self._failures).writerow([problem.file, problem.n_examples, problem.reason])
        except OSError as error:
            raise _cannot_write(self._out / FAILURES, error) from error
        self._n_problems += 1
        what = "partly used" if problem.n_examples else "skipped"
        self._progress.note(f"{what} {problem.file}: {problem.reason}")

    def _finish_shard(self, *, finished: bool = False) -> None:
        n_new = 0
        if self._writer is not None:
            n_new = self._writer.n_examples
            path = self._writer.finish()
            self._writer = None
            logger.info("%s: %d examples, %d sources begun", path.name, n_new, self._source)
        try:
            self._failures.flush()
            os.fsync(self._failures.fileno())
        except OSError as error:
            raise _cannot_write(self._out / FAILURES, error) from error
        self._done = _Progress(
            source=self._source,
            example=self._example,
            n_shards=self._done.n_shards + (n_new > 0),
            n_examples=self._done.n_examples + n_new,
            n_problems=self._n_problems,
            failures_bytes=os.fstat(self._failures.fileno()).st_size,
            finished=finished,
        )
        _write_progress(self._out, self._options, self._done)

    def end(self, n_sources: int) -> _Progress:
        """Finish the last shard and note that nothing is left."""
        if self._done.n_examples == 0 and self._writer is None:
            self._failures.flush()
            first = next(read_problems(self._out), None)
            reason = f"{first.file}: {first.reason}" if first else "the list is empty"
            raise ShardError(f"none of {n_sources} sources could be used ({reason})")
        self._finish_shard(finished=True)
        return self._done

    def close(self) -> None:
        self._failures.close()
        if self._writer is not None:
            self._writer.close()


def _begin(out: Path, options: Mapping[str, Any]) -> _Progress:
    """Where to go on, with the table of failures cut back to there. Raises ShardError."""
    path = out / PROGRESS
    for written in (path, out / FAILURES):
        remove_unfinished(written)
    if not path.exists():
        if any(out.glob("*.tar")):
            raise ShardError(
                f"{out}: holds shards and no {PROGRESS}, so nothing can be added; "
                "choose another folder"
            )
        _write_text(out / FAILURES, ",".join(FAILURE_COLUMNS) + "\r\n")
        progress = _Progress(failures_bytes=(out / FAILURES).stat().st_size)
        _write_progress(out, options, progress)
        return progress
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        progress = fill(_Progress, renamed(found["progress"]), "progress.")
        before = renamed(found["options"])
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']}, not {FORMAT}")
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise ShardError(
            f"{path}: cannot be read ({error}); choose another folder, or empty this one"
        ) from error
    now = json.loads(json.dumps(options))
    if before != now:
        differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        found_and_wanted = "; ".join(
            f"{name} was {before.get(name)}, is now {now.get(name)}" for name in differing
        )
        raise ShardError(
            f"{out}: holds shards made otherwise ({found_and_wanted}); choose another folder, "
            "or the same options and files"
        )
    for number in range(progress.n_shards):
        if not shard_path(out, number).exists():
            raise ShardError(
                f"{shard_path(out, number)}: is gone, though it was finished; "
                "put it back, or choose another folder"
            )
    try:
        if (out / FAILURES).stat().st_size > progress.failures_bytes:
            os.truncate(out / FAILURES, progress.failures_bytes)
    except OSError as error:
        raise _cannot_write(out / FAILURES, error) from error
    return progress


def _write_progress(out: Path, options: Mapping[str, Any], progress: _Progress) -> None:
    facts = {"format": FORMAT, "options": options, "progress": asdict(progress)}
    _write_text(out / PROGRESS, json.dumps(facts, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise _cannot_write(path, error) from error


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Only one run at a time writes into a folder."""
    import filelock

    lock = filelock.FileLock(out / LOCK, timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise ShardError(
            f"{out}: another run is writing shards here; wait until it has finished"
        ) from error
    except OSError as error:
        raise _cannot_write(out, error) from error
    try:
        yield
    finally:
        lock.release()


def _cannot_write(path: Path, error: OSError) -> ShardError:
    return ShardError(f"{path}: cannot be written ({error.strerror})")


class _StoppedError(Exception):
    """The writer wants no more."""


def _in_order(
    sources: Sources[Source],
    first: int,
    work: Callable[[Source], Iterable[Outcome]],
    n_workers: int,
) -> Generator[tuple[int, Outcome], None, None]:
    """What `work` gives for sources[first:], each with its number, in the order of the list.

    Workers are at most EXAMPLES_AHEAD examples ahead on each of SOURCES_AHEAD sources a worker.
    """
    stopping = threading.Event()

    def run(number: int, found: queue.Queue[Outcome | BaseException | None]) -> None:
        def put(item: Outcome | BaseException | None) -> None:
            while not stopping.is_set():
                try:
                    found.put(item, timeout=0.1)
                    return
                except queue.Full:
                    pass
            raise _StoppedError

        try:
            for item in work(sources[number]):
                put(item)
            put(None)
        except _StoppedError:
            pass
        except BaseException as error:
            put(error)

    waiting: deque[tuple[int, queue.Queue[Outcome | BaseException | None]]] = deque()
    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="pack")
    numbers = iter(range(first, len(sources)))
    try:
        while True:
            while len(waiting) < SOURCES_AHEAD * n_workers:
                number = next(numbers, None)
                if number is None:
                    break
                waiting.append((number, queue.Queue(EXAMPLES_AHEAD)))
                pool.submit(run, *waiting[-1])
            if not waiting:
                return
            number, found = waiting[0]
            item = found.get()
            if item is None:
                waiting.popleft()
            elif isinstance(item, BaseException):
                raise item
            else:
                yield number, item
    finally:
        stopping.set()
        pool.shutdown(cancel_futures=True)
