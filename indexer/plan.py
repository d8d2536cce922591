"""What an index run has to do: folders against the database.

In: the paths a person named, the roots and recordings the database knows. Out: a `Plan`: which
files are new, changed, moved, back again, unchanged or missing. Only `settle` writes.
"""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from indexer.scan import Scan, hash_of, scan
from soundsearch.errors import StoreError
from soundsearch.store import FileFacts, Recording, Root, State, Store


@dataclass(frozen=True)
class Target:
    """A part of a root to look through: all of it, a folder in it, or one file.

    inside: relative to the root; "." is all of it.
    """

    root: Root
    inside: str = "."

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.root.path / self.inside

    def covers(self, relative_path: str) -> bool:
        """Whether a recording of this root lies in it."""
        return self.inside in (".", relative_path) or relative_path.startswith(self.inside + os.sep)


@dataclass
class Plan:
    """What an index run will do, file by file.

    missing: vanished since the last run; missing_before: known to be gone already.
    unreadable: folders that could not be listed. absent: targets left alone, and why.
    """

    roots: dict[int, Path]
    known_roots: dict[int, Path]
    new: list[FileFacts] = field(default_factory=list)
    changed: list[tuple[Recording, FileFacts]] = field(default_factory=list)
    moved: list[tuple[Recording, FileFacts]] = field(default_factory=list)
    returned: list[tuple[Recording, FileFacts]] = field(default_factory=list)
    missing: list[Recording] = field(default_factory=list)
    missing_before: list[Recording] = field(default_factory=list)
    n_unchanged: int = 0
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    absent: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def to_read(self) -> list[tuple[FileFacts, Recording | None]]:
        """Files to read, in the order of their paths, with what was known of those that changed."""
        files: list[tuple[FileFacts, Recording | None]] = [(file, None) for file in self.new]
        files += [(file, before) for before, file in self.changed]
        return sorted(files, key=lambda x: (x[0].root_id, x[0].relative_path))

    def path_of(self, file: FileFacts) -> Path:
        """Where a file of this plan is."""
        return self.roots[file.root_id] / file.relative_path

    def known_path(self, recording: Recording) -> Path:
        """Where a recording of the database was."""
        return self.known_roots[recording.root_id] / recording.relative_path


def choose_targets(roots: Sequence[Root], paths: Sequence[Path]) -> list[Target]:
    """The parts of roots that these paths mean; nothing is looked through twice.

    A path inside a known root is a part of it. Any other folder is a new root (its id below zero
    until `settle` has stored it), which absorbs known roots inside it; a file stands in the root
    of its folder. Raises StoreError for a path that is not there and was never indexed.
    """
    standing = list(roots)
    places = []
    for path in paths:
        place = _place_of(path)
        places.append(place)
        if any(place.is_relative_to(root.path) for root in standing):
            continue
        _check_there(path, place)
        root = Root(-1 - len(places), place if place.is_dir() else place.parent)
        standing = [old for old in standing if not old.path.is_relative_to(root.path)] + [root]
    chosen: list[Target] = []
    for place in places:
        root = next(root for root in standing if place.is_relative_to(root.path))
        target = Target(root, str(place.relative_to(root.path)))
        if not any(other.root == root and other.covers(target.inside) for other in chosen):
            chosen = [o for o in chosen if not (o.root == root and target.covers(o.inside))]
            chosen.append(target)
    return chosen


def _place_of(path: Path) -> Path:
    """Where a path that somebody typed leads, absolute and without links."""
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError) as error:  # links in a circle, a home that nobody has
        raise StoreError(f"{path}: leads nowhere ({error}); give one that exists") from error


def _check_there(path: Path, place: Path) -> None:
    try:
        place.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"{path}: no such file or folder; give one that exists") from error
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be opened ({error.strerror}); give one that you may read"
        ) from error


def settle(store: Store, targets: Sequence[Target]) -> list[Target]:
    """Store new roots, let them absorb those inside them. The caller holds the writer's lock."""
    settled = []
    for target in targets:
        root = target.root
        if root.id < 0:
            with store.transaction() as connection:
                root = store.add_root(connection, root.path)
                for old in store.roots(connection):
                    if old != root and old.path.is_relative_to(root.path):
                        store.rehome(connection, old, root)
        settled.append(Target(root, target.inside))
    return settled


def make_plan(store: Store | None, targets: Sequence[Target], exclude: Sequence[str] = ()) -> Plan:
    """Compare the targets with the database.

    A target that is not there, or that has lost every file at once, removes nothing, nor does a folder
    that has nothing in it any more (an unmounted disk leaves one behind): these are listed under
    `absent`. What was in such a folder and is found elsewhere was moved.
    """
    recordings = _all_recordings(store)
    plan = Plan(
        roots={target.root.id: target.root.path for target in targets},
        known_roots={recording.root_id: root for root, recording in recordings},
    )
    doubted: dict[Path, list[Recording]] = defaultdict(list)
    for target in targets:
        known = _known_in(target, recordings)
        alive = [r for r in known.values() if r.state is State.INDEXED]
        kept = _kept(len(alive))
        is_there = os.path.lexists(target.path)
        if not is_there and (
            target.inside == "." or not known or not os.path.exists(target.root.path)
        ):
            plan.absent.append((target.path, f"not there; {kept}"))
            continue
        found = scan(target.root.path, target.inside, exclude) if is_there else Scan()
        if not found.can_tell(""):
            plan.absent.append((target.path, f"{found.unreadable[0][1]}; {kept}"))
            continue
        if not found.files and alive and target.inside == ".":
            plan.absent.append((target.path, f"no audio in it any more; {kept}"))
            continue
        plan.unreadable += [(target.root.path / folder, why) for folder, why in found.unreadable]
        for relative_path, (size, mtime_ns) in found.files.items():
            file = FileFacts(target.root.id, relative_path, size, mtime_ns)
            before = known.get(relative_path)
            if before is None:
                plan.new.append(file)
            elif before.state is State.FAILED:
                plan.new.append(file)  # tried again: permissions, disks and decoders get better
            elif (before.size_bytes, before.mtime_ns) != (size, mtime_ns):
                plan.changed.append((before, file))
            elif before.state is State.MISSING:
                plan.returned.append((before, file))
            else:
                plan.n_unchanged += 1
        for relative_path, before in known.items():
            if relative_path in found.files or not found.can_tell(relative_path):
                continue
            emptied = found.emptied(relative_path)
            if emptied is not None and before.state is State.INDEXED:
                doubted[target.root.path / emptied].append(before)
            elif before.state is State.MISSING:
                plan.missing_before.append(before)
            else:
                plan.missing.append(before)
    missing = [r for _, r in recordings if r.state is State.MISSING]
    moved = _find_moves(plan, [*plan.missing, *missing, *itertools.chain(*doubted.values())])
    for folder, in_it in doubted.items():
        n_kept = sum(recording.id not in moved for recording in in_it)
        if n_kept:
            way_out = "if they are gone, remove the folder"
            plan.absent.append((folder, f"nothing in it any more; {_kept(n_kept)}; {way_out}"))
    return plan


def _kept(n_recordings: int) -> str:
    return f"recordings of it that are kept: {n_recordings}"


def _all_recordings(store: Store | None) -> list[tuple[Path, Recording]]:
    """Every recording known, with the path of its root."""
    if store is None:
        return []
    with store.snapshot() as connection:
        roots = {root.id: root.path for root in store.roots(connection)}
        return [(roots[r.root_id], r) for r in store.recordings(connection)]


def _known_in(target: Target, recordings: Iterable[tuple[Path, Recording]]) -> dict[str, Recording]:
    """What is known in a target, by the path relative to its root."""
    known = {}
    for root, recording in recordings:
        relative_path = recording.relative_path
        if root != target.root.path:  # another root, perhaps one that is about to be absorbed
            if not root.is_relative_to(target.root.path):
                continue
            relative_path = str(root.relative_to(target.root.path) / relative_path)
        if target.covers(relative_path):
            known[relative_path] = recording
    return known


def _find_moves(plan: Plan, gone: Iterable[Recording]) -> set[int]:
    """New files with the size and content of one that is gone are that one, moved; ids of these."""
    by_size: dict[int, list[Recording]] = defaultdict(list)
    for recording in {r.id: r for r in gone}.values():
        if recording.content_hash is not None:
            by_size[recording.size_bytes].append(recording)
    still_there = {before.id for before, _ in (*plan.changed, *plan.returned)}
    new = []
    for file in plan.new:
        source = None
        same_size = by_size.get(file.size_bytes, ())
        if same_size:
            try:
                content_hash = hash_of(plan.path_of(file))
            except OSError:
                content_hash = b""
            for recording in same_size:
                if recording.content_hash == content_hash and recording.id not in still_there:
                    source = recording
                    break
        if source is None:
            new.append(file)
        else:
            by_size[file.size_bytes].remove(source)
            plan.moved.append((source, file))
    plan.new = new
    moved = {source.id for source, _ in plan.moved}
    plan.missing = [r for r in plan.missing if r.id not in moved]
    plan.missing_before = [r for r in plan.missing_before if r.id not in moved]
    return moved
