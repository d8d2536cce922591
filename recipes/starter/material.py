"""Stage: recordings and mixtures of them to what the audio tower learns from.

The blocks of the tower stay as they are published, so what its head sees is computed once: of
windows of every recording, and of mixtures whose sound was changed as another microphone, place or
file might have it. Beside it stand the logits of the published network, which labels them all.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recipes.starter.decoded import Waveforms
from recipes.starter.manifests import Recording, draw_weights
from soundsearch.audio.features import compute_features
from soundsearch.files import write_text
from trainer.augmentation import WaveformConfig, change_recording, change_window
from trainer.data.read_ahead import read_in_threads
from trainer.front_ends import FrontEnd
from trainer.mixtures import MOST, Kind, MixtureConfig, arrange
from trainer.onnx_export import fold_batch_norms
from trainer.towers.mobilenet import MobileNetTower

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]

MEMBERS, KINDS, POOLED, LOGITS = "members.i32", "kinds.i8", "pooled.f16", "logits.f16"
FACTS = "material.json"
#: Windows that enter the network together.
BATCH_SIZE = 32
#: Batches between two lines of progress.
BATCHES_A_LINE = 100


@dataclass(frozen=True, kw_only=True)
class MaterialConfig:
    """What is made of the recordings.

    Attributes:
        most_windows: Of one recording, evenly spread.
        n_mixtures: How many there are, single recordings with a changed sound among them.
        single_share: Share of those.
        caption_power, source_power: By which recordings are drawn for them, see `draw_weights`.
        mixtures: How several recordings are laid into one window.
        waveform: How strongly sounds are changed.
        seed: Of all mixtures.
    """

    most_windows: int = 20
    n_mixtures: int = 50_000
    single_share: float = 0.4
    caption_power: float = -0.5
    source_power: float = -0.3
    mixtures: MixtureConfig = field(default_factory=MixtureConfig)
    waveform: WaveformConfig = field(default_factory=WaveformConfig)
    seed: int = 0


class Material:
    """Windows of recordings, then mixtures; n is the number of both.

    Attributes:
        members: (n, MOST) int32 numbers of the recordings that sound, -1 where there are fewer.
        kinds: (n,) int8, see `Kind`.
        pooled: (n, width) float16, what the head sees.
        logits: (n, n_classes) float16, of the published network.
        n_windows: How many are windows of recordings as they are.
    """

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        self.members = np.fromfile(folder / MEMBERS, np.int32).reshape(-1, MOST)
        self.kinds = np.fromfile(folder / KINDS, np.int8)
        n = len(self.kinds)
        self.pooled = np.fromfile(folder / POOLED, np.float16).reshape(n, -1)
        self.logits = np.fromfile(folder / LOGITS, np.float16).reshape(n, -1)
        self.n_windows: int = facts["n_windows"]

    def __len__(self) -> int:
        return len(self.kinds)


def make_material(
    folder: Path,
    recordings: Sequence[Recording],
    waveforms: Waveforms,
    network: MobileNetTower,
    front_end: FrontEnd,
    config: MaterialConfig,
    n_workers: int = 2,
) -> Material:
    """Compute what the network and its classifier give for windows and mixtures.

    Mixture i depends on the seed and i alone, and rows that the folder holds already are kept.

    Args:
        folder: Of the stage.
        recordings: Of both splits; mixtures are made of the training split's, those with a caption.
        waveforms: Theirs.
        network: With the published weights and its classifier.
        front_end: Of the tower: windows and features.
        config: What is made.
        n_workers: Threads that make waveforms and features.
    """
    audio, features = front_end.audio, front_end.features
    assert audio.sample_rate is not None
    rate, hop = audio.sample_rate, audio.hop_s or audio.window_s
    size = round(audio.window_s * rate)
    maker = _Maker(recordings, waveforms, rate, size, round(hop * rate), config)
    windows, chances = maker.windows(), maker.chances()
    n = len(windows) + config.n_mixtures
    answer = Answers(network)
    widths = answer(np.zeros((1, features.n_mels, features.n_frames), np.float32))

    def made(start: int) -> list[tuple[list[int], Kind, Array]]:
        rows = []
        for i in range(start, min(start + BATCH_SIZE, n)):
            beyond = i - len(windows)
            found = maker.mixture(beyond, chances) if beyond >= 0 else maker.window(windows[i])
            members, kind, waveform = found
            rows.append((members, kind, compute_features(waveform, rate, features)))
        return rows

    bytes_a_row = {
        MEMBERS: 4 * MOST,
        KINDS: 1,
        **{name: 2 * values.shape[1] for name, values in widths.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    n_done = _cut_to_whole_batches(folder, bytes_a_row)
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(folder / name, "ab")) for name in bytes_a_row}
        pool = stack.enter_context(ThreadPoolExecutor(n_workers))
        starts = range(n_done, n, BATCH_SIZE)
        batches = read_in_threads(pool, made, starts, 2 * n_workers)
        for n_before, rows in zip(starts, batches, strict=True):
            for members, kind, _ in rows:
                files[MEMBERS].write(np.array((members + [-1] * MOST)[:MOST], "<i4").tobytes())
                files[KINDS].write(np.int8(kind).tobytes())
            for name, values in answer(np.stack([one for _, _, one in rows])).items():
                files[name].write(values.astype("<f2").tobytes())
            if n_before // BATCH_SIZE % BATCHES_A_LINE == 0:
                logger.info("%d of %d windows and mixtures", n_before, n)
    write_text(folder / FACTS, json.dumps({"n_windows": len(windows)}))
    return Material(folder)


class Answers:
    """What the published network gives for features, by the file that it is stored in."""

    def __init__(self, network: MobileNetTower) -> None:
        folded = fold_batch_norms(network)
        assert isinstance(folded, MobileNetTower)
        self._network = folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, features: Array) -> dict[str, Array]:
        """Features (n, n_mels, n_frames) -> (n, width) of each file."""
        pooled = self._network.pool(torch.from_numpy(features))
        return {POOLED: pooled.numpy(), LOGITS: self._network.classify(pooled).numpy()}


def _cut_to_whole_batches(folder: Path, bytes_a_row: Mapping[str, int]) -> int:
    """Return how many rows every file has in whole batches; what lies beyond them is cut off."""
    paths = {folder / name: size for name, size in bytes_a_row.items()}
    for path in paths:
        path.touch()
    n_rows = min(path.stat().st_size // size for path, size in paths.items())
    n_rows -= n_rows % BATCH_SIZE
    for path, size in paths.items():
        os.truncate(path, n_rows * size)
    return n_rows


@dataclass(frozen=True)
class _Maker:
    """Makes what sounds in row i of the material: first windows of recordings, then mixtures."""

    recordings: Sequence[Recording]
    waveforms: Waveforms
    rate: int
    size: int
    hop: int
    config: MaterialConfig

    def windows(self) -> list[tuple[int, int]]:
        """Number of a recording and first sample, of every window that is taken as it is."""
        found = []
        for i in range(len(self.recordings)):
            last = self.waveforms.n_samples(i) - self.size
            starts = [*range(0, last, self.hop), last] if last > 0 else [0]
            if len(starts) > self.config.most_windows:
                places = np.linspace(0, len(starts) - 1, self.config.most_windows)
                starts = [starts[place] for place in places.round().astype(int)]
            if self.waveforms.n_samples(i):
                found += [(i, start) for start in starts]
        return found

    def chances(self) -> NDArray[np.float64]:
        """Running sum of the recordings' shares in mixtures."""
        weights = draw_weights(self.recordings, self.config.caption_power, self.config.source_power)
        usable = [
            one.split == "train" and bool(one.caption) and self.waveforms.n_samples(i) > 0
            for i, one in enumerate(self.recordings)
        ]
        total = np.cumsum(weights * usable)
        shares: NDArray[np.float64] = total / total[-1]
        return shares

    def window(self, place: tuple[int, int]) -> tuple[list[int], Kind, Array]:
        i, start = place
        waveform = self.waveforms[i][start : start + self.size]
        return [i], Kind.SINGLE, np.resize(waveform, self.size)

    def mixture(self, i: int, chances: NDArray[np.float64]) -> tuple[list[int], Kind, Array]:
        config = self.config
        rng = np.random.default_rng([config.seed, i])
        kind, n = config.mixtures.draw(rng)
        if rng.random() < config.single_share:
            kind, n = Kind.SINGLE, 1
        members = np.searchsorted(chances, rng.random(n), side="right").tolist()
        sounds = [
            change_recording(self.waveforms[one], self.rate, self.size, rng, config.waveform)
            for one in members
        ]
        mixed = arrange(sounds, kind, self.rate, self.size, rng, config.mixtures)
        return members, kind, change_window(mixed, self.rate, rng, config.waveform)
