"""Files that were read into the index: many in a transaction, each of them counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from indexer.reading import Decoded, PendingFile
from indexer.report import FileProgress, Report
from soundsearch.errors import SoundsearchError
from soundsearch.interrupts import hold_interrupts
from soundsearch.store import Failed, Writer

#: Stores finished files, all of them or none.
Store = Callable[[Sequence[PendingFile]], None]


def into(writer: Writer) -> Store:
    """What stores finished files in an index, in one transaction."""

    def store(finished: Sequence[PendingFile]) -> None:
        # Of a file that fails and had no windows, no search sees anything.
        is_seen = any(todo.before or isinstance(todo.outcome, Decoded) for todo in finished)
        with writer.transaction(new_revision=is_seen) as changes:
            read = []
            for todo in finished:
                end = todo.outcome
                if isinstance(end, Failed):
                    changes.put_failed(end)
                elif isinstance(end, Decoded) and end.unchanged:
                    assert todo.before is not None
                    changes.move(todo.before.id, todo.file)
                elif isinstance(end, Decoded):
                    read.append(end.indexed(todo))
            changes.put_all(read)

    return store


class Committer:
    """Stores finished files, and counts them in a report."""

    def __init__(self, store: Store, report: Report, progress: FileProgress) -> None:
        self._store, self._report, self._progress = store, report, progress

    @hold_interrupts()
    def commit(self, finished: Sequence[PendingFile]) -> None:
        """One transaction for all finished files, and the count of them."""
        if not finished:
            return
        started = time.perf_counter()
        try:
            self._store(finished)
        except SoundsearchError:
            raise
        except Exception:  # what one of them holds cannot be stored
            for todo in finished:
                self._store_alone(todo)
        self._report.stage_s["store"] += time.perf_counter() - started
        for todo in finished:
            self._count(todo)

    def _store_alone(self, todo: PendingFile) -> None:
        try:
            self._store([todo])
        except SoundsearchError:
            raise
        except Exception as error:
            todo.fail(error)
            self._store([todo])

    def _count(self, todo: PendingFile) -> None:
        problem = note = None
        end, report = todo.outcome, self._report
        if isinstance(end, Failed):
            problem = end.error
            report.n_failed += 1
            report.causes[end.cause] += 1
            report.failures.append((todo.path, problem))
        elif isinstance(end, Decoded):
            problem = end.damage
            note = end.note
            report.n_windows += len(todo.spans)
            report.audio_s += end.duration_s
            if end.unchanged:
                report.n_unchanged += 1
            elif todo.before is None:
                report.n_new += 1
            elif todo.before.content_hash == end.content_hash:
                report.n_read_again += 1
            else:
                report.n_changed += 1
        self._progress.file_done(todo.path, problem, partly=isinstance(end, Decoded), note=note)
