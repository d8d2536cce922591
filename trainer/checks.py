"""Measurements during training: on held-out shards, and on benchmarks.

The processes share the clips and measure at the same time, so that none waits long for another.
"""

from __future__ import annotations

import functools
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
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
from trainer.data.log_mels import whole_log_mels
from trainer.data.read_ahead import read_ahead
from trainer.data.shard_folder import ShardFolder
from trainer.data.sound_files import read_sound
from trainer.data.stored_targets import StoredTargets
from trainer.data.stream import fixed_features
from trainer.data.vectors import Kind, VectorsFacts, encoders_of
from trainer.front_ends import FrontEnd, extract_features
from trainer.loop import TrainingError
from trainer.runs import StageConfig
from trainer.torchrun import World
from trainer.towers.clip_model import ClipChoice, load_clip
from trainer.towers.unit import embed_unit

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


class ClipCheck(ABC):
    """A measurement of the tower on clips that do not change.

    Every process embeds its share of the batches, of the same size but for one batch; the main one
    gets all embeddings and computes the metrics.
    """

    def __init__(self, world: World, n_workers: int) -> None:
        """Take the processes that measure together, and the workers of each one that read."""
        self._world, self._n_workers = world, n_workers

    @property
    @abstractmethod
    def n_clips(self) -> int:
        """How many clips are embedded."""

    @abstractmethod
    def _read(self, start: int, stop: int) -> Tensor:
        """Return the features (n, n_mels, n_frames) of clips. Raises SoundsearchError."""

    @abstractmethod
    def _metrics(self, audio: Tensor) -> dict[str, float]:
        """Return metrics in [0, 1] by name, of unit embeddings (n_clips, dim)."""

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> Mapping[str, float]:
        """Measure a `Contrast`; all processes must call it.

        Returns:
            The metrics by name; none in other processes than the main one.

        Raises:
            SoundsearchError: A clip cannot be read.
        """
        assert isinstance(model, Contrast)
        device = model.log_scale.device
        starts = range(0, self.n_clips, BATCH_SIZE)
        own = starts[self._world.rank :: self._world.size]
        with closing(read_ahead(self._batch, own, self._n_workers)) as batches:
            embedded = [embed_unit(model.tower(one.to(device))).cpu() for one in batches]
        parts = self._world.collect(embedded)
        if not self._world.is_main:
            return {}
        size = self._world.size
        return self._metrics(torch.cat([parts[i % size][i // size] for i in range(len(starts))]))

    def _batch(self, start: int) -> Tensor:
        return self._read(start, min(start + BATCH_SIZE, self.n_clips))


#: Makes a measurement, once the settings of the run and the encoder of its vectors are known; world and
#: n_workers are those of `ClipCheck`.
MakeCheck = Callable[..., ClipCheck]


class ShardCheck(ClipCheck):
    """Recall at 1 and 10 between the sounds of held-out examples and their images and captions.

    Measured for each kind of vectors that the folder has by the encoder of the run, so that the
    pivot stage also measures captions, which it does not train on. Equal vectors count as equally
    right. `valid_images_from_audio_recall_at_1` is the recall of images with sounds as queries.
    """

    def __init__(
        self,
        shards: Path,
        config: StageConfig,
        facts: VectorsFacts,
        *,
        n_clips: int,
        world: World = World(),  # noqa: B008
        n_workers: int = 0,
    ) -> None:
        super().__init__(world, n_workers)
        self._data, self._front_end = ShardFolder(shards), config.front_end
        self._log_mels = whole_log_mels(self._data, config.front_end)
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
        self._all = sorted({place for places in self._clips.values() for place in places})

    @property
    def n_clips(self) -> int:
        """See `ClipCheck`."""
        return len(self._all)

    def _read(self, start: int, stop: int) -> Tensor:
        places = self._all[start:stop]
        return fixed_features(self._data, places, self._front_end, self._log_mels)

    def _metrics(self, audio: Tensor) -> dict[str, float]:
        number = {place: i for i, place in enumerate(self._all)}
        found: dict[str, float] = {}
        for kind, places in self._clips.items():
            targets = self._targets[kind]
            vectors = torch.from_numpy(np.stack([targets.draw(*place, None) for place in places]))
            own = audio[[number[place] for place in places]]
            found |= _both_ways(own, embed_unit(vectors), f"valid_{kind}")
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


def bench_check(name: str, place: Path) -> functools.partial[BenchCheck]:
    """Read a benchmark for measurements during training, and return a `MakeCheck`.

    Args:
        name: One of `BENCHES`.
        place: Its folder or manifest.

    Raises:
        ConfigError: The name is unknown.
        DataSetError: The benchmark is missing or incomplete.
    """
    if name not in BENCHES:
        raise ConfigError(f"the benchmark must be one of {', '.join(BENCHES)}, not {name!r}")
    data = BENCHES[name](place)
    require_whole(data, allow_missing=False)
    return functools.partial(BenchCheck, name, data)


def features_of(
    paths: Sequence[Path], front_end: FrontEnd, generator: np.random.Generator | None = None
) -> Tensor:
    """Compute the features of recordings, (n, n_mels, n_frames), as `extract_features`.

    Raises TrainingError naming the one that cannot be read.
    """
    rows = []
    for path in paths:
        try:
            sound = read_sound(path)
            rows.append(extract_features(sound.channels, sound.sample_rate, front_end, generator))
        except AudioError as error:
            raise TrainingError(f"{path}: {error}") from error
    return torch.from_numpy(np.stack(rows))


class BenchCheck(ClipCheck):
    """A benchmark, with the audio tower as it is and the texts of the frozen CLIP model.

    Cosine similarity, and one embedding a clip, of the stretch at its centre. Numbers to publish
    come from the exported bundle and `soundsearch bench`. Names: `esc50_accuracy`,
    `clotho_text_to_audio_recall_at_10`; audio_to_text counts the best of a clip's captions.
    features: Those of recordings, (n, n_mels, n_frames); may be replaced by stored ones.
    """

    def __init__(
        self,
        name: str,
        data: DataSet,
        config: StageConfig,
        facts: VectorsFacts,
        *,
        world: World = World(),  # noqa: B008
        n_workers: int = 0,
    ) -> None:
        super().__init__(world, n_workers)
        self._name, self._data = name, data
        self.features: Callable[[Sequence[Path]], Tensor] = functools.partial(
            features_of, front_end=config.front_end
        )
        if isinstance(data, ClassificationSet):
            texts = [PROMPT.format(label.replace("_", " ")) for label in data.classes]
        else:
            assert isinstance(data, RetrievalSet)
            texts = list(data.texts)
        clip_model = load_clip(ClipChoice(model=facts.model, pretrained=facts.pretrained))
        self._texts = embed_unit(torch.from_numpy(clip_model.embed_texts(texts)))

    @property
    def clips(self) -> Sequence[Path]:
        """The recordings that are measured."""
        return self._data.clips

    @property
    def n_clips(self) -> int:
        """See `ClipCheck`."""
        return len(self._data.clips)

    @property
    def primary_metric(self) -> str:
        """Name of the metric that epochs are compared by."""
        if isinstance(self._data, ClassificationSet):
            return f"{self._name}_accuracy"
        return f"{self._name}_text_to_audio_recall_at_10"

    def _read(self, start: int, stop: int) -> Tensor:
        return self.features(self._data.clips[start:stop])

    def _metrics(self, audio: Tensor) -> dict[str, float]:
        scores = (audio @ self._texts.T).numpy()  # (n_clips, n_texts)
        if isinstance(self._data, ClassificationSet):
            right = np.arange(scores.shape[1])[None, :] == self._data.target[:, None]
            return {self.primary_metric: recall_at_k(best_ranks(scores, right), 1)}
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
