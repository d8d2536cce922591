"""Things that are read in order, by processes or threads that are a little ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from soundsearch.errors import SoundsearchError

T = TypeVar("T")

#: Things that a process may be ahead, and all threads together.
AHEAD, AHEAD_OF_THREADS = 2, 32


def read_ahead(
    read: Callable[[int], T], numbers: Sequence[int], n_workers: int
) -> Generator[T, None, None]:
    """Yield `read(number)` of each number in order. The workers begin at once.

    Close the generator: its workers end with it, also after an error.

    Args:
        read: Is called in a worker, so what it returns or raises is pickled.
        numbers: What to read.
        n_workers: Processes that read; 0 for this one.

    Raises:
        SoundsearchError: As `read`; the first one ends the reading.
    """
    n_workers = min(n_workers, len(numbers))
    loader: DataLoader[Any] = DataLoader(
        _Reads(read),
        batch_size=None,
        sampler=numbers,
        num_workers=n_workers,
        prefetch_factor=AHEAD if n_workers else None,
        generator=torch.Generator(),  # the global one is of the training
    )
    return _in_order(iter(loader), n_workers)


def _in_order(reading: Iterator[Any], n_workers: int) -> Generator[Any, None, None]:
    try:
        for found in reading:
            if isinstance(found, SoundsearchError):
                raise found
            yield found
    finally:
        if n_workers:  # an error may hold what would end them
            reading._shutdown_workers()  # type: ignore[attr-defined]


def read_in_threads(
    threads: ThreadPoolExecutor,
    read: Callable[[int], T],
    numbers: Sequence[int],
    ahead: int = AHEAD_OF_THREADS,
) -> Iterator[T]:
    """Yield `read(number)` of each number in order, computed by threads at most `ahead` in advance."""
    waiting: deque[Future[T]] = deque()
    for number in numbers:
        waiting.append(threads.submit(read, number))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class _Reads(Dataset[Any]):
    """What is read. Errors are returned: a worker's raised one would come with its traceback."""

    def __init__(self, read: Callable[[int], Any]) -> None:
        self._read = read

    def __getitem__(self, number: int) -> Any:
        try:
            return self._read(number)
        except SoundsearchError as error:
            return error
