"""The kinds of benchmark data sets: clips with captions, with one label each, or with any number."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from soundsearch.arrays import Ints, Mask
from soundsearch.errors import BenchmarkError

#: Clips of each split as published; Clotho's development split grew from version 1 to 2.
PUBLISHED_CLIPS: Mapping[str, tuple[int, ...]] = {
    "clotho/development": (2893, 3839),
    "clotho/validation": (1045,),
    "clotho/evaluation": (1045,),
    "audiocaps/train": (49838,),
    "audiocaps/val": (495,),
    "audiocaps/test": (975,),
    "esc-50": (2000,),
    "urbansound8k": (8732,),
    "audioset/eval": (20371,),
    "audioset/balanced_train": (22160,),
    "audioset/unbalanced_train": (2041789,),
}


class DataSetError(BenchmarkError):
    """A benchmark data set that is not there, not whole, or not of the layout expected."""


@dataclass(frozen=True)
class Missing:
    """A clip that the data set should hold and that cannot be measured. name: as the CSV has it."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DataSet(ABC):
    """Clips of one split of one data set: a `RetrievalSet`, a `ClassificationSet` or a `TaggingSet`.

    names: what the CSV calls each clip, each once. clips: their recordings, in that order.
    n_expected: clips of the whole split, as published or as its CSV lists them.
    """

    name: str
    split: str
    names: tuple[str, ...]
    clips: tuple[Path, ...]
    n_expected: int
    missing: tuple[Missing, ...] = ()

    @property
    def n_missing(self) -> int:
        """Clips that cannot be measured, whether or not the CSV lists them."""
        return self.n_expected - len(self.clips)

    def without(self, lost: Mapping[int, str]) -> Self:
        """The set without some clips. lost: place among the clips -> why it cannot be measured."""
        left = [i for i in range(len(self.clips)) if i not in lost]
        gone = [Missing(self.names[i], reason) for i, reason in sorted(lost.items())]
        return dataclasses.replace(
            self,
            names=tuple(self.names[i] for i in left),
            clips=tuple(self.clips[i] for i in left),
            missing=(*self.missing, *gone),
            **self._facts_of(left),
        )

    @abstractmethod
    def _facts_of(self, left: list[int]) -> dict[str, Any]:
        """What a subclass knows of these clips, by field."""


@dataclass(frozen=True, kw_only=True)
class RetrievalSet(DataSet):
    """Clips with captions. captions: those of each clip, one or more."""

    captions: tuple[tuple[str, ...], ...]

    @property
    def texts(self) -> list[str]:
        """All captions, clip by clip."""
        return [caption for captions in self.captions for caption in captions]

    @property
    def owner(self) -> Ints:
        """(n_texts,) int64: the clip that each text belongs to."""
        counts = [len(captions) for captions in self.captions]
        return np.repeat(np.arange(len(counts), dtype=np.int64), counts)

    def _facts_of(self, left: list[int]) -> dict[str, Any]:
        return {"captions": tuple(self.captions[i] for i in left)}


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassificationSet(DataSet):
    """Clips with one label each.

    target: (n_clips,) int64 into classes. classes: labels as the data set spells them, in the
    order of its own class numbers; a class stays when all its clips are missing. fold: (n_clips,)
    int64, or None.
    """

    target: Ints
    classes: tuple[str, ...]
    fold: Ints | None

    def _facts_of(self, left: list[int]) -> dict[str, Any]:
        fold = None if self.fold is None else self.fold[left]
        return {"target": self.target[left], "fold": fold}


@dataclass(frozen=True, kw_only=True, eq=False)
class TaggingSet(DataSet):
    """Clips with any number of classes each.

    tagged: (n_clips, n_classes) bool. classes: their names.
    """

    tagged: Mask
    classes: tuple[str, ...]

    def with_clips(self) -> tuple[Self, tuple[str, ...]]:
        """The set of those classes that have a clip, and the names of the others."""
        used = self.tagged.any(axis=0)
        names = np.array(self.classes)
        left = dataclasses.replace(
            self, tagged=self.tagged[:, used], classes=tuple(map(str, names[used]))
        )
        return left, tuple(map(str, names[~used]))

    def _facts_of(self, left: list[int]) -> dict[str, Any]:
        return {"tagged": self.tagged[left]}


def require_whole(data: DataSet, allow_missing: bool) -> None:
    """Raise DataSetError unless the set is whole, or may be in part; an empty one never passes."""
    if not data.n_missing or (allow_missing and data.clips):
        return
    if data.missing:
        first = f"the first is {data.missing[0].name}: {data.missing[0].reason}"
    else:
        first = f"the CSV lists {len(data.clips)}"
    way_out = "; get them, or measure what is there with --allow-missing" if data.clips else ""
    raise DataSetError(
        f"{data.name} {data.split}: {data.n_missing} of {data.n_expected} clips cannot be measured "
        f"({first}){way_out}"
    )
