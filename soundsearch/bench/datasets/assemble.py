"""Put a data set together from the names in its table and the recordings in its folder."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from soundsearch.bench.datasets.audio_folder import AudioFolder
from soundsearch.bench.datasets.kinds import (
    PUBLISHED_CLIPS,
    ClassificationSet,
    DataSetError,
    Missing,
    RetrievalSet,
    TaggingSet,
)


def retrieval_set(
    name: str,
    split: str,
    table: Path,
    folder: AudioFolder,
    captions_of: Mapping[str, tuple[str, ...]],
    find: Callable[[str], Path | None],
) -> RetrievalSet:
    """The set of these clips.

    table: its CSV, for messages. folder: of its recordings. captions_of: by the name of each clip.
    find: gives the recording of a name, or None.
    Raises DataSetError where two clips share a recording, or none is there.
    """
    names, captions = list(captions_of), list(captions_of.values())
    there, missing = _find_all(names, find, table, folder)
    return RetrievalSet(
        name=name,
        split=split,
        names=tuple(names[i] for i in there),
        clips=tuple(there.values()),
        captions=tuple(captions[i] for i in there),
        n_expected=_expected(f"{name}/{split}", len(names)),
        missing=missing,
    )


def classification_set(
    name: str,
    path: Path,
    folder: AudioFolder,
    *,
    names: Sequence[str],
    find: Callable[[str], Path | None],
    numbers: Sequence[str],
    labels: Sequence[str],
    folds: Sequence[str] | None,
    split: str = "all",
) -> ClassificationSet:
    """The set of these clips.

    path: its table, for messages. folder: of its recordings. find: gives the recording of a name,
    or None. numbers, labels: number and name of each clip's class, and folds (or None) as the table
    has them.
    Raises DataSetError where clips or classes contradict each other, or no recording is there.
    """
    refuse_duplicates(path, names)
    label_of: dict[int, str] = {}
    for clip, number, label in zip(names, _integers(path, numbers, "class"), labels, strict=True):
        if label_of.setdefault(number, label) != label:
            raise DataSetError(
                f"{path}: class {number} is {label_of[number]!r}, and {label!r} at {clip}; one of them is wrong"
            )
    order = sorted(label_of)
    classes = tuple(label_of[number] for number in order)
    twice = [label for label, count in Counter(classes).items() if count > 1]
    if twice:
        raise DataSetError(f"{path}: {twice[0]!r} is the name of two classes; one of them is wrong")
    by_looks: dict[str, str] = {}
    for label in classes:
        other = by_looks.setdefault(unicodedata.normalize("NFC", label), label)
        if other != label:
            first, second = _distinguishable(other, label)
            raise DataSetError(
                f"{path}: the labels {first} and {second} look alike, and differ in Unicode form "
                "alone; write both as one"
            )
    place = {number: i for i, number in enumerate(order)}
    targets = [place[number] for number in _integers(path, numbers, "class")]
    fold_of = [0] * len(names) if folds is None else _integers(path, folds, "fold")
    there, missing = _find_all(names, find, path, folder)
    return ClassificationSet(
        name=name,
        split=split,
        names=tuple(names[i] for i in there),
        clips=tuple(there.values()),
        target=np.array([targets[i] for i in there], np.int64),
        classes=classes,
        fold=None if folds is None else np.array([fold_of[i] for i in there], np.int64),
        n_expected=_expected(name, len(names)),
        missing=missing,
    )


def tagging_set(
    name: str,
    split: str,
    table: Path,
    folder: AudioFolder,
    *,
    tags_of: Mapping[str, Sequence[str]],
    find: Callable[[str], Path | None],
    class_names: Mapping[str, str],
) -> TaggingSet:
    """The set of these clips; other arguments and errors are those of `retrieval_set`.

    tags_of: the ids of each clip's classes by its name. class_names: of all classes by id, in order.
    """
    names = list(tags_of)
    place = {key: i for i, key in enumerate(class_names)}
    there, missing = _find_all(names, find, table, folder)
    tagged = np.zeros((len(there), len(class_names)), bool)
    for row, i in enumerate(there):
        tagged[row, [place[key] for key in tags_of[names[i]]]] = True
    return TaggingSet(
        name=name,
        split=split,
        names=tuple(names[i] for i in there),
        clips=tuple(there.values()),
        tagged=tagged,
        classes=tuple(class_names.values()),
        n_expected=_expected(f"{name}/{split}", len(names)),
        missing=missing,
    )


def first_file(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of these files in root that is there. Raises DataSetError, naming two of them."""
    for name in names:
        if (root / name).is_file():
            return root / name
    if not root.is_dir():
        raise DataSetError(f"{root}: no such folder; expected the root of {what}")
    raise DataSetError(f"{root}: no {' or '.join(names[:2])} here; expected the root of {what}")


def _integers(path: Path, texts: Sequence[str], what: str) -> list[int]:
    for text in texts:
        if not text.strip().isdecimal():
            raise DataSetError(f"{path}: {what} {text!r} is no whole number")
    return [int(text) for text in texts]


def refuse_duplicates(path: Path, names: Iterable[str]) -> None:
    """Raise DataSetError if the table at this path has a name twice."""
    for name, count in Counter(names).items():
        if count > 1:
            raise DataSetError(f"{path}: {name} is listed {count} times, expected once")


def require_choice(what: str, split: str, splits: Sequence[str]) -> None:
    """Raise DataSetError unless the split is one of these."""
    if split not in splits:
        raise DataSetError(f"{what} has no split {split!r}; there is: {', '.join(splits)}")


def _find_all(
    names: Sequence[str], find: Callable[[str], Path | None], table: Path, folder: AudioFolder
) -> tuple[dict[int, Path], tuple[Missing, ...]]:
    """The recordings that are there by the places of their names, and the names without one.

    No two names share a recording. Raises DataSetError, also if no recording is there.
    """
    found = [find(name) for name in names]
    if not any(found):
        raise DataSetError(
            f"{folder.path}: none of the {len(names)} recordings of {table.name} is here "
            f"(the first is {names[0]}); is this the audio of another split or data set?"
        )
    there: dict[int, Path] = {}
    missing = []
    place_of: dict[Path, int] = {}
    for i, (name, path) in enumerate(zip(names, found, strict=True)):
        if path is None:
            missing.append(Missing(name, f"not in {folder.path}"))
            continue
        if path in place_of:
            first, second = _distinguishable(names[place_of[path]], name)
            raise DataSetError(f"{path}: two clips share it, {first} and {second}")
        place_of[path] = i
        there[i] = path
    return there, tuple(missing)


def _distinguishable(*names: str) -> list[str]:
    """Names for one message: escaped where they look alike, so that they do so no more."""
    look_alike = len({unicodedata.normalize("NFC", name) for name in names}) < len(set(names))
    return [ascii(name) if look_alike else name for name in names]


def _expected(key: str, n_listed: int) -> int:
    """Clips of the published split that this list must be a part of, else those of the list."""
    return min((n for n in PUBLISHED_CLIPS.get(key, ()) if n >= n_listed), default=n_listed)
