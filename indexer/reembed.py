"""Another encoder for an index that exists, made ready behind the one that answers.

In: an index, and a bundle. Out: the same index, whose recordings have embeddings of that encoder.

A second index in the folder of the first is filled by the pipeline of an index run, with the known
recordings alone. All that is known of them beside the embeddings stays in the first index. Once
nothing is lacking, one transaction takes over windows and embeddings (docs/adr/0018). So a killed
run leaves an index that answers with the old encoder or with the new one, and never with both.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from indexer.index_options import DEFAULTS, IndexOptions
from indexer.pipeline import read_files
from indexer.plan import Plan
from indexer.report import Report
from soundsearch.audio.peaks import PER_SECOND
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.registry import find_bundle
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import QueryError, StoreError
from soundsearch.files import absence, facts_of
from soundsearch.progress import SILENT, Progress
from soundsearch.roots import way_out
from soundsearch.store import (
    Failed,
    FileFacts,
    PinnedEncoder,
    Recording,
    State,
    Store,
    Writer,
)
from soundsearch.store.backend import Place
from soundsearch.store.pinned import (
    create_index,
    drop_next,
    finish_switch,
    next_index,
    next_place,
    pinned_bundle,
)
from soundsearch.store.statements import chunks
from soundsearch.urls import is_url
from soundsearch.vectors.cache import refresh

#: Room for the rows and words of a recording beside its windows.
RECORDING_BYTES = 4096
#: Recordings taken over in one go.
PUT_AT_ONCE = 100
#: Room for the outline of its waveform, a second of sound; RECORDING_BYTES hold that of a short one.
PEAK_BYTES = 2 * PER_SECOND
#: What an index says of a recording that was left out.
LEFT_OUT = "its file was not there when the index got another encoder; the next index run that finds it embeds it"


@dataclass
class ReembedReport:
    """What a reembedding did.

    Attributes:
        encoder: The new encoder.
        switched: Whether the index answers with it now.
        interrupted: Whether Ctrl-C ended the run.
        n_embedded: Files that were embedded by this run.
        n_ready: Recordings whose embeddings by the new encoder are there, with those of runs before.
        n_left_out: Recordings that the switch left without embeddings, on demand or because they
            had vanished before.
        n_windows: Windows that this run embedded.
        audio_s: Sound that it embedded, in seconds.
        elapsed_s: Duration of the run in seconds.
        failures: Files that could not be used, each with the reason.
        absent: Roots with recordings that are in the way of a switch, each with the reason and the
            way out.
    """

    encoder: PinnedEncoder
    switched: bool = False
    interrupted: bool = False
    n_embedded: int = 0
    n_ready: int = 0
    n_left_out: int = 0
    n_windows: int = 0
    audio_s: float = 0.0
    elapsed_s: float = 0.0
    failures: list[tuple[Path, str]] = field(default_factory=list)
    absent: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Ready:
    """A recording, its file, and the row of the second index that it is to be like.

    is_missing: it was known to have vanished, and its file is not back.
    """

    recording: Recording
    file: FileFacts
    source: Recording
    is_missing: bool


@dataclass
class _Comparison:
    """The recordings of an index that have not failed, by what the second index has of them.

    unread: their files are there, and are yet to be embedded; with the file and the row of the
    second index. away: their files are not there.
    """

    ready: list[_Ready] = field(default_factory=list)
    unread: list[tuple[Recording, FileFacts, Recording | None]] = field(default_factory=list)
    away: list[Recording] = field(default_factory=list)

    @property
    def lacking(self) -> list[Recording]:
        """Those without embeddings by the new encoder."""
        return [*(recording for recording, _, _ in self.unread), *self.away]


def reembed(
    place: Place,
    model: str | None = None,
    options: IndexOptions = DEFAULTS,
    *,
    without_absent: bool = False,
    progress: Progress = SILENT,
) -> ReembedReport:
    """Embed the recordings of an index with another encoder, and switch the index to it.

    The index answers with its old encoder until all is there. A run that was stopped, or killed,
    goes on where it was. Of the options only device and jobs have a meaning here. Arguments and
    errors are those of `soundsearch.reembed`.
    """
    started = time.monotonic()
    with contextlib.closing(Store.open(place)) as store, store.writer() as writer:
        bundle = find_bundle(model) if model else None
        pinned = store.encoder()
        is_pinned = bundle is None or bundle.fingerprint == pinned.fingerprint
        if finish_switch(store, writer) and is_pinned:  # of a killed run
            refresh(writer, progress)
            return ReembedReport(pinned, switched=True)
        prepared = _prepare(store, bundle, pinned, progress)
        with contextlib.closing(prepared):
            run = _Reembedding(store, writer, prepared, progress)
            try:
                refresh(writer, progress)  # nobody else can write it while this goes on
                run.embed(options)
                run.switch(without_absent)
                if run.report.switched:
                    finish_switch(store, writer)
                    progress.begin("writing the vectors")
                    refresh(writer, progress)
            except KeyboardInterrupt:
                run.report.interrupted = True
    run.report.elapsed_s = time.monotonic() - started
    return run.report


def cancel(place: Place) -> bool:
    """Drop a reembedding that was begun; returns whether there was one.

    Raises:
        StoreError: there is no index; IndexBusyError if another process writes it.
    """
    with contextlib.closing(Store.open(place)) as store, store.writer() as writer:
        return not finish_switch(store, writer) and drop_next(writer)


def _prepare(
    store: Store, bundle: EncoderBundle | None, pinned: PinnedEncoder, progress: Progress
) -> Store:
    """The second index, opened, or made if there is room for it."""
    begun = next_index(store)
    if bundle is not None and bundle.fingerprint == pinned.fingerprint:
        raise StoreError(
            f"{store.name}: this index has {pinned} already; give another encoder "
            "(they are listed by: soundsearch models list)"
        )
    if begun is None:
        if bundle is None:
            raise QueryError("no reembedding was begun; name the new encoder with --model")
        _check_room(store, 0, bundle, progress)
        return create_index(next_place(store.place), bundle)
    under_way = begun.encoder()
    if bundle is not None and bundle.fingerprint != under_way.fingerprint:
        raise StoreError(
            f"{store.name}: a reembedding with {under_way} was begun, you asked for "
            f"{PinnedEncoder.of(bundle)}; go on without --model, or drop what it has done with: "
            "soundsearch reembed --cancel"
        )
    with begun.snapshot() as reader:
        n_there = reader.n_windows()
    _check_room(store, n_there, pinned_bundle(begun), progress)
    return begun


def _check_room(store: Store, n_there: int, bundle: EncoderBundle, progress: Progress) -> None:
    """Say how much room is needed, and refuse to begin where the disk has less.

    It is that of the second index, of the log of the switch, of what the index grows by, and of
    the vectors beside it.
    """
    with store.snapshot() as reader:
        counts, n_old, dim = reader.root_counts(), reader.n_windows(), reader.encoder().dim
        duration_s = reader.duration_s()
    n_recordings = sum(n for (_, state), n in counts.items() if state is State.INDEXED)
    n_windows = n_recordings + round(duration_s / bundle.audio.hop_s)  # or a few less
    rows, old, there = (
        store.bytes_of_windows(n, dim)
        for n, dim in ((n_windows, bundle.dim), (n_old, dim), (n_there, bundle.dim))
    )
    facts = n_recordings * RECORDING_BYTES + round(duration_s * PEAK_BYTES)
    needed = max(0, rows + facts - there) + rows + facts + max(0, rows - old)
    needed += 4 * bundle.dim * n_windows
    if not n_there:
        needed += sum(os.path.getsize(bundle.folder / name) for name in bundle.files)
    if not isinstance(store.place, Path):
        progress.note(f"room needed on the server: about {_megabytes(needed)}")
        return
    free = shutil.disk_usage(store.place).free
    progress.note(f"disk room needed: about {_megabytes(needed)}, free: {_megabytes(free)}")
    if free < needed:
        raise StoreError(
            f"{store.name}: about {_megabytes(needed)} of disk room are needed to embed all "
            f"again, {_megabytes(free)} are free; make room and run it again"
        )


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"


class _Reembedding:
    """An index, the second one in its folder, and what was done."""

    def __init__(self, store: Store, writer: Writer, prepared: Store, progress: Progress) -> None:
        self._store, self._writer, self._prepared = store, writer, prepared
        self._progress = progress
        self.report = ReembedReport(prepared.encoder())

    def embed(self, options: IndexOptions) -> None:
        """Fill the second index with all that can be read now."""
        encoder = Encoder(pinned_bundle(self._prepared), options.device)
        encoder.embed_text(["sound"])  # an encoder that cannot answer is refused at once
        with self._prepared.writer() as writer:
            with self._writer.snapshot() as reader:
                roots = [root.path for root in reader.roots()]
            with writer.transaction(new_revision=False) as changes:
                own_roots = {changes.add_root(path).id: path for path in roots}
            plan = Plan(roots=own_roots, known_roots={})
            found = self._compare()
            for path, reason in self._in_the_way(found.away, []):
                self._progress.note(f"note {path}: {reason}")
            for _, file, row in found.unread:
                if row is not None and row.state is State.INDEXED:
                    plan.changed.append((row, file))
                else:
                    plan.new.append(file)
            report = Report()
            try:
                read_files(writer, encoder, plan, options.jobs, report, self._progress)
            finally:
                self.report.n_embedded = report.n_new + report.n_changed
                self.report.n_windows, self.report.audio_s = report.n_windows, report.audio_s
                self.report.failures = report.failures

    def switch(self, without_absent: bool) -> None:
        """Let the index have what the second one holds, in one transaction, if that is all."""
        found = self._compare()
        self.report.n_ready = len(found.ready)
        self.report.absent = self._in_the_way(
            found.away, [recording for recording, _, _ in found.unread]
        )
        if self.report.absent and not without_absent:
            return
        self._progress.begin("recordings put in place", len(found.ready))
        with self._prepared.snapshot() as prepared, self._writer.transaction() as changes:
            changes.pin_another(prepared.encoder())
            changes.put_encoder(pinned_bundle(self._prepared))
            for some in chunks(found.ready, PUT_AT_ONCE):
                for ready in some:
                    if ready.source.state is State.FAILED:
                        facts = prepared.facts(ready.source)
                        changes.put_failed(Failed(ready.file, facts.cause or "", facts.error or ""))
                changes.put_from(
                    prepared, ((r.source, r.file) for r in some if _is_indexed(r.source))
                )
                self._progress.advance(len(some))
            changes.mark_missing(r.recording.id for r in found.ready if r.is_missing)
            changes.mark_not_embedded([recording.id for recording in found.lacking], LEFT_OUT)
        self.report.switched = True
        self.report.n_left_out = len(found.lacking)

    def _compare(self) -> _Comparison:
        """What the second index has of the recordings, as their files are now.

        It has a file that it knows at the same place with the same size and date, and the content of
        any file that has not changed since it was indexed.
        """
        with self._writer.snapshot() as reader, self._prepared.snapshot() as prepared:
            roots = {root.id: root.path for root in reader.roots()}
            own_ids = {root.path: root.id for root in prepared.roots()}
            rows = {(row.root_id, row.relative_path): row for row in prepared.recordings()}
            contents = {row.content_hash: row for row in rows.values() if _is_indexed(row)}
            found = _Comparison()
            for recording in reader.recordings():
                if recording.state is State.FAILED:
                    continue
                root, name = roots[recording.root_id], recording.relative_path
                now = recording.facts if is_url(root) else _facts_now(root / name)
                facts = now or recording.facts
                row = rows.get((own_ids[root], name))
                source = (
                    row if row is not None and row.facts == facts and _is_settled(row) else None
                )
                if source is None and facts == recording.facts:
                    source = contents.get(recording.content_hash)
                is_missing = recording.state is State.MISSING and now is None
                if source is not None and (_is_indexed(source) or not is_missing):
                    file = FileFacts(recording.root_id, name, *facts)
                    found.ready.append(_Ready(recording, file, source, is_missing))
                elif now is not None:
                    found.unread.append((recording, FileFacts(own_ids[root], name, *now), row))
                else:
                    found.away.append(recording)
        return found

    def _in_the_way(self, away: list[Recording], unread: list[Recording]) -> list[tuple[Path, str]]:
        """By root, which recordings that answer now would not after a switch, and the way out."""
        with self._writer.snapshot() as reader:
            roots = {root.id: root.path for root in reader.roots()}
        counts = Counter(r.root_id for r in away if _answers(r))
        reasons = []
        for root_id, n in counts.items():
            root = roots[root_id]
            why = absence(root)
            text = (
                f"{why}; recordings of it that are not embedded yet: {n}; {way_out(root)}"
                if why
                else f"recordings that are not in it any more: {n}; run: soundsearch index"
            )
            reasons.append((root, text))
        for root_id, n in Counter(r.root_id for r in unread if _answers(r)).items():
            text = f"recordings of it that could not be read: {n}; see to them and run it again"
            reasons.append((roots[root_id], text))
        return reasons


def _is_indexed(row: Recording) -> bool:
    return row.state is State.INDEXED


def _is_settled(row: Recording) -> bool:
    """Whether a row of the second index says what becomes of its file: embeddings, or a failure."""
    return _is_indexed(row) or (row.cause is not None and not row.cause.is_passing)


def _answers(recording: Recording) -> bool:
    return recording.state is State.INDEXED and recording.is_embedded


def _facts_now(path: Path) -> tuple[int, int] | None:
    """Size and date of a file; None if it is not there."""
    try:
        return facts_of(os.stat(path))
    except OSError:
        return None
