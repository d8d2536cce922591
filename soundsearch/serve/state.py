"""What all requests share: the opened index, kept up to date, and threads that are counted."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter, Semaphore, to_thread

from soundsearch.errors import SoundsearchError
from soundsearch.search.index import Index
from soundsearch.serve.decoding import Decoders
from soundsearch.serve.excerpt_files import ExcerptFiles
from soundsearch.serve.http_errors import RequestError
from soundsearch.serve.library_run import LibraryRun
from soundsearch.store import Reader

log = logging.getLogger(__name__)

Value = TypeVar("Value")
#: A request waits this long for what was written to the index; then it is answered without that.
PATIENCE_S = 0.3
#: After the index was loaded anew, it is not for so many times as long as that took.
REST = 10
#: Warnings of the library while a request is answered.
_notes: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("notes", default=None)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of what one request may cost.

    Attributes:
        upload_bytes: The largest upload.
        upload_s: The longest stretch of an upload, or of a passage, that is searched by.
        receive_s: How long an upload may take to arrive.
        decode_s: How long decoding a passage may take.
        outline_s: How long the outline of a waveform may take that is not stored.
        excerpt_s: The longest excerpt.
        n_searches: Searches that run at a time; others wait.
        n_readers: Other requests that read the index at a time.
        n_decoders: Passages that are decoded at a time.
        n_uploads: Uploads that are taken at a time.
    """

    upload_bytes: int = 256 << 20
    upload_s: float = 600.0
    receive_s: float = 120.0
    decode_s: float = 20.0
    outline_s: float = 300.0
    excerpt_s: float = 600.0
    n_searches: int = max(2, min(6, os.cpu_count() or 1))
    n_readers: int = 6
    n_decoders: int = 2
    n_uploads: int = 4


class Served:
    """An index that is served.

    Attributes:
        index: Opened; many threads use it.
        limits: Bounds of requests.
        decoders: Processes that decode.
        excerpts: Files of excerpts that were cut.
        run: The run of `index` that goes on, or the last one.
        is_local: Whether only this machine can send requests.
        uploads: Counts uploads.
    """

    def __init__(self, index: Index, limits: Limits, *, is_local: bool) -> None:
        self.index, self.limits, self.is_local = index, limits, is_local
        self._folder = tempfile.TemporaryDirectory(
            prefix="soundsearch-", ignore_cleanup_errors=True
        )
        self.folder = Path(self._folder.name)
        self.decoders = Decoders(limits.decode_s, limits.outline_s)
        self.excerpts = ExcerptFiles(self.folder)
        self.run = LibraryRun(index.store.place)
        self.uploads = CapacityLimiter(limits.n_uploads)
        self._searching = Semaphore(limits.n_searches)
        self._search_threads = CapacityLimiter(limits.n_searches)
        self._reading = CapacityLimiter(limits.n_readers)
        self._decoding = CapacityLimiter(limits.n_decoders)
        self._outlining = CapacityLimiter(1)
        self._refreshing: asyncio.Task[None] | None = None
        self._rests_until = 0.0

    async def search(
        self,
        answer: Callable[[Index], Value],
        is_gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> Value:
        """Ask the index, in its newest state or one of a moment ago, in a thread.

        Args:
            answer: Asks it.
            is_gone: Whether nobody waits for the answer any more: then it is not asked.

        Raises:
            RequestError: Nobody waits.
        """
        await self._refresh()
        async with self._searching:
            if is_gone is not None and await is_gone():
                raise RequestError(499, "the client went away")
            return await to_thread.run_sync(answer, self.index, limiter=self._search_threads)

    async def read(self, answer: Callable[[Index], Value]) -> Value:
        """Read rows of the index in a thread."""
        return await to_thread.run_sync(answer, self.index, limiter=self._reading)

    async def read_rows(self, answer: Callable[[Reader], Value]) -> Value:
        """Read rows of one state of the index in a thread."""

        def of_one_state(index: Index) -> Value:
            with index.store.snapshot() as reader:
                return answer(reader)

        return await self.read(of_one_state)

    async def decode(self, cut: Callable[[], Value]) -> Value:
        """Decode something in a thread that waits for one of the processes."""
        return await to_thread.run_sync(cut, limiter=self._decoding)

    async def outline(self, make: Callable[[], Value]) -> Value:
        """Decode a whole recording in a thread; one at a time, beside those of `decode`."""
        return await to_thread.run_sync(make, limiter=self._outlining)

    async def warm_up(self) -> None:
        """Load what the first requests need."""

        def load(index: Index) -> None:
            index.encoder.embed_text(["sound"])
            _ = index.vectors, index.calibration

        for start in (partial(self.search, load), partial(self.decode, self.decoders.warm_up)):
            try:
                await start()
            except SoundsearchError:
                pass  # the first request says what is wrong
            except Exception:
                log.exception("what the first request needs cannot be loaded")

    def stop(self) -> None:
        """End what would go on for long, before responses are waited for; any thread may call it."""
        self.run.stop_streams()
        self.decoders.close()

    def close(self) -> None:
        """Stop the run and the decoders, close the index, and delete temporary files."""
        self.decoders.close()
        self.run.close()
        self.index.close()
        self._folder.cleanup()

    async def _refresh(self) -> None:
        if self._refreshing is None:
            if time.monotonic() < self._rests_until:
                return
            self._refreshing = asyncio.create_task(self._load_anew())
        await asyncio.wait([self._refreshing], timeout=PATIENCE_S)

    async def _load_anew(self) -> None:
        began = time.monotonic()
        try:
            if await self.read(Index.refresh):
                self._rests_until = time.monotonic() + REST * (time.monotonic() - began)
        except SoundsearchError as error:
            log.warning("%s; what was loaded before is searched", error)
        finally:
            self._refreshing = None


class NoteKeeper(logging.Handler):
    """Keeps warnings of the library for the answer to the request that caused them.

    Those that no request caused go to the log.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        notes = _notes.get()
        if notes is None:
            logging.getLogger().handle(record)
        else:
            notes.append(record.getMessage())


def kept_notes() -> list[str]:
    """Return a list to which warnings are added that come up while this request is answered."""
    notes: list[str] = []
    _notes.set(notes)
    return notes
