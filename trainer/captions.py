"""Stage 2, captions: sounds against texts, few or many, embedded by the frozen CLIP model.

The strategy decides the texts of an example: its gold captions, one or all of its labels, captions
found by its images in a pool (`trainer/curate.py`), or, as a control, captions of another example.
n_clips or fraction make it the few-shot setting; `trainer/scaling.py` measures the scaling curve.

Source: VIP-ANT ("AT"), `cvap/monitor/cvalp.py`. The logit scale is initialised again, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsearch.errors import ConfigError
from soundsearch.progress import Progress
from trainer.checks import MakeCheck
from trainer.curate import CuratedCaptions, CurateError, curated_path, fingerprint, read_pool
from trainer.data.order import Numbers
from trainer.data.recently_used import RecentlyUsed
from trainer.data.shards import ShardFolder, ShardPaths
from trainer.data.targets import OPEN_SHARDS, StoredTargets, Targets
from trainer.data.vectors import Kind
from trainer.presets import preset
from trainer.runs import StageConfig
from trainer.stage import Machine, Watch, run_stage

Array = NDArray[np.float32]

#: Strategy -> kind of the side files with its vectors: a caption of the example, one of its labels
#: ("the sound of ..."), all its labels in one text, or a caption of another example.
STRATEGIES: dict[str, Kind] = {
    "gold": "captions",
    "label": "labels",
    "labels": "labels-joined",
    "random": "captions",
}
#: Strategies whose texts can be composed for a mixture.
MIXED = ("gold", "label")
#: Prefix of the name of a pool: captions found by the images of the example.
CURATED = "curated:"

#: The preset paper-at, but the cosine ends at the last epoch, rates follow the batch, and
#: precision is the machine's.
#: Replace `init` by the run folder of a pivot stage.
DEFAULT = replace(
    preset("paper-at"),
    schedule_epochs=None,
    learning_rate=None,
    flat_learning_rate=None,
    precision=StageConfig.precision,
)


def train_captions(
    shards: ShardPaths,
    folder: Path,
    config: StageConfig,
    machine: Machine | None = None,
    *,
    checks: Sequence[MakeCheck] = (),
    watch: Watch | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train on shards with stored text vectors, and return the run folder. See `run_stage`.

    Raises ConfigError for an unknown strategy, or one that cannot be mixed, before any data is read.
    """
    texts = config.texts or ""
    kind = kind_of(texts)
    if config.changes.mix and texts not in MIXED:
        raise ConfigError(
            f"mix composes the texts of mixtures of {' or '.join(MIXED)}, not of {texts}; leave it out"
        )

    def targets_of(data: ShardFolder, encoder: str) -> Targets:
        targets = caption_targets(data, texts, encoder)
        if not config.contrast.three_way:
            return targets
        return PairedTargets(StoredTargets(data, "images", encoder), targets)

    return run_stage(
        shards,
        folder,
        config,
        kind,
        targets_of,
        machine,
        checks=checks,
        watch=watch,
        progress=progress,
    )


def caption_targets(data: ShardFolder, texts: str, encoder: str) -> Targets:
    """Return the targets of a strategy. Raises ConfigError for an unknown one."""
    kind = kind_of(texts)
    if texts.startswith(CURATED):
        return CuratedTargets(data, texts.removeprefix(CURATED), encoder)
    own = StoredTargets(data, kind, encoder)
    return RandomTargets(own, len(data.shards)) if texts == "random" else own


def kind_of(texts: str) -> Kind:
    """Return the kind of side files whose vectors decide the encoder of a strategy.

    A pool is found by images, so its kind is images. Raises ConfigError for an unknown strategy.
    """
    if texts.startswith(CURATED) and texts != CURATED:
        return "images"
    if texts not in STRATEGIES:
        known = ", ".join((*STRATEGIES, f"{CURATED}POOL"))
        raise ConfigError(f"texts must be one of {known}, not {texts!r}")
    return STRATEGIES[texts]


class PairedTargets:
    """An image's and a text's vector of an example, one after the other, for the three-way loss."""

    def __init__(self, images: Targets, texts: Targets) -> None:
        self._both = images, texts
        self.dim = images.dim + texts.dim

    def usable(self, shard: int) -> Numbers:
        """See `Targets`."""
        images, texts = self._both
        return np.intersect1d(images.usable(shard), texts.usable(shard))

    def draw(self, shard: int, example: int, generator: np.random.Generator | None) -> Array:
        """See `Targets`."""
        return np.concatenate([each.draw(shard, example, generator) for each in self._both])


class RandomTargets:
    """The control: a text of another example, drawn again at each use, uniformly over examples."""

    def __init__(self, own: StoredTargets, n_shards: int) -> None:
        self._own, self.dim = own, own.dim
        self._clips = [own.usable(shard) for shard in range(n_shards)]
        self._ends = np.cumsum([len(clips) for clips in self._clips])
        if self._ends[-1] < 2:
            raise ValueError("random texts need two examples or more")

    def usable(self, shard: int) -> Numbers:
        """See `Targets`."""
        return self._clips[shard]

    def draw(self, shard: int, example: int, generator: np.random.Generator | None) -> Array:
        """See `Targets`; without a generator, in evaluation, the example's own text."""
        if generator is None:
            return self._own.draw(shard, example, None)
        while True:
            number = int(generator.integers(self._ends[-1]))
            other = int(np.searchsorted(self._ends, number, side="right"))
            first = int(self._ends[other - 1]) if other else 0
            chosen = int(self._clips[other][number - first])
            if (other, chosen) != (shard, example):
                return self._own.draw(other, chosen, generator)


class CuratedTargets:
    """Captions found for an example by its images (`trainer/curate.py`)."""

    def __init__(self, folder: ShardFolder, pool: str, encoder: str) -> None:
        self._folder, self._pool = folder, pool
        captions, self._vectors = read_pool(folder.folder, pool, encoder)
        self._fingerprint = fingerprint(captions)
        self.dim = self._vectors.shape[1]
        self._open = RecentlyUsed(self._open_shard, OPEN_SHARDS)

    def _open_shard(self, shard: int) -> CuratedCaptions:
        path = curated_path(self._folder.shards[shard], self._pool)
        chosen = CuratedCaptions(path, self._folder.digest(shard))
        if chosen.pool != self._fingerprint:
            raise CurateError(
                f"{path}: made from another pool than {self._pool}.pool.txt is now; "
                "run `soundsearch train curate` again"
            )
        return chosen

    def usable(self, shard: int) -> Numbers:
        """See `Targets`."""
        return np.flatnonzero(np.diff(self._open_shard(shard).first))

    def draw(self, shard: int, example: int, generator: np.random.Generator | None) -> Array:
        """See `Targets`; the fixed one is the caption most similar to an image of the example."""
        ids = self._open(shard).of(example)
        chosen: Array = self._vectors[ids[generator.integers(len(ids)) if generator else 0]]
        return chosen
