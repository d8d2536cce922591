"""Fine-tuning: a run's audio tower and a linear classifier learn from labels.

run-folder/finetune.json              the settings
run-folder/lost.json                  place of a clip that cannot be used -> why
run-folder/log-mels/                  of all clips, while it trains
run-folder/fold-1/scores-0007.npy     scores of fold 1 after 7 passes over the others
run-folder/fold-1/log.jsonl           losses, and the fold's score after each pass

In place of folds AudioSet has `eval`. Source: VIP-ANT, `cvap/module/decoder/loss_head.py`,
ClassificationHead and BCELossHead, `cvap/monitor/esc50_clf.py`, `audioset_clf.py`.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from soundsearch.bench.protocols import FINE_TUNING
from soundsearch.bench.results import BenchmarkResult
from soundsearch.choices import Optimiser, Precision
from soundsearch.config import read_json
from soundsearch.errors import ConfigError
from soundsearch.files import sha256_of, write_bytes, write_text
from soundsearch.progress import Progress, Silent
from trainer.clip_features import LOG_MELS, StoredClips
from trainer.data.read_ahead import read_ahead
from trainer.data.recently_used import RecentlyUsed
from trainer.epochs import epoch_ends, weights_path
from trainer.limits import must_be
from trainer.loop import TrainingError, delete_checkpoint, one_pass, train
from trainer.runs import StageConfig, differences, read_run, torch_device
from trainer.supervised import Array, Ints, Labelled, Part, facts_of, loss_of

SETTINGS, LOST = "finetune.json", "lost.json"
#: Clips that are classified at once.
AT_A_TIME = 32


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """What decides the scores; the defaults are the authors'.

    Attributes:
        epochs: Passes over the folds that are learnt from.
        warmup_epochs: Passes in which the learning rate rises.
        batch_size: Clips in a step.
        optimiser: lars or adamw.
        learning_rate: None for the optimiser's own, as in `StageConfig.loop`.
        precision: fp32, tf32, bf16 or fp16.
        seed: Of the head, the order, the crops and the masks.
    """

    epochs: int = 32
    warmup_epochs: int = 10
    batch_size: int = 50
    optimiser: Optimiser = "lars"
    learning_rate: float | None = None
    precision: Precision = "fp32"
    seed: int = 1213

    def __post_init__(self) -> None:
        must_be("1 or more", self.epochs >= 1, epochs=self.epochs)
        self.stage()  # checks the rest

    def stage(self) -> StageConfig:
        """The same settings as those of a stage, which makes those of the loop."""
        return StageConfig(
            stage="pivot",
            init="random",
            epochs=self.epochs,
            warmup_epochs=min(self.warmup_epochs, self.epochs),
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            learning_rate=self.learning_rate,
            precision=self.precision,
        )


class Classifier(nn.Module):
    """A tower, layer normalisation and a linear layer; a learnt scale multiplies training's logits.

    Where clips have any number of classes (`tags`), the linear layer has no bias, and the scale is 1.
    """

    def __init__(self, tower: nn.Module, dim: int, n_classes: int, *, tags: bool) -> None:
        super().__init__()
        self.tower = tower
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, n_classes, bias=not tags)
        scale = 0.0 if tags else math.log(1 / 0.07)
        self.log_scale = nn.Parameter(torch.tensor(scale), requires_grad=not tags)

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, n_mels, n_frames) -> logits (n, n_classes), without the scale."""
        logits: Tensor = self.linear(self.norm(self.tower(features)))
        return logits


def finetune(
    init: Path,
    data: Labelled,
    folder: Path,
    config: FinetuneConfig | None = None,
    *,
    epoch: Literal["last", "best"] = "last",
    allow_missing: bool = False,
    device: str = "auto",
    n_workers: int = 0,
    command: str = "",
    progress: Progress | None = None,
) -> BenchmarkResult:
    """Fine-tune once for every part of the data, or continue where that was interrupted.

    Args:
        init: The training run that each part begins from.
        data: The clips, and what each is classified by.
        folder: Gets the scores of every part and epoch.
        config: What decides them.
        epoch: last; or best, the epoch with the best mean of the parts, as the authors
            report it: it is chosen on the clips that it is measured on.
        allow_missing: Whether to measure what there is where clips are missing or unusable.
        device: auto, cpu or cuda.
        n_workers: Threads that decode at first, and processes that read; 0 for none.
        command: As typed, for the result.
        progress: Is notified of every clip and epoch.

    Raises:
        TrainingError: A batch is larger than the clips.
        ConfigError: The folder was begun with other settings, or with other clips.
        DataSetError: Clips are missing, or cannot be used.
    """
    config, progress = config or FinetuneConfig(), progress or Silent()
    data.require_whole(allow_missing)
    weights = sha256_of(weights_path(init))[:16]
    listed = {"data": data.name, "n_clips": len(data.clips)}
    _check_same(folder / SETTINGS, {**asdict(config), "weights": weights, **listed})
    data, features = _usable(data, init, folder, config.epochs, allow_missing, n_workers, progress)
    device_ = torch_device(device)
    progress.begin("epochs", config.epochs * len(data.parts))
    for part in data.parts:
        if features is None or _scores_path(folder / part.name, config.epochs).exists():
            progress.advance(config.epochs)
            continue
        run = read_run(init)
        torch.manual_seed(config.seed)
        tags = data.target.ndim == 2
        model = Classifier(run.tower, run.vectors.dim, len(data.classes), tags=tags).to(device_)
        _train_part(model, features, data, part, folder / part.name, config, n_workers, progress)
    if features is not None:
        features.delete()
    chosen = config.epochs if epoch == "last" else _best_epoch(folder, data, config.epochs)
    which = "the last" if epoch == "last" else "the best on the clips measured"
    windows = f"one stretch at the centre, epoch {chosen} of {config.epochs}, {which}"
    facts = facts_of(data, init.resolve().name, "", weights, windows, command)
    return data.result(_stored(folder, chosen, data), FINE_TUNING, facts)


def _usable(
    data: Labelled,
    init: Path,
    folder: Path,
    n_epochs: int,
    allow_missing: bool,
    n_workers: int,
    progress: Progress,
) -> tuple[Labelled, StoredClips | None]:
    """Return the clips that can be used, and their features; None where nothing is left to train."""
    done = all(_scores_path(folder / part.name, n_epochs).exists() for part in data.parts)
    if done and (folder / LOST).exists():
        lost = read_json(folder / LOST)
        return data.usable({int(i): why for i, why in lost.items()}, allow_missing), None
    front_end, logs = read_run(init).config.front_end, folder / LOG_MELS
    features = StoredClips(data.clips, front_end, logs, n_workers=n_workers, progress=progress)
    left = data.usable(features.lost, allow_missing)
    _check_same(folder / LOST, {str(i): why for i, why in features.lost.items()})
    return left, features


def _train_part(
    model: Classifier,
    stored: StoredClips,
    data: Labelled,
    part: Part,
    folder: Path,
    config: FinetuneConfig,
    n_workers: int,
    progress: Progress,
) -> None:
    others, own, device = part.others, part.own, model.log_scale.device
    if len(others) < config.batch_size:
        raise TrainingError(
            f"{data.name}: {len(others)} clips to learn from, fewer than a batch of "
            f"{config.batch_size}; choose a smaller --batch-size"
        )
    loop = config.stage().loop(len(others))
    batches = _Batches(data, others, stored, config)
    running: Generator[tuple[Tensor, Tensor]] | None = None

    def step_loss(step: int) -> Mapping[str, Tensor]:
        nonlocal running
        if running is None:  # a run that goes on does not begin at 0
            running = read_ahead(batches.draw, range(step, loop.steps), n_workers)
            stack.enter_context(closing(running))
        features, target = (part.to(device) for part in next(running))
        torch.manual_seed(config.seed * 1_000_003 + step)  # of dropout
        return {"loss": loss_of(model.log_scale.exp() * model(features), target)}

    def classify(measured: nn.Module) -> Array:
        scores = []
        for start in range(0, len(own), AT_A_TIME):
            paths = [data.clips[i] for i in own[start : start + AT_A_TIME]]
            scores.append(measured(stored(paths).to(device)).float().cpu().numpy())
        return np.concatenate(scores)

    def measure(number: int, measured: nn.Module) -> Mapping[str, float]:
        scores = classify(measured)
        _write_scores(folder, number, scores)
        progress.advance()
        return {"epoch": number, data.measure: data.score(scores, own)}

    ends = epoch_ends(config.epochs, len(others) / config.batch_size)
    checks = {step: partial(measure, number) for step, number in ends.items()}
    with ExitStack() as stack:
        train(model, one_pass(step_loss), loop, folder, checks=checks)
    delete_checkpoint(folder)


class _Batches:
    """Features and classes of the clips of each step; they follow from seed and step alone."""

    def __init__(
        self, data: Labelled, clips: Ints, stored: StoredClips, config: FinetuneConfig
    ) -> None:
        self._paths, self._target = data.clips, torch.from_numpy(data.target)
        self._clips, self._stored, self._config = clips, stored, config
        self._order = RecentlyUsed(self._shuffled, 2)

    def _shuffled(self, number: int) -> Ints:
        return np.random.default_rng((self._config.seed, 0, number)).permutation(self._clips)

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Features (n, n_mels, n_frames) and classes (n, ...). Raises TrainingError."""
        size, n = self._config.batch_size, len(self._clips)
        places = range(step * size, (step + 1) * size)
        clips = [int(self._order(place // n)[place % n]) for place in places]
        generator = np.random.default_rng((self._config.seed, 1, step))
        features = self._stored([self._paths[i] for i in clips], generator)
        return features, self._target[clips]


def _best_epoch(folder: Path, data: Labelled, n_epochs: int) -> int:
    """Return the epoch with the best mean score of the parts, the earliest of equal ones."""
    means = []
    for number in range(1, n_epochs + 1):
        scores = _stored(folder, number, data)
        means.append(np.mean([data.score(scores[part.own], part.own) for part in data.parts]))
    return int(np.argmax(means)) + 1


def _stored(folder: Path, number: int, data: Labelled) -> Array:
    """The scores (n_measured, n_classes) after an epoch."""
    found = np.zeros((len(data.measured.clips), len(data.classes)), np.float32)
    for part in data.parts:
        found[part.own] = _read_scores(folder / part.name, number)
    return found


def _check_same(path: Path, facts: Mapping[str, object]) -> None:
    """Write facts of a run into a file, or refuse a folder with others. Raises ConfigError."""
    if path.exists():
        if others := differences(read_json(path), facts):
            raise ConfigError(
                f"{path}: begun otherwise ({'; '.join(others)}); "
                "continue as before or begin in another folder"
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(dict(facts), indent=2) + "\n")


def _scores_path(folder: Path, epoch: int) -> Path:
    return folder / f"scores-{epoch:04d}.npy"


def _write_scores(folder: Path, epoch: int, scores: Array) -> None:
    buffer = io.BytesIO()
    np.save(buffer, scores)
    write_bytes(_scores_path(folder, epoch), buffer.getvalue())


def _read_scores(folder: Path, epoch: int) -> Array:
    path = _scores_path(folder, epoch)
    try:
        scores: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path}: cannot be read ({error}); delete {folder} and train that fold again"
        ) from error
    return scores
