"""A stage of training, from a folder of shards to a run folder; what both stages share."""

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
from trainer.distributed import join_processes
from trainer.loop import (
    Amp,
    Check,
    TrainingError,
    delete_checkpoint,
    save_tensors,
    strip_prefix,
    train,
)
from trainer.runs import (
    WEIGHTS,
    StageConfig,
    build_tower,
    check_same_run,
    read_weights,
    torch_device,
    write_config,
)
from trainer.towers.clip_model import ClipChoice, load_clip
from trainer.towers.vit import SpectrogramViT, vit_from_authors, vit_from_clip

logger = logging.getLogger(__name__)

#: Ending of the checkpoints of the paper's authors.
AUTHORS = ".pth"

Watch = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Settings that do not change what is learnt, and may differ when a run continues.

    Attributes:
        device: auto, cpu or cuda.
        n_workers: Processes that decode; 0 for none.
        valid: A folder of held-out shards to measure on.
        check_every: Steps between two measurements.
        n_valid: How many of their examples are measured, the first ones.
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
    """Train a stage, or continue an interrupted run.

    Args:
        shards: Folder of shards with stored vectors.
        folder: The run folder.
        config: What the stage learns.
        kind: Of the side files whose vectors decide the encoder.
        targets_of: Returns the targets of a folder of shards by an encoder.
        machine: Settings that do not change what is learnt.
        checks: Make further measurements, once the encoder is known.
        watch: Is called with each logged record.

    Returns:
        The run folder.

    Raises:
        TrainingError: The run cannot begin or continue.
        ConfigError: The run was begun with other settings.
        ShardError: The shards cannot be used.
    """
    machine = machine or Machine()
    device = torch_device(machine.device)
    if config.precision == "fp16" and device.type != "cuda":
        raise TrainingError("precision fp16 needs a GPU; use bf16 or fp32")
    with join_processes(device) as world:
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
        check_same_run(folder, config, identity)
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
        if world.is_main:
            write_config(folder, config, identity)
        board = _board(folder) if world.is_main else None

        def report(step: int, record: Mapping[str, float]) -> None:
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
            watch=report,
        )
        if board:
            board.close()
        if world.is_main:
            save_tensors(model.state_dict(), folder / WEIGHTS)
            delete_checkpoint(folder)
        world.wait()
    return folder


def chosen_clips(data: ShardFolder, targets: Targets, config: StageConfig) -> list[Numbers]:
    """Return the examples used of each shard: those with a vector, or a random part of them."""
    clips = [targets.usable(shard) for shard in range(len(data.shards))]
    total = sum(len(some) for some in clips)
    n = config.n_clips or int(total * config.fraction)
    if n == total or total == 0:
        return clips
    if n > total:
        raise TrainingError(f"n_clips is {n}, but only {total} clips have vectors")
    return subset(clips, max(1, n), config.seed)


def initial_tower(config: StageConfig, facts: VectorsFacts) -> nn.Module:
    """Return the tower that a stage begins with: see `StageConfig.init`.

    The logit scale is not part of it: it is initialised in every stage, as in the paper's code.
    Source: VIP-ANT, `cvap/model/cvalp.py`.
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
    of_tower = strip_prefix(weights, "tower.")
    if isinstance(tower, SpectrogramViT):
        return vit_from_authors(of_tower, tower.config)
    try:
        tower.load_state_dict(of_tower)
    except RuntimeError as error:
        raise TrainingError(
            f"{config.init}: its tower has other shapes than this run's ({str(error).splitlines()[-1].strip()})"
        ) from error
    return tower


def _identity(data: ShardFolder, n_clips: int, facts: VectorsFacts) -> dict[str, object]:
    """Return the facts of the data that a run depends on: its examples, and their vectors."""
    names = [(path.name, int(n)) for path, n in zip(data.shards, data.counts, strict=True)]
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
    return {"shards": digest, "n_clips": n_clips, **asdict(facts)}


def _board(folder: Path) -> torch.utils.tensorboard.SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
