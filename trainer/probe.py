"""Linear probe: how well a linear classifier tells classes by frozen embeddings.

Logistic regression, multinomial or, where clips have any number of classes, one for each class.
Embeddings are standardised by mean and deviation of the clips that are learnt from.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from soundsearch.bench.protocols import LINEAR_PROBE
from soundsearch.bench.results import BenchmarkResult, RunFacts
from soundsearch.encoder.embed_clips import embed_clips, refuse_collapsed
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.towers import Encoder
from soundsearch.files import sha256_of
from soundsearch.progress import Progress, Silent
from trainer.checks import ClipCheck, features_of
from trainer.epochs import weights_path
from trainer.front_ends import FrontEnd
from trainer.loop import TrainingError
from trainer.runs import read_run
from trainer.supervised import Array, Labelled, facts_of, loss_of
from trainer.torchrun import World

#: Steps of L-BFGS at most.
MAX_STEPS = 1000
#: Vectors that are classified at once while fitting: 280 MB of scores for AudioSet's classes.
AT_A_TIME = 1 << 16


def probe_bundle(
    encoder: Encoder,
    data: Labelled,
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
        data: The clips, and what each is classified by.
        cache: Embeddings of earlier runs.
        l2: See `fit_logistic`.
        allow_missing: Whether to measure what there is where clips are missing or unusable.
        jobs: Clips read at once.
        command: As typed, for the result.
        progress: Is notified of each clip and of what is classified.

    Raises:
        DataSetError: Clips are missing or cannot be used.
        BenchmarkError: All embeddings are equal.
    """
    data.require_whole(allow_missing)
    found, lost = embed_clips(encoder, data.clips, cache, one=True, jobs=jobs, progress=progress)
    data = data.usable(lost, allow_missing)
    assert found is not None, "a data set without clips is refused"
    refuse_collapsed(encoder, found.vectors, "clips")
    bundle = encoder.bundle
    how = "stretch at the centre" if bundle.audio.clip == "centre" else "mean of windows"
    facts = facts_of(
        data, bundle.name, bundle.version, bundle.fingerprint, _in_words(how, l2), command
    )
    return _probe(found.vectors, data, l2, facts, progress)


def probe_run(
    folder: Path,
    data: Labelled,
    *,
    l2: float = 1.0,
    allow_missing: bool = False,
    device: str = "auto",
    n_workers: int = 0,
    command: str = "",
    progress: Progress | None = None,
) -> BenchmarkResult:
    """Probe the audio tower of a training run; arguments as `probe_bundle`.

    Raises DataSetError for clips that are missing or cannot be used.
    """
    data.require_whole(allow_missing)
    run = read_run(folder)
    embedded = _Embedded(data.clips, run.config.front_end, n_workers)
    (progress or Silent()).begin("embedding clips")
    embedded(run.model(device))
    data = data.usable(embedded.lost, allow_missing)
    weights = sha256_of(weights_path(folder))[:16]
    how = _in_words("stretch at the centre", l2)
    facts = facts_of(data, folder.resolve().name, "", weights, how, command)
    return _probe(embedded.vectors, data, l2, facts, progress)


class _Embedded(ClipCheck):
    """Keeps the unit embeddings of clips in `vectors`, and the places of unusable ones in `lost`."""

    vectors: Array
    lost: dict[int, str]

    def __init__(self, clips: Sequence[Path], front_end: FrontEnd, n_workers: int) -> None:
        super().__init__(World(), n_workers)
        self._clips, self._front_end = clips, front_end

    @property
    def n_clips(self) -> int:
        """See `ClipCheck`."""
        return len(self._clips)

    def _read(self, start: int, stop: int) -> Tensor:
        features = self._front_end.features
        rows = torch.full((stop - start, features.n_mels, features.n_frames), torch.nan)
        for row, path in zip(rows, self._clips[start:stop], strict=True):
            with suppress(TrainingError):  # its embedding is NaN, too
                row[:] = features_of([path], self._front_end)[0]
        return rows

    def _metrics(self, audio: Tensor) -> dict[str, float]:
        usable = audio.isfinite().all(dim=1)
        self.vectors = audio[usable].numpy()
        self.lost = {
            place: self._why_unusable(self._clips[place])
            for place in torch.nonzero(~usable).flatten().tolist()
        }
        return {}

    def _why_unusable(self, path: Path) -> str:
        try:
            features_of([path], self._front_end)
        except TrainingError as error:
            return str(error.__cause__)
        raise TrainingError(f"{path}: its embedding is not finite; the weights of the run are not")


def _probe(
    vectors: Array, data: Labelled, l2: float, facts: RunFacts, progress: Progress | None
) -> BenchmarkResult:
    progress, parts, target = progress or Silent(), data.parts, data.target
    progress.begin("fitting", len(parts))
    scores = np.zeros((len(data.measured.clips), len(data.classes)), np.float32)
    for part in parts:
        weights, bias = fit_logistic(
            vectors[part.others], target[part.others], len(data.classes), l2=l2
        )
        scores[part.own] = vectors[part.own] @ weights + bias
        progress.advance()
    return data.result(scores, LINEAR_PROBE, facts)


def fit_logistic(
    vectors: Array, target: np.ndarray, n_classes: int, *, l2: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a logistic regression on standardised vectors, in float64 by L-BFGS.

    Minimises the sum of the cross-entropies and l2 / 2 times the squared weights; biases are free.
    With C = 1 / l2 that is what scikit-learn's LogisticRegression minimises, in OneVsRestClassifier
    where vectors have any number of classes.

    Args:
        vectors: (n, dim) float32.
        target: (n,), classes from 0, or (n, n_classes) bool.
        n_classes: How many there are; a class without vectors gets low scores.
        l2: Above 0.

    Returns:
        Weights (dim, n_classes) and biases (n_classes,) for vectors as they are given.
    """
    if not l2 > 0:
        raise ValueError(f"l2 must be above 0, not {l2}")
    x, y = torch.from_numpy(vectors), torch.from_numpy(target)
    mean = x.mean(0, dtype=torch.float64)
    parts = [slice(start, start + AT_A_TIME) for start in range(0, len(x), AT_A_TIME)]
    squares = torch.stack([(x[part] - mean).square().sum(0) for part in parts])
    std = (squares.sum(0) / len(x)).sqrt()
    std = torch.where(std > 1e-12, std, torch.ones_like(std))
    n_losses = n_classes if y.ndim == 2 else 1
    weights = torch.zeros(x.shape[1], n_classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(n_classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights, bias],
        max_iter=MAX_STEPS,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = l2 / 2 / len(x) * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        for part in parts:
            logits = (x[part] - mean) / std @ weights + bias
            share = loss_of(logits, y[part]) * n_losses * len(logits) / len(x)
            share.backward()  # type: ignore[no-untyped-call]
            loss = loss + share.detach()
        return loss.detach()

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        scaled = weights / std[:, None]
        return scaled.numpy(), (bias - mean @ scaled).numpy()


def _in_words(embedding: str, l2: float) -> str:
    return f"one embedding a clip ({embedding}), logistic regression with l2 {l2:g}"
