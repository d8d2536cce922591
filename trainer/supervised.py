"""Supervised classification by fold: each fold is classified by what learnt from all others.

    data set with folds -> fit on the others, classify the fold -> scores of every clip -> result

`probe.py` fits a linear classifier on frozen embeddings, `finetune.py` trains the tower, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsearch.bench.datasets import ClassificationSet, DataSetError
from soundsearch.bench.evaluation import evaluate_classification
from soundsearch.bench.results import BenchmarkResult, RunFacts, result_of_classification
from soundsearch.errors import ConfigError
from trainer.checks import BENCHES

Array = NDArray[np.float32]
Ints = NDArray[np.int64]
#: Places of the clips to learn from, and of those to classify -> scores (n_classified, n_classes).
ScoreFold = Callable[[int, Ints, Ints], Array]
#: The rule for texts does not matter here; a result names a protocol all the same.
PROTOCOL = "literature"


def read_folds(place: str) -> ClassificationSet:
    """Read a data set with labels and folds.

    Args:
        place: NAME=FOLDER, NAME one of `trainer.checks.BENCHES`, as esc50=ESC-50-master.

    Raises:
        ConfigError: It is not of that form.
        DataSetError: The data set is missing, or has no labels or fewer than two folds.
    """
    name, _, folder = place.partition("=")
    if name not in BENCHES or not folder:
        raise ConfigError(f"expected NAME=FOLDER, NAME one of {', '.join(BENCHES)}, not {place!r}")
    data = BENCHES[name](Path(folder).expanduser())
    if not isinstance(data, ClassificationSet):
        raise DataSetError(f"{name} {data.split} has captions; expected labels and folds")
    if data.fold is None or np.unique(data.fold).size < 2:
        raise DataSetError(
            f"{name} {data.split} has no two folds to learn from and to classify; expected them in "
            "a column fold"
        )
    return data


def score_by_fold(data: ClassificationSet, score_fold: ScoreFold) -> Array:
    """Classify every fold by what learnt from all others: scores (n_clips, n_classes)."""
    assert data.fold is not None
    scores = np.zeros((len(data.clips), len(data.classes)), np.float32)
    for fold in np.unique(data.fold).tolist():
        own = np.flatnonzero(data.fold == fold)
        scores[own] = score_fold(fold, np.flatnonzero(data.fold != fold), own)
    return scores


def result_by_fold(
    data: ClassificationSet, scores: Array, way: str, facts: RunFacts, bootstrap: int = 1000
) -> BenchmarkResult:
    """Count scores (n_clips, n_classes). way: linear-probe or fine-tuning."""
    measured = evaluate_classification(
        scores, data.target, data.fold, data.classes, bootstrap=bootstrap, name=way
    )
    return result_of_classification(measured, facts, data.names, PROTOCOL)
