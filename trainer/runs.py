"""Run folders: the result of a stage of training, for the next stage and for export.

config.json             every setting, and the identity of the data
log.jsonl               losses and checks, one JSON object a line
checkpoint.safetensors  during the run: the state from which it continues
weights.safetensors     after the run: `tower.*` and `log_scale`
epochs/, picked.json    weights by epoch, and the epoch that stands for the run (`trainer/epochs.py`)
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from soundsearch.choices import Optimiser, Precision, Tower
from soundsearch.config import changed, fill, read_json
from soundsearch.errors import ConfigError
from soundsearch.files import write_text
from trainer.contrast import Contrast, ContrastConfig
from trainer.data.changes import ChangesConfig
from trainer.data.vectors import VectorsFacts
from trainer.epochs import Picked, read_picked, weights_path
from trainer.front_ends import FRONT_ENDS, VIP_ANT, FrontEnd
from trainer.limits import must_be
from trainer.loop import LOG, LoopConfig, TrainingError, strip_prefix
from trainer.towers.clip_model import ClipChoice
from trainer.towers.compact import AudioTower, AudioTowerConfig
from trainer.towers.mobilenet import PUBLISHED, MobileNetConfig, MobileNetTower
from trainer.towers.vit import SpectrogramViT, VitConfig

CONFIG = "config.json"
#: Fact of the data: the published weights that a run, or one before it, began from.
BEGAN_FROM = "began_from"
#: Settings that may change when a run continues: they do not change what is learnt.
MAY_CHANGE = frozenset({"log_every", "save_every"})


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """All settings that decide what a stage learns.

    Attributes:
        stage: pivot (against images) or captions (against texts).
        texts: Texts of an example in the captions stage, see `trainer/stage_targets.py`.
        encoder: CLIP model whose stored vectors are used; None for the only one there is.
        front_end: How sound becomes features; in a file also a name of `trainer/front_ends.py`.
        tower: vit is the paper's, compact the one for computers without a GPU, mobilenet the one
            that can begin from a network which learnt AudioSet's labels.
        vit: Shape of the vit tower. Front end and vectors decide n_mels, n_frames and dim.
        compact: Shape of the compact tower.
        mobilenet: Shape of the mobilenet tower, and what of it learns.
        init: clip (CLIP's image tower), random, the folder of an earlier run, a .pth checkpoint
            of the paper's authors, or the .safetensors file of `trainer/towers/mobilenet.py`.
        n_clips: Train on so many examples, drawn with the seed.
        fraction: Train on this share of the examples, drawn with the seed.
        only: File of the ids whose examples take part, see `trainer/data/example_selection.py`.
        only_top_k: Neighbours of each seed of that file.
        weights: Examples are drawn by weight: labels, or a file of the authors' weights.
        batch_size: Examples in a step, over all processes.
        epochs: Passes over the examples.
        warmup_epochs: Passes in which the learning rate rises.
        schedule_epochs: Epoch at which the cosine ends, None for the last one.
        learning_rate: None for the optimiser's own; so is flat_learning_rate.
        precision: None for bf16 on a GPU and fp32 on a CPU.
        contrast: The loss.
        changes: How sounds are mixed and changed, and by which tagger's soft labels.
        block: Shards that are shuffled together.
    """

    stage: Literal["pivot", "captions"]
    texts: str | None = None
    encoder: str | None = None
    front_end: FrontEnd = VIP_ANT
    tower: Tower = "vit"
    vit: VitConfig = field(default_factory=VitConfig)
    compact: AudioTowerConfig = field(default_factory=AudioTowerConfig)
    mobilenet: MobileNetConfig = field(default_factory=MobileNetConfig)
    init: str = "clip"
    n_clips: int | None = None
    fraction: float = 1.0
    only: str | None = None
    only_top_k: int | None = None
    weights: str | None = None
    batch_size: int = 432
    epochs: float = 20.0
    warmup_epochs: float = 10.0
    schedule_epochs: float | None = None
    optimiser: Optimiser = "lars"
    learning_rate: float | None = None
    flat_learning_rate: float | None = None
    weight_decay: float = 1e-6
    clip_norm: float | None = None
    average: float = 0.0
    precision: Precision | None = None
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    changes: ChangesConfig = field(default_factory=ChangesConfig)
    block: int = 8
    seed: int = 1213
    log_every: int = 20
    save_every: int = 500

    def __post_init__(self) -> None:
        if (self.stage == "captions") != (self.texts is not None):
            raise ValueError("texts belongs to the captions stage, and only to that")
        if self.contrast.three_way and self.stage != "captions":
            raise ValueError("three_way belongs to the captions stage, which has images and texts")
        if (self.changes.mix or self.changes.teacher) and self.stage != "captions":
            raise ValueError("mix and teacher belong to the captions stage, whose texts they need")
        if self.changes.mix and self.contrast.three_way:
            raise ValueError("a mixture has no picture; leave out mix, or three_way")
        n, top_k = self.n_clips, self.only_top_k
        must_be("2 or more, to have a negative", self.batch_size >= 2, batch_size=self.batch_size)
        must_be("above 0 and at most 1", 0 < self.fraction <= 1, fraction=self.fraction)
        alone = n is None or (n >= 2 and self.fraction == 1)
        must_be("2 or more and excludes fraction", alone, n_clips=n)
        usable = top_k is None or (top_k >= 1 and self.only is not None)
        must_be("1 or more and needs only", usable, only_top_k=top_k)
        must_be("above 0", self.epochs > 0, epochs=self.epochs)
        must_be("0 or more", self.warmup_epochs >= 0, warmup_epochs=self.warmup_epochs)
        must_be("1 or more", self.block >= 1, block=self.block)
        if self.schedule_epochs is not None and self.schedule_epochs < self.epochs:
            raise ValueError(
                f"schedule_epochs ({self.schedule_epochs}) is below epochs ({self.epochs})"
            )
        if self.init == "clip" and self.tower != "vit":
            raise ValueError(
                f"init clip is for the vit tower; {self.tower} begins at random or from a run"
                + (f", or from a {PUBLISHED} file" if self.tower == "mobilenet" else "")
            )
        if self.init == "random" and self.tower == "mobilenet" and self.mobilenet.logits:
            raise ValueError(
                "mobilenet.logits are those of a trained classifier; with init random leave them out"
            )
        self.loop(self.batch_size)  # LoopConfig checks the rest

    def loop(self, n_clips: int) -> LoopConfig:
        """Return the settings of the loop for a data set of n_clips examples.

        With LARS the base rate is batch_size / 256; weights get 0.2 times it, tensors of fewer than
        two axes 0.0048 times it. With AdamW the rate is 5e-4, that of the code's other branch.
        Source: VIP-ANT, `configs/optimizer/standard.yaml`.
        """
        per_epoch = n_clips / self.batch_size
        steps = max(1, round(self.epochs * per_epoch))
        base = self.batch_size / 256
        lars = self.optimiser == "lars"
        rate, flat = self.learning_rate, self.flat_learning_rate
        if rate is None:
            rate = 0.2 * base if lars else 5e-4
        if flat is None:
            flat = rate * 0.0048 / 0.2 if lars else rate
        return LoopConfig(
            steps=steps,
            schedule_steps=round((self.schedule_epochs or self.epochs) * per_epoch) or 1,
            warmup_steps=min(steps, round(self.warmup_epochs * per_epoch)),
            optimiser=self.optimiser,
            learning_rate=rate,
            flat_learning_rate=flat,
            last_rate=0.001,
            weight_decay=self.weight_decay,
            betas=(0.9, 0.999),
            clip_norm=self.clip_norm,
            average=self.average,
            precision=self.precision or "fp32",
            log_every=self.log_every,
            save_every=self.save_every,
        )


def stage_config(plain: Mapping[str, Any], base: StageConfig, where: str = "") -> StageConfig:
    """Return `base` with the settings of a mapping, such as a config file.

    front_end may be a name, or an object: its name chooses a front end, its other settings change
    that. `where` begins messages. Raises ConfigError.
    """
    rest = dict(plain)
    front = rest.pop("front_end", {})
    if not isinstance(front, str | Mapping):
        raise ConfigError(f"{where}front_end: expected a name or an object, found {front!r}")
    name = front if isinstance(front, str) else dict(front).get("name", base.front_end.name)
    if isinstance(front, str) and name not in FRONT_ENDS:
        raise ConfigError(f"{where}front_end: must be one of {', '.join(FRONT_ENDS)}, not {name!r}")
    begun = dataclasses.replace(base, front_end=FRONT_ENDS.get(name, base.front_end))
    if not isinstance(front, str):
        rest["front_end"] = front
    return changed(begun, rest, where)


def build_tower(config: StageConfig, dim: int) -> nn.Module:
    """Build the audio tower with random weights, for vectors of `dim` numbers."""
    features = config.front_end.features
    if config.tower == "compact":
        shape = dataclasses.replace(config.compact, dim=dim)
        return AudioTower(shape, features.n_mels, features.mean, features.std)
    if config.tower == "mobilenet":
        return MobileNetTower(dataclasses.replace(config.mobilenet, dim=dim))
    return SpectrogramViT(
        dataclasses.replace(config.vit, n_mels=features.n_mels, n_frames=features.n_frames, dim=dim)
    )


def check_same_run(folder: Path, config: StageConfig, data: Mapping[str, Any]) -> None:
    """Refuse to continue a run with other settings.

    Args:
        folder: The run folder; it may be new.
        config: The settings now.
        data: Facts of the data now.

    Raises:
        ConfigError: The folder holds a run with other settings; the message names each difference.
    """
    path = folder / CONFIG
    if not path.exists():
        return
    found, wanted = _as_now(read_json(path), path), _as_json(config, data)
    for key in MAY_CHANGE:
        found[key] = wanted[key]
    if others := differences(found, wanted):
        raise ConfigError(
            f"{folder}: begun with other settings ({'; '.join(others)}); "
            "continue with the old ones or begin in another folder"
        )


def _as_now(plain: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the content of a config.json with the settings that are younger than it at their defaults."""
    rest = dict(plain)
    data = rest.pop("data", {})
    try:
        return _as_json(_filled(rest, f"{path}: "), data if isinstance(data, Mapping) else {})
    except ConfigError as error:
        raise ConfigError(
            f"{error}; the run was begun by another version, begin in another folder"
        ) from error


def differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> list[str]:
    """Return each setting that differs, as "key was OLD, is NEW"."""
    found = []
    for key in sorted({*old, *new}):
        was, now = old.get(key), new.get(key)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            found += differences(was, now, f"{where}{key}.")
        elif was != now:
            found.append(f"{where}{key} was {was!r}, is {now!r}")
    return found


def write_config(folder: Path, config: StageConfig, data: Mapping[str, Any]) -> None:
    """Write config.json, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, json.dumps(_as_json(config, data), indent=2) + "\n")


def _as_json(config: StageConfig, data: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(
        json.dumps({**dataclasses.asdict(config), "data": dict(data)})
    )
    return plain


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, with its tower in eval mode.

    Attributes:
        folder: The run folder.
        config: Its settings.
        data: Facts of what it learnt from.
        tower: The audio tower.
        log_scale: Logarithm of the learnt logit scale, of sounds and texts where there are three.
        picked: The epoch whose weights the tower has; None for the last ones.
    """

    folder: Path
    config: StageConfig
    data: Mapping[str, Any]
    tower: nn.Module
    log_scale: float
    picked: Picked | None

    @property
    def log(self) -> Path:
        """The run's log.jsonl."""
        return self.folder / LOG

    @property
    def vectors(self) -> VectorsFacts:
        """Facts of the vectors that it learnt from. Raises ConfigError."""
        names = {one.name for one in dataclasses.fields(VectorsFacts)}
        known = {name: value for name, value in self.data.items() if name in names}
        return fill(VectorsFacts, known, f"{self.folder}: data.")

    @property
    def clip_model(self) -> ClipChoice:
        """The frozen CLIP model that it was trained against."""
        return ClipChoice(model=self.data["model"], pretrained=self.data["pretrained"])

    def model(self, device: str) -> Contrast:
        """Return tower and a logit scale of 1 on a device, in eval mode. Raises TrainingError."""
        return Contrast(self.tower, 1.0).to(torch_device(device)).eval()


def read_config(folder: Path) -> StageConfig:
    """Read the settings of a run. Raises TrainingError or ConfigError."""
    return read_settings(folder)[0]


def read_settings(folder: Path) -> tuple[StageConfig, dict[str, Any]]:
    """Read the settings of a run, and the facts of its data. Raises TrainingError or ConfigError."""
    if not (folder / CONFIG).exists():
        raise TrainingError(f"{folder}: not a run folder, {CONFIG} is missing")
    plain = read_json(folder / CONFIG)
    data = plain.pop("data", {})
    where = f"{folder / CONFIG}: "
    if not isinstance(data, dict) or not {"dim", "model", "pretrained"} <= data.keys():
        raise ConfigError(f"{where}does not say which vectors it learnt from; not a run's own file")
    return _filled(plain, where), data


def _filled(plain: Mapping[str, Any], where: str) -> StageConfig:
    """Return the settings of a run's config.json, without the facts of the data."""
    texts = "gold" if plain.get("stage") == "captions" else None
    base = StageConfig(stage="captions" if texts else "pivot", texts=texts, init="random")
    return stage_config(plain, base, where)


def read_run(folder: Path, epoch: int | None = None) -> TrainedRun:
    """Read a finished run, or one of which an epoch was picked or is named here.

    Raises TrainingError or ConfigError for anything else.
    """
    config, data = read_settings(folder)
    tower = build_tower(config, data["dim"])
    picked = Picked(epoch=epoch) if epoch else read_picked(folder)
    weights = read_weights(folder, epoch)
    try:
        tower.load_state_dict(strip_prefix(weights, "tower."))
    except RuntimeError as error:
        raise TrainingError(
            f"{weights_path(folder, epoch)}: its tower has another layout than {CONFIG} says "
            f"({str(error).splitlines()[-1].strip()}); train the run again with this version"
        ) from error
    scale = float(weights["log_scale"].reshape(-1)[-1])
    return TrainedRun(folder, config, data, tower.eval(), scale, picked)


def read_weights(folder: Path, epoch: int | None = None) -> dict[str, Tensor]:
    """Read the weights that stand for a run, or those of an epoch; see `trainer/epochs.py`.

    Raises TrainingError if they are not there or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = weights_path(folder, epoch)
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise TrainingError(f"{path}: damaged ({error})") from error
    if "log_scale" not in weights or not any(name.startswith("tower.") for name in weights):
        found = ", ".join(sorted(weights)[:3]) or "nothing"
        raise TrainingError(
            f"{path}: an older layout, or no run's weights: expected tower.* and log_scale, found "
            f"{found}; train the run again with this version"
        )
    return weights


def torch_device(name: str) -> torch.device:
    """Return the device of auto, cpu or cuda. Raises TrainingError if there is no such device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: this torch sees no GPU; use --device cpu")
    return torch.device(name)
