"""The roots of an index: what is in them, and what to do when one is moved or gone.

In: a store. Out: facts on its roots, or roots that are moved or removed. No recording is read.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from soundsearch.errors import StoreError
from soundsearch.files import EMPTY, NOT_THERE, absence
from soundsearch.paths import NO_CURRENT_FOLDER
from soundsearch.progress import SILENT, Progress
from soundsearch.store import Reader, Recording, Root, State, Store, Writer
from soundsearch.store.statements import chunks
from soundsearch.urls import is_url, path_of
from soundsearch.vectors.cache import refresh

#: Recordings of a root that are looked for in the folder to which it is said to have moved.
SAMPLE = 200
#: Recordings deleted in one transaction.
DELETED_AT_ONCE = 1000
#: Roots that a message names before it only counts them.
NAMED = 8
#: The way out where a folder is there and cannot be read.
UNREADABLE = "check its permissions and its disk"
CHECK_ADDRESS = "check the address, and your rights there"


@dataclass(frozen=True)
class RootFacts:
    """A root, the recordings of it by what was found, and why it cannot be reached, if it cannot.

    absence: "not there", "empty" or a reason of the system; None where the root is there.
    is_lost: whether it is up to a person what becomes of it. A file that was deleted from a folder
    that is there is not lost: the next index run sees to it.
    """

    path: Path
    n_indexed: int
    n_failed: int
    n_missing: int
    absence: str | None
    is_lost: bool

    @property
    def way_out(self) -> str:
        """What to do about a root that is lost."""
        return way_out(self.path) if self.absence in (NOT_THERE, EMPTY) else UNREADABLE

    def to_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "path": self.path,
            "recordings": self.n_indexed,
            "failed": self.n_failed,
            "missing": self.n_missing,
            "present": self.absence is None,
        }


@dataclass(frozen=True)
class Relocation:
    """What `move_root` did.

    root: under which the recordings are now. n_sampled: how many were looked for; n_found: of
    these, how many are there with the size they had.
    """

    root: Root
    n_recordings: int
    n_sampled: int
    n_found: int


def way_out(root: Path) -> str:
    """What to do about a root that is not there."""
    name = shlex.quote(str(root))
    if is_url(root):
        return f"check the address; if it is gone for good, run: soundsearch roots remove {name}"
    return (
        f"mount its disk; if it was renamed, run: soundsearch roots move {name} NEW; "
        f"if it is gone for good, run: soundsearch roots remove {name}"
    )


def place_of(path: Path) -> Path:
    """Where a path that somebody typed leads, absolute and without links; a URL is itself.

    Raises StoreError.
    """
    if is_url(path):
        return path_of(path)
    try:
        return path.expanduser().resolve()
    except FileNotFoundError as error:  # what is not there still leads somewhere
        raise StoreError(f"{path}: {NO_CURRENT_FOLDER}, or give the whole path") from error
    except (OSError, RuntimeError) as error:  # links in a circle, a home that nobody has
        raise StoreError(f"{path}: leads nowhere ({error}); give one that exists") from error


def facts_of_roots(reader: Reader) -> list[RootFacts]:
    """All roots, by path."""
    counts, files = reader.root_counts(), reader.file_roots()
    return [_facts(root, counts, root.id in files) for root in reader.roots()]


def _facts(root: Root, counts: Counter[tuple[int, State]], is_file: bool) -> RootFacts:
    n_indexed, n_failed, n_missing = (
        counts[root.id, state] for state in (State.INDEXED, State.FAILED, State.MISSING)
    )
    why = absence(root.path)
    if why == EMPTY and n_indexed == 0:
        why = None  # it has lost nothing
    is_lost = why is not None and not (is_file and absence(root.path.parent) is None)
    return RootFacts(root.path, n_indexed, n_failed, n_missing, why, is_lost)


def find_root(store: Store, path: Path) -> Root:
    """The root that a path names, whether it is there or not. Raises StoreError if there is none."""
    with store.snapshot() as reader:
        roots = reader.roots()
    # As it is written before where it leads: a link may stand now where the root was.
    for named in (Path(os.path.abspath(os.path.expanduser(path))), place_of(path)):
        for root in roots:
            if root.path == named:
                return root
    raise StoreError(f"{path}: no root of this index; {named_roots([r.path for r in roots])}")


def named_roots(paths: Sequence[Path]) -> str:
    """The roots there are, in words."""
    if not paths:
        return "it has none"
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return f"its roots are: {', '.join(map(str, paths[:NAMED]))}{more}"


def move_root(writer: Writer, root: Root, path: Path, progress: Progress = SILENT) -> Relocation:
    """Change the path of a root to where its recordings are now. Nothing is read or embedded.

    Where the new path lies in another root, or holds others, they become one. At a URL nothing is
    looked for.

    Raises:
        StoreError: the path is not there, or none of the recordings that were looked for lies there.
    """
    place = place_of(path)
    if place == root.path:
        raise StoreError(f"{path}: it is there already; give the folder it was moved to")
    why = absence(place)
    if why is not None:
        raise StoreError(f"{path}: {why}; give the folder that holds the recordings now")
    with writer.snapshot() as reader:
        recordings = list(reader.recordings(root.id))
    embedded = [recording for recording in recordings if recording.state is State.INDEXED]
    sample = [] if is_url(place) else embedded[:: max(1, len(embedded) // SAMPLE)][:SAMPLE]
    n_found = sum(_lies_at(place / recording.relative_path, recording) for recording in sample)
    if sample and n_found == 0:
        raise StoreError(
            f"{path}: holds none of the recordings of {root.path} (looked for: {len(sample)} of "
            f"{len(embedded)}); give the folder that holds them under the same relative paths"
        )
    with writer.transaction() as changes:
        moved = changes.relocate(root, place)
    writer.renew_words(progress)
    refresh(writer, progress)
    return Relocation(moved, len(recordings), len(sample), n_found)


def remove_root(writer: Writer, root: Root, progress: Progress = SILENT) -> int:
    """Delete a root and what is known of its recordings; returns how many there were.

    The files stay as they are. Killed on the way, it leaves the root with the rest of its
    recordings. Much disk room that is not needed any more is given back.
    """
    with writer.snapshot() as reader:
        ids = reader.recording_ids(root.id).tolist()
    progress.begin("recordings deleted", len(ids))
    for some in chunks(ids, DELETED_AT_ONCE):
        with writer.transaction() as changes:
            changes.delete(some)
        progress.advance(len(some))
    with writer.transaction() as changes:
        changes.drop_empty_roots([root])
    if writer.is_roomy():
        writer.compact(progress)
    progress.begin("writing the vectors")
    refresh(writer, progress)
    return len(ids)


def _lies_at(path: Path, recording: Recording) -> bool:
    try:
        return os.stat(path).st_size == recording.size_bytes
    except OSError:
        return False
