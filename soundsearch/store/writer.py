"""The one writer of an index: it holds the lock, and gives a transaction at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from soundsearch.errors import StoreError
from soundsearch.progress import SILENT, Progress
from soundsearch.store.backend import Backend, GraphFacts, InPlace, WindowGraph
from soundsearch.store.reader import Reader
from soundsearch.store.statements import chunks
from soundsearch.store.transaction import Transaction

#: Recordings whose words are made again in one transaction.
WORDS_AT_ONCE = 2000
#: Less room than this, or than a quarter of the file, is left for what is indexed next.
LEAST_ROOM_BYTES = 1 << 20
#: Embeddings made float16 in one transaction.
CONVERTED_AT_ONCE = 20_000


class Writer(InPlace):
    """The one writer of an index: it holds the writer's lock for as long as it exists.

    Made by `Store.writer`. Use it as a context manager: the lock is released at the end of the
    block, after which it writes nothing more.
    """

    def __init__(self, database: Backend) -> None:
        """Take the lock. Raises IndexBusyError at once if another process has it."""
        self.place, self.name = database.place, database.name
        self._database = database
        self._held = contextlib.ExitStack()
        self._held.enter_context(database.lock())
        self._is_open = True

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """One consistent state to read, which nobody else changes."""
        with self._database.transaction() as connection:
            yield Reader(self._database, connection)

    @contextlib.contextmanager
    def transaction(self, *, new_revision: bool = True) -> Iterator[Transaction]:
        """All or nothing: commits at the end, rolls back on any error, and gives a new revision.

        Args:
            new_revision: False for what no search depends on, so that the vectors stay as they are.

        Raises:
            StoreError: the database cannot be written.
        """
        if not self._is_open:
            raise RuntimeError(f"{self.name}: the writer's lock was released before this write")
        with self._database.transaction(writes=True) as connection:
            changes = Transaction(self._database, connection)
            yield changes
            if new_revision:
                changes.add_revision()

    def build_graph(self, progress: Progress) -> None:
        """Let the database make its graph of all windows, unless there is one."""
        with self.snapshot() as reader:
            dim, n_windows = reader.encoder().dim, reader.n_stored_windows()
        progress.begin("windows put into the database's graph")
        with self._database.transaction(writes=True) as connection:
            self._graph.build(connection, dim, n_windows)

    def put_graph_facts(self, facts: GraphFacts) -> None:
        """Store how the database's graph is searched from here on."""
        with self._database.transaction(writes=True) as connection:
            self._graph.put_facts(connection, facts)

    def drop_graph(self) -> None:
        """Delete the database's graph, if there is one."""
        with self._database.transaction(writes=True) as connection:
            self._graph.drop(connection)

    @property
    def _graph(self) -> WindowGraph:
        assert self._database.graph is not None
        return self._database.graph

    def renew_words(self, progress: Progress = SILENT) -> None:
        """Make the words again that are stale: of new paths and captions, or of an earlier version.

        Not all in one transaction: what is done before the process is killed stays done, and the
        next call goes on.
        """
        with self.snapshot() as reader:
            stale = reader.stale_words()
        if not stale:
            return
        progress.begin("recordings that get their words", len(stale))
        for some in chunks(stale, WORDS_AT_ONCE):
            with self.transaction(new_revision=False) as changes:
                changes.put_words(some)
            progress.advance(len(some))

    def convert_embeddings(self, progress: Progress = SILENT) -> None:
        """Make float16 of the embeddings that an earlier version wrote, and give back the room.

        A part at a time, from the youngest on: what is done before the process is killed stays
        done, and the next call goes on. Nothing that is read changes by it.
        """
        with self.snapshot() as reader:
            if reader.float16_from() == 0:
                return
            n_windows = reader.n_stored_windows(before=reader.float16_from())
        progress.begin("embeddings made half as large", n_windows)
        n_done = 1
        while n_done:
            with self.transaction(new_revision=False) as changes:
                n_done = changes.convert_embeddings(CONVERTED_AT_ONCE)
            progress.advance(n_done)
        if self.compact(progress):
            with self.transaction(new_revision=False) as changes:
                changes.end_conversion()

    def is_roomy(self) -> bool:
        """Whether much of the database's file is room that nothing fills, so that giving it back pays."""
        n_free, n_bytes = self._database.sizes()
        return n_free >= max(LEAST_ROOM_BYTES, n_bytes // 4)

    def compact(self, progress: Progress = SILENT) -> bool:
        """Give back the room in the database's file that nothing fills; returns whether it did.

        Killed on the way, it leaves the file as it was. Where the disk has too little room for a
        second copy, it says so and does nothing.
        """
        progress.begin("giving back disk room")
        try:
            self._database.compact()
        except StoreError as error:
            progress.note(f"note {error}; the index stays as large as it is")
            return False
        return True

    def close(self) -> None:
        """Release the lock."""
        self._is_open = False
        with contextlib.suppress(StoreError):  # the next writer tries it again
            self._database.trim_log()
        self._held.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
