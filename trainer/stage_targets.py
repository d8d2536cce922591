"""What the sounds of a stage are drawn to: images, or texts of a strategy.

The strategy decides the texts of an example in the captions stage: its gold captions, one or all of
its labels, captions found by its images in a pool (`trainer/curate.py`), or, as a control, captions
of another example. n_clips or fraction make it the few-shot setting; `trainer/caption_scaling.py` measures
the scaling curve.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from soundsearch.errors import ConfigError
from trainer.curate import CuratedCaptions, CurateError, curated_path, fingerprint, read_pool
from trainer.data.order import Numbers
from trainer.data.recently_used import RecentlyUsed
from trainer.data.shard_folder import ShardFolder
from trainer.data.stored_targets import OPEN_SHARDS, StoredTargets, Targets
from trainer.data.vectors import Kind
from trainer.runs import StageConfig

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


def kind_of(config: StageConfig) -> Kind:
    """Return the kind of side files whose vectors decide the encoder of a stage.

    A pool is found by images, so its kind is images. Raises ConfigError for an unknown strategy, or
    one that cannot be mixed.
    """
    texts = config.texts
    if texts is None:
        return "images"
    of_pool = texts.startswith(CURATED) and texts != CURATED
    if texts not in STRATEGIES and not of_pool:
        known = ", ".join((*STRATEGIES, f"{CURATED}POOL"))
        raise ConfigError(f"texts must be one of {known}, not {texts!r}")
    if config.changes.mix and texts not in MIXED:
        raise ConfigError(
            f"mix composes the texts of mixtures of {' or '.join(MIXED)}, not of {texts}; leave it out"
        )
    return "images" if of_pool else STRATEGIES[texts]


def targets_of(data: ShardFolder, config: StageConfig, encoder: str) -> Targets:
    """Return the targets of a stage by an encoder. Raises ConfigError as `kind_of`."""
    kind, texts = kind_of(config), config.texts or ""
    own: Targets
    if texts.startswith(CURATED):
        own = CuratedTargets(data, texts.removeprefix(CURATED), encoder)
    else:
        own = StoredTargets(data, kind, encoder)
    if texts == "random":
        own = RandomTargets(own, len(data.shards))
    if config.contrast.three_way:
        own = PairedTargets(StoredTargets(data, "images", encoder), own)
    return own


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

    def __init__(self, own: Targets, n_shards: int) -> None:
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
