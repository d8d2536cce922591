"""Measurements during training: on held-out shards, and on benchmarks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from soundsearch.bench.datasets import (
    ClassificationSet,
    DataSet,
    RetrievalSet,
    read_audiocaps,
    read_clotho,
    read_esc50,
    read_manifest,
    read_urbansound8k,
    require_whole,
)
from soundsearch.bench.metrics import best_ranks, recall_at_k
from soundsearch.errors import AudioError, ConfigError
from trainer.contrast import SAME, Contrast
from trainer.data.shards import ShardFolder
from trainer.data.stream import fixed_examples
from trainer.data.targets import StoredTargets
from trainer.data.vectors import Kind, VectorsFacts, encoders_of
from trainer.data.waveforms import read_sound
from trainer.front_ends import extract_features
from trainer.loop import Check, TrainingError
from trainer.runs import StageConfig
from trainer.towers.clip_model import ClipChoice, load_clip
from trainer.towers.unit import embed_unit

#: Makes a check, once the encoder of the stored vectors is known.
MakeCheck = Callable[[StageConfig, VectorsFacts], Check]
#: Text of a label. Source: VIP-ANT, `running.prompt` for ESC-50 and UrbanSound8K.
PROMPT = "the sound of {}"
#: Benchmarks by name, each with its reader.
BENCHES: dict[str, Callable[[Path], DataSet]] = {
    "clotho": read_clotho,
    "audiocaps": read_audiocaps,
    "esc50": read_esc50,
    "urbansound8k": read_urbansound8k,
    "manifest": read_manifest,
}
#: Examples in one batch of the tower.
BATCH_SIZE = 32
KS = (1, 10)


class ShardCheck:
    """Recall at 1 and 10 between the sounds of held-out examples and their images and captions.

    Measured for each kind of vectors that the folder has by the encoder of the run, so that the
    pivot stage also measures captions, which it does not train on. Equal vectors count as equally
    right. `valid_images_from_audio_recall_at_1` is the recall of images with sounds as queries.
    """

    def __init__(
        self, shards: Path, config: StageConfig, facts: VectorsFacts, n_clips: int
    ) -> None:
        self._data, self._front_end = ShardFolder(shards), config.front_end
        kinds: tuple[Kind, ...] = ("images", "captions")
        available = [kind for kind in kinds if facts.encoder in encoders_of(shards, kind)]
        if not available:
            raise TrainingError(
                f"{shards}: no vectors by {facts.encoder} to measure against; "
                f"run `soundsearch train embed-images {shards}` with that model"
            )
        self._targets = {kind: StoredTargets(self._data, kind, facts.encoder) for kind in available}
        self._clips = {
            kind: list(
                itertools.islice(
                    (
                        (shard, int(clip))
                        for shard in range(len(self._data.shards))
                        for clip in targets.usable(shard)
                    ),
                    n_clips,
                )
            )
            for kind, targets in self._targets.items()
        }

    @torch.no_grad()
    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        """Measure the tower. Returns metrics in [0, 1] by name."""
        assert isinstance(model, Contrast)
        device = model.log_scale.device
        found: dict[str, float] = {}
        for kind, targets in self._targets.items():
            audio, vectors = [], []
            batches = fixed_examples(
                self._data, self._clips[kind], targets, self._front_end, BATCH_SIZE
            )
            for features, stored in batches:
                audio.append(embed_unit(model.tower(features.to(device))).cpu())
                vectors.append(embed_unit(stored))
            found |= _both_ways(torch.cat(audio), torch.cat(vectors), f"valid_{kind}")
        return found


def _both_ways(audio: Tensor, vectors: Tensor, name: str) -> dict[str, float]:
    scores = functional.linear(audio, vectors)  # (n, n)
    right = vectors @ vectors.T > SAME
    right.fill_diagonal_(True)
    found = {}
    for way, matrix in (("from_audio", scores), ("to_audio", scores.T)):
        ranks = best_ranks(matrix.numpy(), right.numpy())
        for k in KS:
            found[f"{name}_{way}_recall_at_{k}"] = recall_at_k(ranks, k)
    return found


def bench_check(name: str, place: Path) -> MakeCheck:
    """Read a benchmark for measurements during training.

    Args:
        name: One of `BENCHES`.
        place: Its folder or manifest.

    Raises:
        ConfigError: The name is unknown.
        DataSetError: The benchmark is missing or incomplete.
    """
    if name not in BENCHES:
        raise ConfigError(f"--bench: must be one of {', '.join(BENCHES)}, not {name!r}")
    data = BENCHES[name](place)
    require_whole(data, allow_missing=False)
    return lambda config, facts: BenchCheck(name, data, config, facts)


class BenchCheck:
    """A benchmark, with the audio tower as it is and the texts of the frozen CLIP model.

    Cosine similarity, and one embedding a clip, of the stretch at its centre. Numbers to publish
    come from the exported bundle and `soundsearch bench`. Names: `esc50_accuracy`,
    `clotho_text_to_audio_recall_at_10`; audio_to_text counts the best of a clip's captions.
    """

    def __init__(self, name: str, data: DataSet, config: StageConfig, facts: VectorsFacts) -> None:
        self._name, self._data, self._front_end = name, data, config.front_end
        if isinstance(data, ClassificationSet):
            texts = [PROMPT.format(label.replace("_", " ")) for label in data.classes]
        else:
            assert isinstance(data, RetrievalSet)
            texts = list(data.texts)
        clip = load_clip(ClipChoice(model=facts.model, pretrained=facts.pretrained))
        self._texts = embed_unit(torch.from_numpy(clip.embed_texts(texts)))

    @torch.no_grad()
    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        """Measure the tower. Returns metrics in [0, 1] by name. Raises TrainingError for a bad clip."""
        assert isinstance(model, Contrast)
        device = model.log_scale.device
        found = []
        for start in range(0, len(self._data.clips), BATCH_SIZE):
            paths = self._data.clips[start : start + BATCH_SIZE]
            features = torch.from_numpy(np.stack([self._features(path) for path in paths]))
            found.append(embed_unit(model.tower(features.to(device))).cpu())
        scores = (torch.cat(found) @ self._texts.T).numpy()  # (n_clips, n_texts)
        if isinstance(self._data, ClassificationSet):
            right = np.arange(scores.shape[1])[None, :] == self._data.target[:, None]
            return {f"{self._name}_accuracy": recall_at_k(best_ranks(scores, right), 1)}
        assert isinstance(self._data, RetrievalSet)
        right = self._data.owner[None, :] == np.arange(len(scores))[:, None]
        return {
            f"{self._name}_{way}_recall_at_{k}": recall_at_k(ranks, k)
            for way, ranks in (
                ("audio_to_text", best_ranks(scores, right)),
                ("text_to_audio", best_ranks(scores.T, right.T)),
            )
            for k in KS
        }

    def _features(self, path: Path) -> np.ndarray:
        try:
            sound = read_sound(path)
            return extract_features(sound.channels, sound.sample_rate, self._front_end, None)
        except AudioError as error:
            raise TrainingError(f"{path}: {error}") from error
