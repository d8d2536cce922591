"""What runs `shards.embed`: this process, processes of this machine, or the workers of a Dask cluster.

Out: shards with the names of their parts, as they come. Nothing here schedules or restarts machines.
A shard whose process died is run again; one that goes on killing processes is cut in pieces, until the
file that does it stands alone and is given up.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import re
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from indexer.reading import describe
from indexer.shards import Shard, embed
from soundsearch.errors import SoundsearchError
from soundsearch.progress import SILENT, Progress

#: So often a shard may take its process with it before it is cut.
TRIES = 2
#: Into so many pieces.
PIECES = 8
#: Seconds until a scheduler has to answer, and between looks at one that has no workers.
PATIENCE_S = 10.0
LOOK_S = 5.0
DASK = re.compile(r"(dask|tcp|tls|ucx|ws|wss)://")

#: A part's name, or what went wrong with a shard.
End = str | Exception
Embed = Callable[[Shard], str]


class DiedOftenError(Exception):
    """A shard has ended several processes already."""


class Distributor(Protocol):
    """Runs shards side by side.

    n_slots: how many at a time.
    """

    @property
    def n_slots(self) -> int:
        """How many shards may run side by side now; 1 or more."""

    def start(self, shard: Shard) -> None:
        """Begin with a shard."""

    def finished(self) -> list[tuple[Shard, End]]:
        """Wait until any shard has ended; returns those that have."""

    def close(self) -> None:
        """Stop all that still runs."""


def distribute(
    shards: Iterable[Shard], distributor: Distributor
) -> Generator[tuple[Shard, str | None, str], None, None]:
    """Run all shards, made one by one as there is room; the distributor is closed at the end.

    Yields a shard, the name of its part, and ""; for the one file of a shard that ends every
    process which reads it None, and why. Raises SoundsearchError for what is no fault of a file.
    """
    waiting = iter(shards)
    again: deque[Shard] = deque()
    # Of one file each: nothing else runs beside such a shard, so that blame is sure.
    alone: deque[Shard] = deque()
    is_alone = False
    strikes: Counter[str] = Counter()
    n_running = 0
    try:
        while True:
            while n_running < distributor.n_slots:
                shard = again.popleft() if again else next(waiting, None)
                if shard is None:
                    break
                distributor.start(shard)
                n_running += 1
            is_alone = not n_running
            if is_alone:
                if not alone:
                    return
                distributor.start(alone.popleft())
                n_running = 1
            for shard, end in distributor.finished():
                n_running -= 1
                if isinstance(end, str):
                    yield shard, end, ""
                    continue
                if isinstance(end, SoundsearchError):
                    raise end
                strikes[shard.name] += TRIES if isinstance(end, DiedOftenError) else 1
                if len(shard.files) == 1:
                    if is_alone:
                        yield shard, None, describe(end)
                    else:
                        alone.append(shard)
                elif strikes[shard.name] < TRIES:
                    again.append(shard)
                else:
                    again.extend(shard.split(PIECES))
    finally:
        distributor.close()


class Sequential:
    """A `Distributor`: this process, a shard at a time."""

    n_slots = 1

    def __init__(self, do: Embed = embed) -> None:
        self._do = do
        self._ended: list[tuple[Shard, End]] = []

    def start(self, shard: Shard) -> None:
        """See `Distributor`."""
        end: End
        try:
            end = self._do(shard)
        except Exception as error:
            end = error
        self._ended.append((shard, end))

    def finished(self) -> list[tuple[Shard, End]]:
        """See `Distributor`."""
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """See `Distributor`."""


class Processes:
    """A `Distributor`: processes of this machine, each with a shard at a time.

    Each has a pool of its own, so that it is known which shard has ended a process.
    """

    def __init__(self, n: int, do: Embed = embed) -> None:
        self.n_slots = n
        self._do = do
        self._idle: list[ProcessPoolExecutor] = []
        self._running: dict[Future[str], tuple[Shard, ProcessPoolExecutor]] = {}

    def start(self, shard: Shard) -> None:
        """See `Distributor`."""
        pool = self._idle.pop() if self._idle else _pool()
        self._running[pool.submit(self._do, shard)] = shard, pool

    def finished(self) -> list[tuple[Shard, End]]:
        """See `Distributor`."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        ended: list[tuple[Shard, End]] = []
        for future in done:
            shard, pool = self._running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                pool.shutdown(wait=False)
            else:
                self._idle.append(pool)
            if error is not None and not isinstance(error, Exception):
                raise error
            ended.append((shard, future.result() if error is None else error))
        return ended

    def close(self) -> None:
        """See `Distributor`."""
        pools = [*self._idle, *(pool for _, pool in self._running.values())]
        for pool in pools:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
        self._idle, self._running = [], {}


def _pool() -> ProcessPoolExecutor:
    # Started afresh: a fork would have locks of threads that it does not have.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_begin_worker)


def _begin_worker() -> None:
    """Ctrl-C is the parent's to handle; a worker ends when its parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


class Dask:
    """A `Distributor`: the workers of a Dask cluster.

    Args:
        address: Of the scheduler, such as tcp://host:8786; dask:// means the same as tcp://.
        progress: Gets a note where there are no workers.
        do: What runs there.

    Raises:
        SoundsearchError: No scheduler answers, or dask is not installed.
    """

    def __init__(self, address: str, progress: Progress = SILENT, do: Embed = embed) -> None:
        try:
            import distributed
        except ImportError as error:
            raise SoundsearchError(
                f"{address}: Dask is not installed; install it with: pip install 'soundsearch[dask]'"
            ) from error
        self._address = address.replace("dask://", "tcp://", 1)
        self._progress = progress
        self._do = do
        self._distributed: Any = distributed
        self._client: Any
        self._running: dict[Any, Shard] = {}
        self._has_said = False
        # What it has to say of lost connections is said here, in one line.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        try:
            self._client = self._distributed.Client(
                self._address, timeout=PATIENCE_S, set_as_default=False
            )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise SoundsearchError(
                f"{self._address}: no Dask scheduler answers ({reason}); start one with: dask scheduler, "
                "or give a number of processes: --workers 4"
            ) from error

    @property
    def n_slots(self) -> int:
        """The threads of all workers; see `Distributor`."""
        with self._scheduler_there():
            n_threads: int = sum(self._client.nthreads().values())
        return max(1, n_threads)

    def start(self, shard: Shard) -> None:
        """See `Distributor`."""
        with self._scheduler_there():
            # Not pure: what it does is to write. Dask itself runs it again where a worker dies.
            future = self._client.submit(self._do, shard, pure=False)
        self._running[future] = shard

    def finished(self) -> list[tuple[Shard, End]]:
        """See `Distributor`."""
        while True:
            with (
                self._scheduler_there(),
                contextlib.suppress(TimeoutError),
                self._client.as_current(),
            ):
                done = self._distributed.wait(
                    list(self._running), timeout=LOOK_S, return_when="FIRST_COMPLETED"
                ).done
                return [self._ended(future) for future in done]
            self._look_for_workers()

    def _ended(self, future: Any) -> tuple[Shard, End]:
        shard = self._running.pop(future)
        if future.status == "finished":
            return shard, str(future.result())
        if future.status != "error":
            raise self._gone(f"a task was {future.status}")
        error = future.exception()
        if isinstance(error, self._distributed.KilledWorker):
            return shard, DiedOftenError(" ".join(str(error).split()))
        if isinstance(error, ImportError):
            raise SoundsearchError(
                f"{self._address}: a worker cannot run it ({describe(error)}); install the same "
                "soundsearch[dask] on all machines"
            )
        return shard, error if isinstance(error, Exception) else RuntimeError(repr(error))

    def _look_for_workers(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise self._gone(f"the connection is {self._client.status}")
        with self._scheduler_there():
            has_workers = bool(self._client.nthreads())
        if not has_workers and not self._has_said:
            self._progress.note(
                f"note {self._address}: no workers now; start some with: dask worker {self._address}"
            )
        self._has_said = not has_workers

    @contextlib.contextmanager
    def _scheduler_there(self) -> Iterator[None]:
        try:
            yield
        except (SoundsearchError, TimeoutError):
            raise
        except Exception as error:
            if isinstance(error, OSError | RuntimeError) or "Cancelled" in str(type(error)):
                raise self._gone(describe(error)) from error
            raise

    def _gone(self, why: str) -> SoundsearchError:
        return SoundsearchError(
            f"{self._address}: the scheduler is gone ({why}); what was embedded is kept, start it and "
            "run the same command again"
        )

    def close(self) -> None:
        """See `Distributor`."""
        with contextlib.suppress(Exception):  # it may be gone
            self._client.close(timeout=2)


def distributor_of(workers: str, progress: Progress = SILENT) -> Distributor:
    """Return what a person calls workers: a number of processes, or the address of a scheduler.

    Raises:
        SoundsearchError: It is neither, or no scheduler answers.
    """
    if workers.isascii() and workers.isdigit() and int(workers) > 0:
        return Processes(int(workers))
    if DASK.match(workers):
        return Dask(workers, progress)
    raise SoundsearchError(
        f"--workers {workers!r}: give a number of processes of 1 or more, or the address of a Dask "
        "scheduler such as dask://host:8786"
    )
