"""Linear probe: how well a linear classifier tells classes by frozen embeddings.

Multinomial logistic regression, fold by fold. Embeddings are standardised by mean and deviation of
the clips that are learnt from.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from soundsearch.bench.datasets import ClassificationSet, require_whole
from soundsearch.bench.protocols import LINEAR_PROBE
from soundsearch.bench.results import BenchmarkResult, RunFacts
from soundsearch.encoder.embed_clips import embed_clips, refuse_collapsed
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.towers import Encoder
from soundsearch.files import sha256_of
from soundsearch.progress import Progress, Silent
from trainer.checks import ClipCheck, features_of
from trainer.contrast import Contrast
from trainer.distributed import World
from trainer.epochs import weights_path
from trainer.front_ends import FrontEnd
from trainer.runs import read_run, torch_device
from trainer.supervised import Array, Ints, result_by_fold, score_by_fold

logger = logging.getLogger(__name__)

#: Steps of L-BFGS at most.
MAX_STEPS = 1000


def probe_bundle(
    encoder: Encoder,
    data: ClassificationSet,
    cache: EmbeddingCache,
    *,
    l2: float = 1.0,
    allow_missing: bool = False,
    jobs: int = 1,
    command: str = "",
    progress: Progress | None = None,
) -> BenchmarkResult:
    """Probe the audio tower of a bundle, one embedding a clip.

    Args:
        encoder: Embeds the clips.
        data: Has folds.
        cache: Embeddings of earlier runs.
        l2: See `fit_logistic`.
        allow_missing: Whether to measure what there is where clips are missing or unusable.
        jobs: Clips read at once.
        command: As typed, for the result.
        progress: Is notified of each clip and fold.

    Raises:
        DataSetError: Clips are missing or cannot be used.
        BenchmarkError: All embeddings are equal.
    """
    require_whole(data, allow_missing)
    found, lost = embed_clips(encoder, data.clips, cache, one=True, jobs=jobs, progress=progress)
    data = data.without(lost)
    require_whole(data, allow_missing)
    assert found is not None, "a data set without clips is refused"
    for clip in data.missing[:10]:
        logger.warning("skipped %s: %s", clip.name, clip.reason)
    refuse_collapsed(encoder, found.vectors, "clips")
    bundle = encoder.bundle
    centre = bundle.audio.clip == "centre"
    facts = RunFacts(
        benchmark=data.name,
        split=data.split,
        model=bundle.name,
        model_version=bundle.version,
        fingerprint=bundle.fingerprint,
        prompt="",
        windows=_in_words("stretch at the centre" if centre else "mean of windows", l2),
        n_listed=data.n_expected,
        n_skipped=data.n_missing,
        command=command,
    )
    return _probe(found.vectors, data, l2, facts, progress)


def probe_run(
    folder: Path,
    data: ClassificationSet,
    *,
    l2: float = 1.0,
    device: str = "auto",
    n_workers: int = 0,
    command: str = "",
    progress: Progress | None = None,
) -> BenchmarkResult:
    """Probe the audio tower of a training run; arguments as `probe_bundle`.

    Raises TrainingError for a clip that cannot be read, and DataSetError where one is missing.
    """
    require_whole(data, allow_missing=False)
    run = read_run(folder)
    embedded = _Embedded(data, run.front_end, n_workers)
    (progress or Silent()).begin("embedding clips")
    embedded(Contrast(run.tower, 1.0).to(torch_device(device)).eval())
    facts = RunFacts(
        benchmark=data.name,
        split=data.split,
        model=folder.resolve().name,
        model_version="",
        fingerprint=sha256_of(weights_path(folder))[:16],
        prompt="",
        windows=_in_words("stretch at the centre", l2),
        n_listed=data.n_expected,
        command=command,
    )
    return _probe(embedded.vectors, data, l2, facts, progress)


class _Embedded(ClipCheck):
    """Keeps the unit embeddings of a data set, (n_clips, dim), in `vectors`."""

    vectors: Array

    def __init__(self, data: ClassificationSet, front_end: FrontEnd, n_workers: int) -> None:
        super().__init__(World(), n_workers)
        self._data, self._front_end = data, front_end

    @property
    def n_clips(self) -> int:
        """See `ClipCheck`."""
        return len(self._data.clips)

    def _read(self, start: int, stop: int) -> Tensor:
        return features_of(self._data.clips[start:stop], self._front_end)

    def _metrics(self, audio: Tensor) -> dict[str, float]:
        self.vectors = audio.numpy()
        return {}


def _probe(
    vectors: Array,
    data: ClassificationSet,
    l2: float,
    facts: RunFacts,
    progress: Progress | None,
) -> BenchmarkResult:
    assert data.fold is not None
    progress = progress or Silent()
    progress.begin("folds", np.unique(data.fold).size)

    def score_fold(_: int, others: Ints, own: Ints) -> Array:
        weights, bias = fit_logistic(vectors[others], data.target[others], len(data.classes), l2=l2)
        progress.advance()
        scores: Array = (vectors[own] @ weights + bias).astype(np.float32)
        return scores

    return result_by_fold(data, score_by_fold(data, score_fold), LINEAR_PROBE, facts)


def fit_logistic(
    vectors: Array, target: Ints, n_classes: int, *, l2: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a multinomial logistic regression on standardised vectors, in float64 by L-BFGS.

    Minimises the sum of the cross-entropies and l2 / 2 times the squared weights; biases are free.
    With C = 1 / l2 that is what scikit-learn's LogisticRegression minimises.

    Args:
        vectors: (n, dim).
        target: (n,), classes from 0.
        n_classes: How many there are; a class without vectors gets low scores.
        l2: Above 0.

    Returns:
        Weights (dim, n_classes) and biases (n_classes,) for vectors as they are given.
    """
    if not l2 > 0:
        raise ValueError(f"l2 must be above 0, not {l2}")
    x = torch.from_numpy(vectors.astype(np.float64))
    y = torch.from_numpy(target)
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 1e-12, std, torch.ones_like(std))
    x = (x - mean) / std
    weights = torch.zeros(x.shape[1], n_classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(n_classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights, bias],
        max_iter=MAX_STEPS,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss_of() -> Tensor:
        optimiser.zero_grad()
        loss = functional.cross_entropy(x @ weights + bias, y) + l2 / 2 / len(x) * (
            weights.square().sum()
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(loss_of)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        scaled = weights / std[:, None]
        return scaled.numpy(), (bias - mean @ scaled).numpy()


def _in_words(embedding: str, l2: float) -> str:
    return f"one embedding a clip ({embedding}), logistic regression with l2 {l2:g}"
