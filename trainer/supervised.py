"""Supervised classification and tagging: clips are classified by what learnt from other clips.

    data set -> fit on some clips, classify others -> scores of every clip measured -> result

Folds learn from each other; AudioSet's evaluation segments are classified by what learnt from a
training list. `probe.py` fits a linear classifier on frozen embeddings, `finetune.py` trains the
tower, too.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from soundsearch.bench.datasets import (
    ClassificationSet,
    DataSetError,
    TaggingSet,
    read_audioset,
    require_whole,
)
from soundsearch.bench.evaluation import TaggingResult, evaluate_classification, evaluate_tagging
from soundsearch.bench.protocols import OF_TAGGING, TAGGING
from soundsearch.bench.results import (
    BenchmarkResult,
    RunFacts,
    result_of_classification,
    result_of_tagging,
)
from soundsearch.choices import AudioSetTraining
from soundsearch.errors import ConfigError
from trainer.checks import BENCHES

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]
Ints = NDArray[np.int64]
#: The rule for texts does not matter here; a result names a protocol all the same.
PROTOCOL = "literature"
#: Names of data sets with folds, among `BENCHES`; beside them `AUDIOSET`.
FOLDED = ("esc50", "urbansound8k", "manifest")
AUDIOSET = "audioset"


@dataclass(frozen=True, eq=False)
class Part:
    """Clips that are classified together: their places `own`, and those to learn from, `others`."""

    name: str
    others: Ints
    own: Ints


@dataclass(frozen=True, eq=False)
class Labelled:
    """Clips with classes, and what each is classified by.

    Attributes:
        measured: The clips that get scores: fold by fold, or tagged by what learnt from `learnt`.
        learnt: Clips to learn from alone, with the classes of `measured`; None where there are folds.
    """

    measured: ClassificationSet | TaggingSet
    learnt: TaggingSet | None = None

    @property
    def name(self) -> str:
        """That of the data set."""
        return self.measured.name

    @property
    def clips(self) -> tuple[Path, ...]:
        """The clips to measure, and after them those to learn from alone."""
        return self.measured.clips + (self.learnt.clips if self.learnt else ())

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        return self.measured.classes

    @property
    def target(self) -> NDArray[Any]:
        """Of all clips: (n,) int64, the class of each, or (n, n_classes) bool."""
        if isinstance(self.measured, ClassificationSet):
            return self.measured.target
        assert self.learnt is not None
        return np.concatenate([self.measured.tagged, self.learnt.tagged])

    @property
    def measure(self) -> str:
        """The name of what `score` counts."""
        return "accuracy" if isinstance(self.measured, ClassificationSet) else "mAP"

    @property
    def parts(self) -> list[Part]:
        """What is classified in turn."""
        n = len(self.measured.clips)
        if isinstance(self.measured, TaggingSet):
            return [Part(self.measured.split, np.arange(n, len(self.clips)), np.arange(n))]
        fold = self.measured.fold
        assert fold is not None
        return [
            Part(f"fold-{each}", np.flatnonzero(fold != each), np.flatnonzero(fold == each))
            for each in np.unique(fold).tolist()
        ]

    def without(self, lost: Mapping[int, str]) -> Self:
        """The same without some of `clips`. lost: place -> why it cannot be used."""
        n = len(self.measured.clips)
        measured = self.measured.without({i: why for i, why in lost.items() if i < n})
        learnt = self.learnt and self.learnt.without(
            {i - n: why for i, why in lost.items() if i >= n}
        )
        return dataclasses.replace(self, measured=measured, learnt=learnt)

    def require_whole(self, allow_missing: bool) -> None:
        """Raise DataSetError unless no clip is missing, or some may be."""
        for data in (self.measured, self.learnt):
            if data:
                require_whole(data, allow_missing)

    def usable(self, lost: Mapping[int, str], allow_missing: bool) -> Self:
        """As `without`, with a warning for the first ones; raises DataSetError as `require_whole`."""
        left = self.without(lost)
        left.require_whole(allow_missing)
        for data in (left.measured, left.learnt):
            for clip in data.missing[:10] if data else ():
                logger.warning("skipped %s: %s", clip.name, clip.reason)
        return left

    def score(self, scores: Array, own: Ints) -> float:
        """Accuracy, or the mean average precision, of the scores (n_own, n_classes) of some clips."""
        if isinstance(self.measured, ClassificationSet):
            return float((scores.argmax(axis=1) == self.measured.target[own]).mean())
        return self._tagging(scores, TAGGING, 0).tagging.numbers["mAP"].value

    def result(self, scores: Array, way: str, facts: RunFacts) -> BenchmarkResult:
        """Count the scores (n_measured, n_classes). way: linear-probe or fine-tuning."""
        data = self.measured
        if isinstance(data, ClassificationSet):
            measured = evaluate_classification(
                scores, data.target, data.fold, data.classes, name=way
            )
            return result_of_classification(measured, facts, data.names, PROTOCOL)
        tagged = self._tagging(scores, OF_TAGGING[way], 1000)
        return result_of_tagging(tagged, facts, data.with_clips()[0].classes, PROTOCOL)

    def _tagging(self, scores: Array, name: str, bootstrap: int) -> TaggingResult:
        assert isinstance(self.measured, TaggingSet)
        used = self.measured.tagged.any(axis=0)
        data, _ = self.measured.with_clips()
        return evaluate_tagging(
            scores.T[used], data.tagged, data.classes, bootstrap=bootstrap, name=name
        )


def read_labelled(place: str, learn: AudioSetTraining = "balanced_train") -> Labelled:
    """Read a data set with labels and folds, or AudioSet.

    Args:
        place: NAME=FOLDER, NAME esc50, urbansound8k, manifest or audioset.
        learn: The list of AudioSet to learn from; eval is measured.

    Raises:
        ConfigError: It is not of that form.
        DataSetError: The data set is missing, or has no labels or fewer than two folds.
    """
    name, _, folder = place.partition("=")
    if name not in (*FOLDED, AUDIOSET) or not folder:
        known = ", ".join((*FOLDED, AUDIOSET))
        raise ConfigError(f"expected NAME=FOLDER, NAME one of {known}, not {place!r}")
    path = Path(folder).expanduser()
    if name == AUDIOSET:
        return _of_audioset(read_audioset(path, "eval"), read_audioset(path, learn))
    data = BENCHES[name](path)
    if not isinstance(data, ClassificationSet):
        raise DataSetError(f"{name} {data.split} has captions; expected labels and folds")
    if data.fold is None or np.unique(data.fold).size < 2:
        raise DataSetError(
            f"{name} {data.split} has no two folds to learn from and to classify; expected them in "
            "a column fold"
        )
    return Labelled(data)


def _of_audioset(measured: TaggingSet, learnt: TaggingSet) -> Labelled:
    if both := {*measured.clips} & {*learnt.clips}:
        raise DataSetError(
            f"{min(both)} is of both {measured.split} and {learnt.split}; expected lists without a "
            "common segment, since one of them is to measure"
        )
    classes = tuple(dict.fromkeys(measured.classes + learnt.classes))
    return Labelled(_with_classes(measured, classes), _with_classes(learnt, classes))


def _with_classes(data: TaggingSet, classes: tuple[str, ...]) -> TaggingSet:
    """The same clips with these classes, of which it may use some."""
    tagged = np.zeros((len(data.clips), len(classes)), bool)
    tagged[:, [classes.index(name) for name in data.classes]] = data.tagged
    return dataclasses.replace(data, tagged=tagged, classes=classes)


def loss_of(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over clips of the cross-entropy of (n, n_classes) and classes (n,).

    Where clips have any number of classes, (n, n_classes) bool, it is the mean of binary
    cross-entropies. Source: VIP-ANT, `cvap/module/decoder/loss_head.py`, BCELossHead.
    """
    if target.ndim == 1:
        return functional.cross_entropy(logits, target)
    return functional.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))


def facts_of(
    data: Labelled, model: str, version: str, fingerprint: str, windows: str, command: str
) -> RunFacts:
    """What a result hangs on. windows: how a clip was embedded and classified, in words."""
    learnt = data.learnt
    more = f", learnt from {len(learnt.clips):,} clips of {learnt.split}" if learnt else ""
    return RunFacts(
        benchmark=data.name,
        split=data.measured.split,
        model=model,
        model_version=version,
        fingerprint=fingerprint,
        prompt="",
        windows=windows + more,
        n_listed=data.measured.n_expected,
        n_skipped=data.measured.n_missing,
        command=command,
    )
