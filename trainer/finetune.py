"""Fine-tuning by fold: a run's audio tower and a linear classifier learn from all other folds.

run-folder/finetune.json              the settings
run-folder/fold-1/scores-0007.npy     scores of fold 1 after 7 passes over the others
run-folder/fold-1/log.jsonl           losses, and the fold's accuracy after each pass

Source: VIP-ANT, `cvap/module/decoder/loss_head.py`, ClassificationHead, `cvap/monitor/esc50_clf.py`.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from soundsearch.bench.datasets import ClassificationSet, require_whole
from soundsearch.bench.protocols import FINE_TUNING
from soundsearch.bench.results import BenchmarkResult, RunFacts
from soundsearch.choices import Optimiser, Precision
from soundsearch.config import read_json
from soundsearch.errors import ConfigError
from soundsearch.files import sha256_of, write_bytes, write_text
from soundsearch.progress import Progress, Silent
from trainer.checks import features_of
from trainer.epochs import epoch_ends, weights_path
from trainer.front_ends import FrontEnd
from trainer.loop import TrainingError, delete_checkpoint, one_pass, train
from trainer.runs import StageConfig, TrainedRun, differences, read_run, torch_device
from trainer.supervised import Array, Ints, result_by_fold, score_by_fold

SETTINGS = "finetune.json"
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
        if self.epochs < 1:
            raise ValueError(f"epochs must be 1 or more, not {self.epochs}")
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
    """A tower, layer normalisation and a linear layer; a learnt scale multiplies training's logits."""

    def __init__(self, tower: nn.Module, dim: int, n_classes: int) -> None:
        super().__init__()
        self.tower = tower
        self.norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, n_classes)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, n_mels, n_frames) -> logits (n, n_classes), without the scale."""
        logits: Tensor = self.linear(self.norm(self.tower(features)))
        return logits


def finetune(
    init: Path,
    data: ClassificationSet,
    folder: Path,
    config: FinetuneConfig | None = None,
    *,
    epoch: Literal["last", "best"] = "last",
    device: str = "auto",
    n_workers: int = 0,
    command: str = "",
    progress: Progress | None = None,
) -> BenchmarkResult:
    """Fine-tune once for every fold, or continue where that was interrupted.

    Args:
        init: The training run that each fold begins from.
        data: Has folds.
        folder: Gets the scores of every fold and epoch.
        config: What decides them.
        epoch: last; or best, the epoch with the best mean accuracy of the folds, as the authors
            report it: it is chosen on the clips that it is measured on.
        device: auto, cpu or cuda.
        n_workers: Processes that decode; 0 for none.
        command: As typed, for the result.
        progress: Is notified of every epoch.

    Raises:
        TrainingError: A clip cannot be read, or a batch is larger than the clips.
        ConfigError: The folder was begun with other settings.
        DataSetError: Clips are missing.
    """
    config, progress = config or FinetuneConfig(), progress or Silent()
    require_whole(data, allow_missing=False)
    weights = sha256_of(weights_path(init))[:16]
    _check_same(folder, {**asdict(config), "weights": weights, "data": data.name})
    assert data.fold is not None
    progress.begin("epochs of folds", config.epochs * np.unique(data.fold).size)
    device_ = torch_device(device)

    def train_fold(fold: int, others: Ints, own: Ints) -> Array:
        place = folder / f"fold-{fold}"
        if not _scores_path(place, config.epochs).exists():
            run = read_run(init)
            torch.manual_seed(config.seed)
            model = Classifier(run.tower, run.dim, len(data.classes)).to(device_)
            _train_fold(model, run, data, others, own, place, config, n_workers, progress)
        else:
            progress.advance(config.epochs)
        return _read_scores(place, config.epochs)

    scores = score_by_fold(data, train_fold)
    chosen = config.epochs
    if epoch == "best":
        chosen, scores = _best_epoch(folder, data, config.epochs)
    which = "the last" if epoch == "last" else "the best on the clips measured"
    facts = RunFacts(
        benchmark=data.name,
        split=data.split,
        model=init.resolve().name,
        model_version="",
        fingerprint=weights,
        prompt="",
        windows=f"one stretch at the centre, epoch {chosen} of {config.epochs}, {which}",
        n_listed=data.n_expected,
        command=command,
    )
    return result_by_fold(data, scores, FINE_TUNING, facts)


def _train_fold(
    model: Classifier,
    run: TrainedRun,
    data: ClassificationSet,
    others: Ints,
    own: Ints,
    folder: Path,
    config: FinetuneConfig,
    n_workers: int,
    progress: Progress,
) -> None:
    if len(others) < config.batch_size:
        raise TrainingError(
            f"{data.name}: {len(others)} clips to learn from, fewer than a batch of "
            f"{config.batch_size}; choose a smaller --batch-size"
        )
    loop = config.stage().loop(len(others))
    batches = _Batches(data, others, run.front_end, config)
    device = model.log_scale.device
    running: Iterator[tuple[Tensor, Tensor] | TrainingError] | None = None

    def loss_of(step: int) -> Mapping[str, Tensor]:
        nonlocal running
        if running is None:  # a run that goes on does not begin at 0
            running = iter(
                DataLoader(
                    batches,
                    batch_size=None,
                    sampler=range(step, loop.steps),
                    num_workers=n_workers,
                    generator=torch.Generator(),
                )
            )
        batch = next(running)
        if isinstance(batch, TrainingError):
            raise batch
        features, target = (part.to(device) for part in batch)
        torch.manual_seed(config.seed * 1_000_003 + step)  # of dropout
        loss = functional.cross_entropy(model.log_scale.exp() * model(features), target)
        return {"loss": loss}

    def measure(number: int, measured: nn.Module) -> Mapping[str, float]:
        scores = _classify(measured, data, own, run.front_end)
        _write_scores(folder, number, scores)
        progress.advance()
        right = scores.argmax(axis=1) == data.target[own]
        return {"epoch": number, "accuracy": float(right.mean())}

    ends = epoch_ends(config.epochs, len(others) / config.batch_size)
    checks = {step: partial(measure, number) for step, number in ends.items()}
    train(model, one_pass(loss_of), loop, folder, checks=checks)
    delete_checkpoint(folder)


class _Batches(Dataset["tuple[Tensor, Tensor] | TrainingError"]):
    """Features and classes of the clips of each step; they follow from seed and step alone."""

    def __init__(
        self, data: ClassificationSet, clips: Ints, front_end: FrontEnd, config: FinetuneConfig
    ) -> None:
        self._data, self._clips, self._front_end, self._config = data, clips, front_end, config
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, number: int) -> Ints:
        return np.random.default_rng((self._config.seed, 0, number)).permutation(self._clips)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor] | TrainingError:
        size, n = self._config.batch_size, len(self._clips)
        places = range(step * size, (step + 1) * size)
        clips = [int(self._order(place // n)[place % n]) for place in places]
        generator = np.random.default_rng((self._config.seed, 1, step))
        try:
            features = features_of([self._data.clips[i] for i in clips], self._front_end, generator)
        except TrainingError as error:
            return error  # one raised in a worker would be many lines
        return features, torch.from_numpy(self._data.target[clips])


def _classify(model: nn.Module, data: ClassificationSet, own: Ints, front_end: FrontEnd) -> Array:
    device = next(model.parameters()).device
    scores = []
    for start in range(0, len(own), AT_A_TIME):
        paths = [data.clips[i] for i in own[start : start + AT_A_TIME]]
        scores.append(model(features_of(paths, front_end).to(device)).float().cpu().numpy())
    return np.concatenate(scores)


def _best_epoch(folder: Path, data: ClassificationSet, n_epochs: int) -> tuple[int, Array]:
    """Return the epoch with the best mean accuracy of the folds, the earliest of equal ones."""
    assert data.fold is not None
    means, found = [], []
    for number in range(1, n_epochs + 1):
        scores = score_by_fold(data, partial(_stored, folder, number))
        right = scores.argmax(axis=1) == data.target
        means.append(np.mean([right[data.fold == fold].mean() for fold in np.unique(data.fold)]))
        found.append(scores)
    best = int(np.argmax(means))
    return best + 1, found[best]


def _stored(folder: Path, number: int, fold: int, others: Ints, own: Ints) -> Array:
    """The scores of a fold after an epoch: a `ScoreFold`."""
    return _read_scores(folder / f"fold-{fold}", number)


def _check_same(folder: Path, settings: Mapping[str, object]) -> None:
    """Write the settings, or refuse a folder with others. Raises ConfigError."""
    path = folder / SETTINGS
    if path.exists():
        if others := differences(read_json(path), settings):
            raise ConfigError(
                f"{folder}: begun with other settings ({'; '.join(others)}); "
                "continue with the old ones or begin in another folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(dict(settings), indent=2) + "\n")


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
