"""One index run: scan -> decode -> window -> features -> embed -> store.

Threads decode and compute features (the C libraries below them release the interpreter's lock),
the calling thread embeds in batches and is the only writer. All queues are bounded, so memory does
not grow with the number or the length of files. A recording is stored whole, in one transaction
with its embeddings: a run that is killed loses at most what was not yet committed.

One file never ends a run: whatever is raised while it is read, embedded or stored makes it a failed
file. What is no fault of a file does end it: a store that cannot be written, an encoder that embeds
nothing, no file descriptor left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from indexer.captions import Caption, apply_captions
from indexer.embedding import embed_files
from indexer.index_options import DEFAULTS, IndexOptions
from indexer.plan import Plan, make_plan
from indexer.report import FileProgress, Report
from indexer.storing import into
from indexer.targets import Target, apply_targets, choose_targets, still_hold
from indexer.workers import read_by_workers
from soundsearch.encoder.towers import Encoder
from soundsearch.progress import SILENT, Progress
from soundsearch.store import Store, Writer
from soundsearch.store.pinned import finish_switch
from soundsearch.store.statements import chunks
from soundsearch.vectors.cache import refresh

#: Recordings that are marked or deleted in one transaction, so that the log beside the database stays small.
CHANGED_AT_ONCE = 1000


def run(
    store: Store,
    encoder: Encoder,
    paths: Sequence[Path],
    options: IndexOptions = DEFAULTS,
    *,
    targets: Sequence[Target] | None = None,
    captions: Sequence[Caption] | None = None,
    progress: Progress = SILENT,
) -> tuple[Plan, Report]:
    """Bring the index up to date with these folders and files.

    Ctrl-C ends the run early, with all finished recordings stored.

    targets: what `choose_targets` gave for the paths, if that is known; else they are chosen here.
    captions: what takes the place of all captions in these folders and files; None keeps them.
    progress: is informed while the run goes on, from any thread.
    Raises IndexBusyError where another process writes the index; StoreError where the database
    cannot be written, or a path cannot be indexed; BundleError where the encoder embeds nothing;
    SoundsearchError where too few files may be open.
    """
    started = time.monotonic()
    report, plan = Report(), Plan({}, {})
    with store.writer() as writer:
        try:
            finish_switch(store, writer)
            with writer.snapshot() as reader:
                roots = reader.roots()
            if targets is None or not still_hold(targets, roots):
                targets = choose_targets(roots, paths)
            targets = apply_targets(writer, targets)
            plan = make_plan(store, targets, options, progress=progress)
            report.absent, report.unreadable = plan.absent, plan.unreadable
            report.left_behind, report.skipped = plan.left_behind, plan.all_skipped
            _apply_moves(writer, plan, report, options.prune)
            _store_skipped(writer, plan)
            writer.convert_embeddings(progress)
            writer.renew_words(progress)
            if options.workers is None:
                read_files(writer, encoder, plan, options.jobs, report, progress)
            else:
                read_by_workers(writer, encoder.bundle, plan, options, report, progress)
            if captions is not None:
                apply_captions(writer, targets, captions, report)
                writer.renew_words(progress)
        except KeyboardInterrupt:
            report.interrupted = True
        try:
            progress.begin("writing the vectors")
            refresh(writer, progress)
        except KeyboardInterrupt:  # the next run or search sees to it
            report.interrupted = True
    report.elapsed_s = time.monotonic() - started
    return plan, report


def read_files(
    writer: Writer,
    encoder: Encoder,
    plan: Plan,
    jobs: int | None,
    report: Report,
    progress: Progress,
) -> None:
    """Read, embed and store the files of a plan, and count them in a report; raises as `run`."""
    files = plan.to_read
    reported = FileProgress(progress)
    if files:
        reported.begin(len(files), sum(todo.file.size_bytes for todo in files))
    pending = (plan.pending(todo) for todo in files)
    n_readers = jobs or os.cpu_count() or 1
    embed_files(pending, len(files), encoder, n_readers, into(writer), report, reported)


def _apply_moves(writer: Writer, plan: Plan, report: Report, prune: bool) -> None:
    """All that needs no decoding: moves at once, for files may change places; the rest in parts."""
    gone = [recording.id for recording in plan.missing]
    if plan.moved or plan.returned:
        with writer.transaction() as changes:
            for recording, file in (*plan.moved, *plan.returned):
                changes.move(recording.id, file)
    for some in chunks(gone, CHANGED_AT_ONCE):
        with writer.transaction() as changes:
            changes.mark_missing(some)
    if prune:
        pruned = gone + [recording.id for recording in plan.missing_before]
        for some in chunks(pruned, CHANGED_AT_ONCE):
            with writer.transaction() as changes:
                changes.delete(some)
        report.n_pruned = len(pruned)
    if plan.gone_roots:
        with writer.transaction() as changes:
            dropped = changes.drop_empty_roots(plan.gone_roots)
        report.dropped_roots = [root.path for root in dropped]
    report.n_moved = len(plan.moved) + len(plan.returned)
    report.n_removed = len(gone)
    report.n_unchanged = plan.n_unchanged
    report.n_failed_before = len(plan.failed_before)


def _store_skipped(writer: Writer, plan: Plan) -> None:
    """What was skipped in roots that were looked through from top to bottom."""
    with writer.snapshot() as reader:
        standing = plan.whole & {root.id for root in reader.roots()}
        differ = [i for i in standing if reader.skipped(i) != plan.skipped[i]]
    if differ:
        with writer.transaction(new_revision=False) as changes:
            for root_id in differ:
                changes.put_skipped(root_id, plan.skipped[root_id])
