"""What an index run has to do: folders against the database.

In: the targets of a run, and the roots and recordings the database knows. Out: a `Plan`: which
files are new, changed, moved, back again, unchanged or missing, and which are read again all the
same. Nothing is written.
"""

from __future__ import annotations

import itertools
import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexer.index_options import DEFAULTS, IndexOptions
from indexer.known_recordings import Library
from indexer.objects import walk_url
from indexer.reading import PendingFile
from indexer.scan import Scan, walk
from indexer.targets import Target
from soundsearch.descriptors import stop_if_ran_out
from soundsearch.files import NOT_THERE, absence, hash_of
from soundsearch.progress import SILENT, Progress
from soundsearch.roots import CHECK_ADDRESS, UNREADABLE, way_out
from soundsearch.store import FileFacts, Recording, Root, State, Store
from soundsearch.urls import is_url, path_of, url_of

#: Files compared with the database in one go.
COMPARED_AT_ONCE = 2000
#: A place that was lost, what lay in it, why, and the way out.
_Lost = tuple[Path, Sequence[Recording], str, str]


@dataclass(frozen=True)
class ToRead:
    """A file to read. before: what is known of it. again: whatever its content hash says."""

    file: FileFacts
    before: Recording | None = None
    again: bool = False

    @property
    def known_hash(self) -> bytes | None:
        """Of its content as it was before, where that is known."""
        return None if self.before is None else self.before.content_hash


@dataclass
class Plan:
    """What an index run will do, file by file.

    new: also those that failed and are tried again. again: unchanged, moved or back, and to be
    read all the same. failed_before: failed, unchanged and not tried again.
    missing: vanished since the last run; missing_before: known to be gone already.
    unreadable: folders that could not be listed. absent: targets that were skipped, and why.
    left_behind: roots that are gone and of which only a part was found elsewhere, and the way out.
    gone_roots: roots that are dropped once nothing that was embedded is left of them.
    skipped: files skipped, by ending, per root that was looked through (see `Scan`); the roots of
    which all was looked through are whole.
    """

    roots: dict[int, Path]
    known_roots: dict[int, Path]
    options: IndexOptions = DEFAULTS
    new: list[FileFacts] = field(default_factory=list)
    changed: list[tuple[Recording, FileFacts]] = field(default_factory=list)
    moved: list[tuple[Recording, FileFacts]] = field(default_factory=list)
    returned: list[tuple[Recording, FileFacts]] = field(default_factory=list)
    again: list[tuple[Recording, FileFacts]] = field(default_factory=list)
    failed_before: list[Recording] = field(default_factory=list)
    missing: list[Recording] = field(default_factory=list)
    missing_before: list[Recording] = field(default_factory=list)
    n_unchanged: int = 0
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    absent: list[tuple[Path, str]] = field(default_factory=list)
    left_behind: list[tuple[Path, str]] = field(default_factory=list)
    gone_roots: list[Root] = field(default_factory=list)
    skipped: dict[int, Counter[str]] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)

    @property
    def to_read(self) -> list[ToRead]:
        """Files to read, in the order of their paths."""
        files = [ToRead(file) for file in self.new]
        files += [ToRead(file, before, self.must_read(before)) for before, file in self.changed]
        files += [ToRead(file, before, again=True) for before, file in self.again]
        return sorted(files, key=lambda x: (x.file.root_id, x.file.relative_path))

    @property
    def all_skipped(self) -> Counter[str]:
        """Files skipped in all that was looked through, by ending."""
        return sum(self.skipped.values(), Counter())

    def must_read(self, known: Recording) -> bool:
        """Whether a recording is read again whatever its facts and its content hash say."""
        return self.options.force or (self.options.retry and known.cause is not None)

    def may_skip(self, failed: Recording) -> bool:
        """Whether an unchanged file that failed would fail again, and nobody asks for it."""
        is_passing = failed.cause is None or failed.cause.is_passing
        return not (self.options.retry or self.options.force or is_passing)

    def path_of(self, file: FileFacts) -> Path:
        """Where a file of this plan is."""
        return path_of(self.roots[file.root_id], file.relative_path)

    def url_of(self, file: FileFacts) -> str | None:
        """Its URL, if it is no file here."""
        root = self.roots[file.root_id]
        return url_of(root, file.relative_path) if is_url(root) else None

    def pending(self, todo: ToRead) -> PendingFile:
        """A file as the readers take it."""
        return PendingFile(
            todo.file,
            self.path_of(todo.file),
            todo.before,
            todo.again,
            url=self.url_of(todo.file),
            known_hash=todo.known_hash,
        )

    def known_path(self, recording: Recording) -> Path:
        """Where a recording of the database was."""
        return path_of(self.known_roots[recording.root_id], recording.relative_path)


def make_plan(
    store: Store | None,
    targets: Sequence[Target],
    options: IndexOptions = DEFAULTS,
    *,
    progress: Progress = SILENT,
) -> Plan:
    """Compare the targets with the database.

    An unchanged file that failed is tried again by itself where its cause may have passed, such as a
    permission that was lacking.
    A target that is not there, or that has lost every file at once, removes nothing, nor does a folder
    that has nothing in it any more (an unmounted disk leaves one behind): these are listed under
    `absent`. What was in such a folder, or anywhere else where it is not now, and is found in a
    target was moved, whatever root it was in.

    Args:
        store: the index; None where there is none yet, so that all is new.
        targets: what to look through.
        options: what is skipped, and what is read again.
        progress: is informed of files found and compared.
    """
    with Library.opened(store) as library:
        plan = Plan(
            roots={target.root.id: target.root.path for target in targets},
            known_roots={root.id: root.path for root in library.roots},
            options=options,
        )
        progress.begin("sound files found")
        lost: list[_Lost] = []
        doubted: dict[Path, list[Recording]] = defaultdict(list)
        for target in targets:
            _look_through(target, plan, library, lost, doubted, progress)
        looked_for = (plan.missing, plan.missing_before, *doubted.values())
        gone = {recording.id for recording in itertools.chain(*looked_for)}
        moved = _find_moves(plan, library, gone, progress)
        plan.again += [
            (before, file)
            for before, file in (*plan.moved, *plan.returned)
            if options.force or not before.is_embedded
        ]
        lost += [
            (folder, in_it, "nothing in it any more", "if they are gone, remove the folder")
            for folder, in_it in doubted.items()
        ]
        _report_what_is_left(plan, library, lost, moved)
    return plan


def _look_through(
    target: Target,
    plan: Plan,
    library: Library,
    lost: list[_Lost],
    doubted: dict[Path, list[Recording]],
    progress: Progress,
) -> None:
    """Put what lies in a target, and what lay there, where it belongs in a plan.

    lost: a target that is not there, or has nothing in it. doubted: recordings by the folder that
    is empty now.
    """
    is_there = is_url(target.path) or os.path.lexists(target.path)
    if not is_there and not _was_removed(target, library):
        lost.append((target.path, [*library.in_target(target)], NOT_THERE, _way_out_of(target)))
        return
    found = Scan()
    seen = array("q")
    n_files = 0
    if is_there:
        inside = (target.root.path, target.inside)
        look = walk_url if is_url(target.path) else walk
        files = look(*inside, plan.options.exclude, found, progress)
        while some := dict(itertools.islice(files, COMPARED_AT_ONCE)):
            n_files += len(some)
            known = library.at(target, [*some])
            seen.extend(recording.id for recording in known.values())
            for relative_path, facts in some.items():
                file = FileFacts(target.root.id, relative_path, *facts)
                _sort_in(plan, file, known.get(relative_path))
    if not found.can_tell(""):
        why = f"{found.unreadable[0][1]}; {_count_in_words(library.in_target(target))}"
        way = CHECK_ADDRESS if is_url(target.path) else UNREADABLE
        plan.absent.append((target.path, f"{why}; {way}"))
        return
    if is_there and not n_files and target.inside == ".":
        in_it = [*library.in_target(target)]
        if any(recording.state is State.INDEXED for recording in in_it):
            lost.append((target.path, in_it, "no audio in it any more", _way_out_of(target)))
            return
    plan.unreadable += [(target.root.path / folder, why) for folder, why in found.unreadable]
    plan.skipped[target.root.id] = plan.skipped.get(target.root.id, Counter()) + found.skipped
    if target.inside == ".":
        plan.whole.add(target.root.id)
    for relative_path, before in library.not_seen(target, np.sort(np.array(seen, np.int64))):
        if not found.can_tell(relative_path):
            continue
        emptied = found.emptied(relative_path)
        if emptied is not None and before.state is State.INDEXED:
            doubted[target.root.path / emptied].append(before)
        elif before.state is State.MISSING:
            plan.missing_before.append(before)
        else:
            plan.missing.append(before)


def _sort_in(plan: Plan, file: FileFacts, before: Recording | None) -> None:
    """Put a file that was found where it belongs in a plan."""
    is_same = before is not None and before.facts == (file.size_bytes, file.mtime_ns)
    if before is None:
        plan.new.append(file)
    elif before.state is State.FAILED:
        if is_same and plan.may_skip(before):
            plan.failed_before.append(before)
        else:
            plan.new.append(file)
    elif not before.is_embedded:
        plan.again.append((before, file))
    elif not is_same:
        plan.changed.append((before, file))
    elif before.state is State.MISSING:
        plan.returned.append((before, file))
    elif plan.must_read(before):
        plan.again.append((before, file))
    elif before.cause is not None and before.cause.is_passing:
        plan.changed.append((before, file))  # perhaps it has passed
    else:
        plan.n_unchanged += 1


def _was_removed(target: Target, library: Library) -> bool:
    """Whether a target that is not there was removed: what it lay in is there, with other things."""
    known = library.in_target(target)
    if target.inside == ".":  # of roots, only a file that was named itself
        return any(r.is_root for r in known) and absence(target.path.parent) is None
    return next(known, None) is not None and os.path.exists(target.root.path)


def _way_out_of(target: Target) -> str:
    is_root = target.inside == "." or absence(target.root.path) is not None
    return way_out(target.root.path) if is_root else "give one that exists"


def _report_what_is_left(
    plan: Plan,
    library: Library,
    lost: Iterable[_Lost],
    moved: set[int],
) -> None:
    """Say what of the lost places is not found elsewhere, and which roots have nothing left."""
    places, reported = set(), set()
    for place, recordings, why, way in lost:
        places.add(place)
        remaining = [r for r in recordings if r.id not in moved]
        has_moved = len(remaining) < len(recordings)
        if _embedded(remaining) or not (has_moved or library.is_bare(place)):
            plan.absent.append((place, f"{why}; {_count_in_words(remaining)}; {way}"))
            reported.add(place)
    moved_from = {source.root_id for source, _ in plan.moved}
    removed_files = {r.root_id for r in (*plan.missing, *plan.missing_before) if r.is_root}
    for root in library.roots:
        is_bare = root.path in places and library.is_bare(root.path)
        if not (root.id in moved_from | removed_files or is_bare):
            continue
        if not library.has_left(root.path):
            continue
        plan.gone_roots.append(root)
        remaining = [r for r in library.in_root(root) if r.id not in moved]
        if root.id in moved_from and _embedded(remaining) and root.path not in reported:
            why = absence(root.path) or f"now a link to {os.path.realpath(root.path)}"
            plan.left_behind.append(
                (root.path, f"{why}; {_count_in_words(remaining)}; {way_out(root.path)}")
            )


def _embedded(recordings: Iterable[Recording]) -> int:
    """How many of these have embeddings."""
    return sum(recording.state is not State.FAILED for recording in recordings)


def _count_in_words(recordings: Iterable[Recording]) -> str:
    """How many recordings of a lost place the index keeps, for a message."""
    return f"recordings of it that are kept: {_embedded(recordings)}"


def _find_moves(plan: Plan, library: Library, gone: set[int], progress: Progress) -> set[int]:
    """New files with the size and content of one that is gone are that one, moved; ids of these.

    gone: ids of recordings that are not where they were; of all others the file system is asked.
    One at the same place in another root is taken before any other.
    """
    sizes = {file.size_bytes for file in plan.new}
    sources: dict[tuple[int, bytes], dict[int, Recording]] = defaultdict(dict)
    for root, recording in library.of_sizes(sizes):
        if recording.id in gone or library.is_elsewhere(root.path, recording):
            assert recording.content_hash is not None
            content = (recording.size_bytes, recording.content_hash)
            sources[content][recording.id] = recording
    contents = _contents(plan, {size for size, _ in sources}, progress)
    at_place = {
        (content, recording.relative_path): recording.id
        for content, found in sources.items()
        for recording in found.values()
    }
    taken: dict[FileFacts, Recording] = {}
    for file, content in contents.items():
        source = sources[content].pop(at_place.get((content, file.relative_path), -1), None)
        if source is not None:
            taken[file] = source
    for found in sources.values():
        for recording_id in reversed(list(found)):  # so that `popitem` gives the first one
            found[recording_id] = found.pop(recording_id)
    for file, content in contents.items():
        if file not in taken and sources[content]:
            taken[file] = sources[content].popitem()[1]
    plan.moved = [(taken[file], file) for file in plan.new if file in taken]
    plan.new = [file for file in plan.new if file not in taken]
    moved = {source.id for source in taken.values()}
    plan.missing = [r for r in plan.missing if r.id not in moved]
    plan.missing_before = [r for r in plan.missing_before if r.id not in moved]
    return moved


def _contents(
    plan: Plan, sizes: set[int], progress: Progress
) -> dict[FileFacts, tuple[int, bytes]]:
    """Size and content hash of the new files that have one of these sizes and can be read.

    Objects in a storage are not fetched for it.
    """
    found = {}
    alike = [f for f in plan.new if f.size_bytes in sizes and plan.url_of(f) is None]
    if alike:
        progress.begin("new files compared with those that are gone", len(alike))
    for file in alike:
        try:
            found[file] = (file.size_bytes, hash_of(plan.path_of(file)))
        except OSError as error:
            stop_if_ran_out(error)  # of any other, reading it will say why
        progress.advance()
    return found
