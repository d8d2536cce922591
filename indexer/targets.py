"""Which parts of which roots an index run looks through.

In: the paths a person named, and the roots the database knows. Out: a `Target` for each part. Only
`apply_targets` writes.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.objects import place_at, target_url
from soundsearch.errors import StoreError
from soundsearch.files import kind_of
from soundsearch.roots import CHECK_ADDRESS, place_of
from soundsearch.store import Root, Writer
from soundsearch.urls import is_url


@dataclass(frozen=True)
class Target:
    """A part of a root to look through: all of it, a folder in it, or one file.

    inside: relative to the root; "." is all of it, and the only part of a root that is one file.
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


def choose_targets(roots: Sequence[Root], paths: Sequence[Path]) -> list[Target]:
    """The parts of roots that these paths mean; nothing is looked through twice.

    A path inside a known root is a part of it. Any other folder or file is a new root (its id below
    zero until `apply_targets` has stored it), which absorbs known roots inside it.

    Raises:
        StoreError: a path is not there and was never indexed, or is neither a folder nor a file; of
            a URL as `place_at`.
    """
    standing = {root.path: root for root in roots}
    places = []
    for path in paths:
        place = target_url(place_of(path))
        places.append(place)
        if place in standing:
            continue
        is_known = _root_around(place, standing) is not None
        if is_url(place):
            _check_address(place, is_known)
        else:
            _check_kind(path, place, is_known)
        if not is_known:
            if is_url(place) or place.is_dir():
                standing = {p: r for p, r in standing.items() if not p.is_relative_to(place)}
            standing[place] = Root(-1 - len(places), place)
    chosen: dict[Path, list[Target]] = defaultdict(list)
    for place in places:
        root = _root_around(place, standing)
        assert root is not None
        target = Target(root, str(place.relative_to(root.path)))
        parts = chosen[root.path]
        if not any(other.covers(target.inside) for other in parts):
            chosen[root.path] = [*(o for o in parts if not target.covers(o.inside)), target]
    return list(itertools.chain(*chosen.values()))


def _root_around(place: Path, roots: Mapping[Path, Root]) -> Root | None:
    """The root that a place is or lies in, if there is one."""
    return next((roots[path] for path in (place, *place.parents) if path in roots), None)


def _check_kind(path: Path, place: Path, is_known: bool) -> None:
    """Refuse what is neither a folder nor a regular file, and what is not there.

    is_known: it lies in a root, so that the plan says what it means that it is not there.
    """
    try:
        mode = place.stat().st_mode
    except OSError as error:
        if not is_known:
            raise _no_place(path, error) from error
        return
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise StoreError(f"{path}: {kind_of(mode)}; give a recording, or a folder of recordings")


def _check_address(place: Path, is_known: bool) -> None:
    """Refuse a URL without a file system; one that is new must be there, as `_check_kind`."""
    found = place_at(str(place))
    if not is_known:
        try:
            found.info()
        except OSError as error:
            raise StoreError(f"{place}: {error.strerror}; {CHECK_ADDRESS}") from error


def _no_place(path: Path, error: OSError) -> StoreError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return StoreError(f"{path}: no such file or folder; give one that exists")
    if error.errno == errno.ELOOP:  # Python before 3.13 finds it out earlier, in `place_of`
        return StoreError(f"{path}: leads nowhere ({error.strerror}); give one that exists")
    return StoreError(f"{path}: cannot be opened ({error.strerror}); give one that you may read")


def still_hold(targets: Sequence[Target], roots: Sequence[Root]) -> bool:
    """Whether `choose_targets` would give the same now that these are the roots.

    Another process may have changed them since. Known roots inside a new one make no difference.
    """
    known = {root.path: root for root in roots}
    return all(
        target.root in roots
        if target.root.id >= 0
        else _root_around(target.root.path, known) is None
        for target in targets
    )


def apply_targets(writer: Writer, targets: Sequence[Target]) -> list[Target]:
    """Store new roots, and let them absorb those inside them; returns the targets with their ids."""
    if all(target.root.id >= 0 for target in targets):
        return list(targets)
    applied = []
    with writer.transaction() as changes:
        standing = changes.roots()
        for target in targets:
            root = target.root
            if root.id < 0:
                root = changes.add_root(root.path)
                if not os.path.isfile(root.path):  # nothing lies in a file
                    for old in standing:
                        if old.path != root.path and old.path.is_relative_to(root.path):
                            changes.absorb(old, root, old.path.relative_to(root.path))
            applied.append(Target(root, target.inside))
    return applied
