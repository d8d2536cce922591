"""A stage of training, from a folder of shards to a run folder; both stages go this way."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.checks import MakeCheck, ShardCheck
from trainer.contrast import Contrast, contrast_step
from trainer.convert.checkpoint import read_checkpoint
from trainer.data.order import Numbers, Order, subset
from trainer.data.shards import ShardFolder
from trainer.data.stream import Batches, Positions
from trainer.data.targets import Targets
from trainer.data.vectors import Kind, VectorsFacts, stored_facts
from trainer.distributed import joined
from trainer.loop import Amp, Check, TrainingError, forget_checkpoint, save_tensors, train
from trainer.runs import (
    WEIGHTS,
    StageConfig,
    build_tower,
    hold_against,
    read_weights,
    torch_device,
    write_config,
)
from trainer.towers.clip_model import ClipChoice, load_clip
from trainer.towers.vit import SpectrogramViT, vit_from_authors, vit_from_clip

logger = logging.getLogger(__name__)

#: How the files of the authors' checkpoints end.
AUTHORS = ".pth"

Watch = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What may differ from one sitting to the next without changing what is learnt.

    device: auto, cpu or cuda. n_workers: processes that decode; 0 for none. valid: a folder of
    shards, measured every check_every steps on its first n_valid clips.
    """

    device: str = "auto"
    n_workers: int = 0
    valid: Path | None = None
    check_every: int = 500
    n_valid: int = 5184


def run_stage(
    shards: Path,
    folder: Path,
    config: StageConfig,
    kind: Kind,
    targets_of: Callable[[ShardFolder, str], Targets],
    machine: Machine | None = None,
    *,
    checks: Sequence[MakeCheck] = (),
    watch: Watch | None = None,
) -> Path:
    """Train and leave the result in `folder`, which is returned. Goes on where a run broke off.

    kind: of the side files that say whose vectors these are. targets_of: the vectors of a folder
    of shards by that encoder. checks: made once the encoder is known, measured on the way. watch:
    is told of every logged record. Raises TrainingError, ConfigError or ShardError.
    """
    machine = machine or Machine()
    device = torch_device(machine.device)
    if config.precision == "fp16" and device.type != "cuda":
        raise TrainingError("precision fp16 needs a GPU; use bf16 or fp32")
    with joined(device) as world:
        if config.batch_size % world.size:
            raise TrainingError(
                f"batch_size {config.batch_size} cannot be shared by {world.size} processes evenly"
            )
        data = ShardFolder(shards, n_open=config.block + 1)
        facts = stored_facts(data, kind, config.encoder)
        targets = targets_of(data, facts.encoder)
        clips = chosen_clips(data, targets, config)
        n_clips = sum(len(some) for some in clips)
        if n_clips < config.batch_size:
            raise TrainingError(
                f"{shards}: {n_clips} clips have vectors, fewer than a batch of {config.batch_size}; "
                "choose a smaller batch"
            )
        identity = _identity(data, n_clips, facts)
        hold_against(folder, config, identity)
        if (folder / WEIGHTS).exists():
            logger.info("%s: done before", folder)
            return folder
        loop = config.loop(n_clips)
        model = Contrast(initial_tower(config, facts), config.contrast.logit_scale).to(device)
        order = Order(clips, config.seed, config.block)
        examples = Positions(data, order, targets, config.front_end, config.seed)
        batches = Batches(examples, config.batch_size, loop.steps, world, machine.n_workers)
        contrast = contrast_step(model, batches, config.contrast, world)

        def step_of(step: int, amp: Amp) -> Mapping[str, Tensor]:
            return {**contrast(step, amp), "waited_s": torch.tensor(batches.waited_s)}

        logger.info(
            "%d clips, %d steps of %d on %s", n_clips, loop.steps, config.batch_size, device
        )
        made: list[Check] = [make(config, facts) for make in checks]
        if machine.valid:
            made.append(ShardCheck(machine.valid, config, facts, machine.n_valid))
        if world.leads:
            write_config(folder, config, identity)
        board = _board(folder) if world.leads else None

        def told(step: int, record: Mapping[str, float]) -> None:
            for name, value in record.items():
                if board:
                    board.add_scalar(name, value, step)
            if watch:
                watch(step, {**record, "n_steps": loop.steps})

        def check(measured: nn.Module) -> dict[str, float]:
            assert isinstance(measured, Contrast)
            return {name: value for one in made for name, value in one(measured).items()}

        train(
            model,
            step_of,
            loop,
            folder,
            check=check if made else None,
            check_every=machine.check_every,
            world=world,
            watch=told,
        )
        if board:
            board.close()
        if world.leads:
            save_tensors(model.state_dict(), folder / WEIGHTS)
            forget_checkpoint(folder)
        world.wait()
    return folder


def chosen_clips(data: ShardFolder, targets: Targets, config: StageConfig) -> list[Numbers]:
    """For each shard the clips that take part: those with a vector, or a seeded part of them."""
    clips = [targets.usable(shard) for shard in range(len(data.shards))]
    total = sum(len(some) for some in clips)
    n = config.n_clips or int(total * config.fraction)
    if n == total or total == 0:
        return clips
    if n > total:
        raise TrainingError(f"n_clips is {n}, but only {total} clips have vectors")
    return subset(clips, max(1, n), config.seed)


def initial_tower(config: StageConfig, facts: VectorsFacts) -> nn.Module:
    """The tower a stage begins with: random, CLIP's image tower, an earlier run's or the authors'.

    The logit scale always begins anew, as the paper's code begins it (facts of section 4).
    """
    torch.manual_seed(config.seed)
    tower = build_tower(config, facts.dim)
    if config.init == "random":
        return tower
    if config.init == "clip":
        assert isinstance(tower, SpectrogramViT)
        clip = load_clip(ClipChoice(model=facts.model, pretrained=facts.pretrained))
        return vit_from_clip(clip.model.visual.state_dict(), tower.config)  # type: ignore[union-attr]
    if config.init.endswith(AUTHORS):
        if not isinstance(tower, SpectrogramViT):
            raise TrainingError(f"{config.init}: the authors' weights are for the vit tower")
        return vit_from_authors(read_checkpoint(Path(config.init)).audio, tower.config)
    weights = read_weights(Path(config.init))
    below = {k.removeprefix("tower."): v for k, v in weights.items() if k.startswith("tower.")}
    if isinstance(tower, SpectrogramViT):
        return vit_from_authors(below, tower.config)
    try:
        tower.load_state_dict(below)
    except RuntimeError as error:
        raise TrainingError(
            f"{config.init}: its tower has other shapes than this run's ({str(error).splitlines()[-1].strip()})"
        ) from error
    return tower


def _identity(data: ShardFolder, n_clips: int, facts: VectorsFacts) -> dict[str, object]:
    """What of the data belongs to a run: its clips, and whose vectors they are drawn to."""
    names = [(path.name, int(n)) for path, n in zip(data.shards, data.counts, strict=True)]
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
    return {"shards": digest, "n_clips": n_clips, **asdict(facts)}


def _board(folder: Path) -> torch.utils.tensorboard.SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
