"""How much of everything, and how the stages are set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from examples.pivot_world import world
from soundsearch.audio.features import KaldiFbank
from soundsearch.audio.windows import AudioConfig
from trainer.front_ends import FrontEnd
from trainer.presets import preset
from trainer.runs import StageConfig
from trainer.towers.compact import AudioTowerConfig

FRONT_END = FrontEnd(
    name="miniature",
    audio=AudioConfig(
        sample_rate=world.SAMPLE_RATE, window_s=world.CLIP_S, hop_s=0.5, short="repeat"
    ),
    features=KaldiFbank(n_mels=64, n_frames=98, f_min=60.0, mean=-4.6, std=3.4),
    frequency_mask=6,
    time_mask=6,
)
TOWER = AudioTowerConfig(widths=(24, 48, 96), depths=(1, 1, 1), patch=(4, 6), pooled=192, dim=64)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything.

    clip_steps: of the small CLIP. n_clips, n_frames: sounds for training, and pictures of each.
    n_test: sounds of each held-out combination. epochs: of the pivot stage and of captions from
    nothing. counts: captions that are added. alone: those that are learnt without a pivot.
    """

    clip_steps: int = 600
    clip_batch: int = 192
    n_clips: int = 5000
    n_frames: int = 3
    n_test: int = 4
    n_test_captions: int = 2
    epochs: float = 8.0
    batch_size: int = 128
    counts: tuple[int, ...] = (10, 30, 100, 300, 1000)
    alone: tuple[int, ...] = (100, 1000)


def pivot_config(size: Size, seed: int) -> StageConfig:
    """The paper's pivot stage (preset paper-va) in miniature: all that deviates from it."""
    paper = preset("paper-va")
    return dataclasses.replace(
        paper,
        # A small tower for short clips, trained from nothing.
        front_end=FRONT_END,
        tower="compact",
        compact=TOWER,
        init="random",
        # Few clips, a few minutes on a processor.
        batch_size=size.batch_size,
        epochs=size.epochs,
        warmup_epochs=1.0,
        schedule_epochs=None,
        precision="fp32",
        # AdamW in place of LARS, with rates of its own, and a bounded logit scale.
        optimiser="adamw",
        learning_rate=2e-3,
        flat_learning_rate=None,
        weight_decay=0.05,
        clip_norm=1.0,
        contrast=dataclasses.replace(paper.contrast, largest_logit_scale=100.0),
        seed=seed,
    )


def alone_config(size: Size, seed: int, n: int) -> StageConfig:
    """The captions stage with n captions from nothing, with the rate and the steps of the pivot."""
    return _adamw(seed, n, "random", rate=2e-3, steps=size.n_clips * size.epochs / size.batch_size)


#: Settings of the captions stage: of the seed, the captions and the run that it begins from.
Captions = Callable[[int, int, str], StageConfig]


def lars(epochs: float) -> Captions:
    """The paper's setting (preset paper-at), for so many epochs of which ten are warm-up."""

    def config(seed: int, n: int, init: str) -> StageConfig:
        return dataclasses.replace(
            preset("paper-at"),
            front_end=FRONT_END,
            tower="compact",
            compact=TOWER,
            init=init,
            n_clips=n,
            batch_size=min(64, n),
            learning_rate=None,  # both follow the batch, as in the paper
            flat_learning_rate=None,
            epochs=epochs,
            precision="fp32",
            seed=seed,
        )

    return config


def adamw(rate: float, steps: int) -> Captions:
    """AdamW with a rate, for so many steps of at most 128 captions."""
    return lambda seed, n, init: _adamw(seed, n, init, rate=rate, steps=steps)


#: What is tried for the captions stage after the pivot (`choice.py`).
CANDIDATES: dict[str, Captions] = {
    **{f"LARS, {epochs} epochs": lars(epochs) for epochs in (10, 30, 100)},
    "AdamW 1e-4, 60 steps": adamw(1e-4, 60),
    "AdamW 5e-4, 120 steps": adamw(5e-4, 120),
}

#: What was chosen of them: see README.md.
AFTER_PIVOT = CANDIDATES["LARS, 30 epochs"]


def _adamw(seed: int, n: int, init: str, *, rate: float, steps: float) -> StageConfig:
    batch = min(128, n)
    begun = pivot_config(Size(), seed)
    return dataclasses.replace(
        begun,
        stage="captions",
        texts="gold",
        init=init,
        n_clips=n,
        batch_size=batch,
        epochs=steps * batch / n,
        warmup_epochs=0.1 * steps * batch / n,
        learning_rate=rate,
        contrast=dataclasses.replace(begun.contrast, duplicates="ignored"),
    )
