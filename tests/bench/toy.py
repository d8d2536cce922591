"""A toy benchmark: clips with five captions each, scored by an encoder of chosen skill."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from soundsearch.bench.evaluation import evaluate_classification, evaluate_retrieval
from soundsearch.bench.protocols import PROTOCOLS
from soundsearch.bench.results import (
    BenchmarkResult,
    RunFacts,
    result_of_classification,
    result_of_retrieval,
)


def toy_scores(
    n_clips: int = 40, skill: float = 2.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores (5 n_clips, n_clips) and owners; a caption's own clip scores higher by `skill`."""
    owner = np.repeat(np.arange(n_clips), 5)
    scores = np.random.default_rng(seed).normal(size=(owner.size, n_clips)).astype(np.float32)
    scores[np.arange(owner.size), owner] += np.float32(skill)
    return scores, owner


def toy_run(model: str = "toy", n_clips: int = 40, benchmark: str = "clotho") -> RunFacts:
    return RunFacts(
        benchmark=benchmark,
        split="evaluation",
        model=model,
        model_version="1",
        fingerprint="0f" * 8,
        max_tokens=77,
        prompt="",
        windows="10 s, hop 5 s; best window",
        n_listed=n_clips,
        command="soundsearch benchmark run clotho FOLDER",
    )


def toy_retrieval(
    model: str = "toy",
    skill: float = 2.0,
    *,
    protocol: str = "literature",
    n_clips: int = 40,
    seed: int = 0,
    decimals: int | None = None,
    bootstrap: int = 200,
) -> BenchmarkResult:
    """A whole result; rounded scores are full of ties."""
    scores, owner = toy_scores(n_clips, skill, seed)
    if decimals is not None:
        scores = scores.round(decimals)
    measured = evaluate_retrieval(scores, owner, PROTOCOLS[protocol], bootstrap=bootstrap)
    return result_of_retrieval(
        measured, toy_run(model, n_clips), [f"clip {i}.wav" for i in range(n_clips)]
    )


def toy_classification(model: str = "toy", skill: float = 2.0) -> BenchmarkResult:
    """Four classes, forty clips, five folds."""
    target = np.arange(40) % 4
    scores = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    scores[np.arange(40), target] += np.float32(skill)
    measured = evaluate_classification(
        scores,
        target,
        np.arange(40) // 8 + 1,
        ["dog", "rain", "crow | rook", "siren"],
        bootstrap=200,
    )
    run = toy_run(model, 40, "esc-50")
    return result_of_classification(measured, run, [f"{i}.wav" for i in range(40)], "literature")
