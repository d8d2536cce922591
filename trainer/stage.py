"""A stage of training, from a folder of shards to a run folder.

The pivot stage draws sounds to video frames of the same moments, without any text; the captions
stage draws them to texts, few or many (`trainer/stage_targets.py`). The vectors of both come from a
frozen CLIP model and are stored beforehand (`soundsearch train embed-images`, `embed-captions`), so a
step runs the audio tower alone. Each time an example is used, one of its images or texts and one
stretch of its sound are drawn at random.

Source: VIP-ANT ("VA" and "AT"), `cvap/monitor/cvap.py`, `cvalp.py`, `bash/*.sh`; the values are in
`trainer/presets.py`. Differs from it in stored vectors, in batches that continue across epochs, and
in bfloat16 in place of float16.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from soundsearch.progress import Progress, Silent
from trainer.checks import ClipCheck, MakeCheck, ShardCheck
from trainer.composed_texts import ComposedTexts, names_of
from trainer.contrast import Contrast, contrast_step
from trainer.convert.authors_front_end import refuse_other_front_end
from trainer.convert.checkpoint import read_checkpoint
from trainer.data.changes import Changes
from trainer.data.example_selection import filtered, read_filter, weighted, weights_of
from trainer.data.log_mels import StoredLogMels, find_log_mels
from trainer.data.order import Numbers, Order, subset
from trainer.data.shard_folder import ShardFolder, ShardPaths
from trainer.data.stored_targets import Targets
from trainer.data.stream import Batches, Positions
from trainer.data.vectors import VectorsFacts, stored_facts
from trainer.epochs import WEIGHTS, epoch_ends, keep_epoch, read_picked
from trainer.front_ends import EFFICIENTAT, FrontEnd
from trainer.limits import must_be
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
    BEGAN_FROM,
    CONFIG,
    StageConfig,
    build_tower,
    check_same_run,
    read_settings,
    read_weights,
    torch_device,
    write_config,
)
from trainer.stage_targets import kind_of, targets_of
from trainer.torchrun import World, join_processes
from trainer.towers.clip_model import ClipChoice, load_clip
from trainer.towers.mobilenet import (
    PUBLISHED,
    PUBLISHED_NAME,
    MobileNetTower,
    begin_from_published,
)
from trainer.towers.vit import SpectrogramViT, TowerError, vit_from_authors, vit_from_clip

logger = logging.getLogger(__name__)

#: Ending of the checkpoints of the paper's authors.
AUTHORS = ".pth"
#: Between two measurements, without `Machine.check_every`, so many clips are trained on for each
#: one measured.
TRAINED_PER_MEASURED = 4

Watch = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Settings that do not change what is learnt, and may differ when a run continues.

    Attributes:
        device: auto, cpu or cuda.
        n_workers: Processes that decode; 0 for none.
        valid: A folder of held-out shards to measure on.
        check_every: Epochs between two measurements. None for 1, and more where measuring would
            take as long as training: see `TRAINED_PER_MEASURED`. The end is always measured.
        n_valid: How many of their examples are measured, the first ones.
        keep_epochs: Of how many of the latest epochs the weights stay; None for all.
        compiled: Whether torch.compile makes the tower's kernels, which takes minutes at first.
        from_sound: Whether to decode sound also where log-mels are stored.
    """

    device: str = "auto"
    n_workers: int = 0
    valid: Path | None = None
    check_every: float | None = None
    n_valid: int = 5184
    keep_epochs: int | None = 0
    compiled: bool = False
    from_sound: bool = False

    def __post_init__(self) -> None:
        every, n = self.check_every, self.keep_epochs
        must_be("above 0 epochs", every is None or every > 0, check_every=every)
        must_be("0 or more, or None", n is None or n >= 0, keep_epochs=n)


def train_stage(
    shards: ShardPaths,
    folder: Path,
    config: StageConfig,
    machine: Machine | None = None,
    *,
    checks: Sequence[MakeCheck] = (),
    watch: Watch | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train a stage, or continue an interrupted run.

    Args:
        shards: Folder of shards with stored vectors, or several.
        folder: The run folder.
        config: What the stage learns.
        machine: Settings that do not change what is learnt.
        checks: Make further measurements, once the encoder is known.
        watch: Is called with each logged record.
        progress: Is notified of what is read before the first step, and of every step.

    Returns:
        The run folder.

    Raises:
        TrainingError: The run cannot begin or continue.
        ConfigError: The strategy of texts is unknown or cannot be mixed, or the run was begun with
            other settings.
        ShardError: The shards cannot be used.
    """
    kind = kind_of(config)
    machine, progress = machine or Machine(), progress or Silent()
    progress.begin("reading the shards' indexes and vectors")
    device = torch_device(machine.device)
    on_gpu = device.type == "cuda"
    config = replace(config, precision=config.precision or ("bf16" if on_gpu else "fp32"))
    if config.precision in ("fp16", "tf32") and not on_gpu:
        raise TrainingError(f"precision {config.precision} needs a GPU; use bf16 or fp32")
    with join_processes(device) as world:
        if config.batch_size % world.size:
            raise TrainingError(
                f"batch_size {config.batch_size} cannot be shared by {world.size} processes evenly"
            )
        data = ShardFolder(shards, n_open=config.block + 1)
        facts = stored_facts(data, kind, config.encoder)
        targets = targets_of(data, config, facts.encoder)
        tagger = config.changes.tagger()
        from_sound = machine.from_sound or bool(config.changes)
        log_mels = None if from_sound else find_log_mels(data, config.front_end)
        clips = chosen_clips(data, targets, config, log_mels)
        n_clips = sum(len(some) for some in clips)
        if n_clips < config.batch_size:
            raise TrainingError(
                f"{data}: {n_clips} clips have vectors, fewer than a batch of {config.batch_size}; "
                "choose a smaller batch"
            )
        identity = _identity(data, n_clips, facts, config, log_mels)
        if tagger:
            identity["teacher"] = tagger.fingerprint
        check_same_run(folder, config, identity)
        if (folder / WEIGHTS).exists():
            logger.info("%s: done before", folder)
            return folder
        loop = config.loop(n_clips)
        progress.begin("reading the weights that the run begins from")
        n_scales = (3 if config.contrast.three_way else 1) + (2 if tagger else 0)
        tower = initial_tower(config, facts)
        model = Contrast(tower, config.contrast.logit_scale, n_scales).to(device)
        if config.tower != "vit":
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.weights is not None:
            weights = weights_of(config.weights)
            clips = weighted(data, clips, weights, loop.steps * config.batch_size, config.seed)
        order = Order(clips, config.seed, len(data.shards) if log_mels else config.block)
        composed = ComposedTexts(facts, config.texts or "", device)
        changes = None
        if config.changes:
            called = functools.partial(names_of, labels=config.texts == "label")
            changes = Changes(config.changes, data, order, config.front_end, called, tagger)
        examples = Positions(data, order, targets, config.front_end, config.seed, log_mels, changes)
        batches = Batches(examples, config.batch_size, loop.steps, world, machine.n_workers, device)

        def batch_of(step: int) -> tuple[Tensor, ...]:
            batch = batches(step)
            # Dropout is drawn anew in each step, and again the same where a run is continued.
            torch.manual_seed((config.seed * 1_000_003 + step) * world.size + world.rank)
            return composed.completed(batch) if changes else batch

        contrast = contrast_step(
            model,
            batch_of,
            config.contrast,
            world,
            compiled=machine.compiled,
            classes=composed.classes(tagger) if tagger else None,
        )
        n_done = 0

        def step_of(step: int, amp: Amp) -> Mapping[str, Tensor]:
            nonlocal n_done
            losses = contrast(step, amp)
            progress.advance(step + 1 - n_done)  # a run that goes on does not begin at 0
            n_done = step + 1
            return {**losses, "waited_s": torch.tensor(batches.waited_s)}

        logger.info(
            "%d clips, %d steps of %d on %s in %s",
            *(n_clips, loop.steps, config.batch_size, device, config.precision),
        )
        makers = list(checks)
        if machine.valid:
            makers.append(functools.partial(ShardCheck, machine.valid, n_clips=machine.n_valid))
        made = [make(config, facts, world=world, n_workers=machine.n_workers) for make in makers]
        if world.is_main:
            write_config(folder, config, identity)
        board = _board(folder) if world.is_main else None

        def report(step: int, record: Mapping[str, float]) -> None:
            for name, value in record.items():
                if board:
                    board.add_scalar(name, value, step)
            if watch:
                watch(step, {**record, "n_steps": loop.steps})

        progress.begin("steps", loop.steps)
        with closing(batches):
            train(
                model,
                step_of,
                loop,
                folder,
                slow=_slow(tower),
                checks=_milestones(folder, config, machine, made, n_clips, world),
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


def _milestones(
    folder: Path,
    config: StageConfig,
    machine: Machine,
    checks: Sequence[ClipCheck],
    n_clips: int,
    world: World,
) -> dict[int, Check]:
    """Return steps -> what is done after them: epochs are kept, and the checks measure."""
    per_epoch = n_clips / config.batch_size
    ends = epoch_ends(config.epochs, per_epoch)
    measured = set()
    if checks:
        n_measured = sum(check.n_clips for check in checks)
        every = machine.check_every or max(1.0, TRAINED_PER_MEASURED * n_measured / n_clips)
        logger.info("measuring %d clips every %.4g epochs and at the end", n_measured, every)
        times = range(1, 1 + math.floor(config.epochs / every))
        last = config.loop(n_clips).steps
        measured = {max(1, round(n * every * per_epoch)) for n in times} | {last}

    def reached(step: int, model: nn.Module) -> dict[str, float]:
        record: dict[str, float] = {}
        if step in ends:
            record["epoch"] = ends[step]
            if machine.keep_epochs != 0 and world.is_main:
                keep_epoch(model, folder, ends[step], machine.keep_epochs)
        for check in checks if step in measured else ():
            record |= check(model)
        return record

    return {step: functools.partial(reached, step) for step in {*ends, *measured}}


def chosen_clips(
    data: ShardFolder, targets: Targets, config: StageConfig, log_mels: StoredLogMels | None = None
) -> list[Numbers]:
    """Return the examples used of each shard: those with a vector, filtered, or a random part.

    Where log-mels are stored, those whose sound cannot be used are left out.
    """
    clips = [targets.usable(shard) for shard in range(len(data.shards))]
    if log_mels:
        clips = [np.intersect1d(some, log_mels.usable(i)) for i, some in enumerate(clips)]
    if config.only is not None:
        clips = filtered(data, clips, read_filter(Path(config.only), config.only_top_k))
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
        clip_model = load_clip(ClipChoice(model=facts.model, pretrained=facts.pretrained))
        return vit_from_clip(clip_model.model.visual.state_dict(), tower.config)  # type: ignore[union-attr]
    if config.init.endswith(AUTHORS):
        if not isinstance(tower, SpectrogramViT):
            raise TrainingError(f"{config.init}: the authors' weights are for the vit tower")
        checkpoint = read_checkpoint(Path(config.init))
        refuse_other_front_end(checkpoint, config.front_end)
        return vit_from_authors(checkpoint.audio, tower.config)
    if config.init.endswith(PUBLISHED):
        if not isinstance(tower, MobileNetTower):
            raise TrainingError(f"{config.init}: these weights are for the mobilenet tower")
        refuse_other_features(config.init, config.front_end)
        begin_from_published(tower, Path(config.init))
        return tower
    weights = read_weights(Path(config.init))
    of_tower = strip_prefix(weights, "tower.")
    if isinstance(tower, SpectrogramViT):
        try:
            return vit_from_authors(of_tower, tower.config)
        except TowerError as error:
            raise TrainingError(f"{Path(config.init) / WEIGHTS}: {error}") from error
    try:
        tower.load_state_dict(of_tower)
    except RuntimeError as error:
        raise TrainingError(
            f"{config.init}: its tower has other shapes than this run's ({str(error).splitlines()[-1].strip()})"
        ) from error
    return tower


def refuse_other_features(init: str, front_end: FrontEnd) -> None:
    """Refuse a front end that computes other features than those the published weights learnt from.

    Frames may lie otherwise, windows may be of any length and have a level. Raises TrainingError.
    """
    free = ("n_frames", "centred", "level")
    known, found = (
        {"kind": features.kind} | {k: v for k, v in asdict(features).items() if k not in free}
        for features in (EFFICIENTAT.features, front_end.features)
    )
    if found != known:
        raise TrainingError(
            f"{init}: these weights learnt from features of front end {EFFICIENTAT.name}, "
            f"{front_end.name} has others; take --front-end {EFFICIENTAT.name}"
        )


def _slow(tower: nn.Module) -> dict[str, float]:
    """Return the factors on the rates of a tower's parts, by the names they have in `Contrast`."""
    rates = tower.rates() if isinstance(tower, MobileNetTower) else {}
    return {f"tower.{name}": rate for name, rate in rates.items()}


def _identity(
    data: ShardFolder,
    n_clips: int,
    facts: VectorsFacts,
    config: StageConfig,
    log_mels: StoredLogMels | None,
) -> dict[str, object]:
    """Return the facts that a run depends on beside its settings.

    These are its examples, their vectors, the epoch that was picked of the run it begins from, and
    published weights from which it, or that run, began.
    """
    picked = read_picked(Path(config.init))
    begun: dict[str, object] = {"init_epoch": picked.epoch} if picked else {}
    if config.init.endswith(PUBLISHED):
        begun[BEGAN_FROM] = PUBLISHED_NAME
    elif (Path(config.init) / CONFIG).exists():
        _, earlier = read_settings(Path(config.init))
        begun |= {key: earlier[key] for key in (BEGAN_FROM,) if key in earlier}
    digests = [data.digest(shard) for shard in range(len(data.shards))]
    digest = hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]
    read = f"log-mels {log_mels.front_end.slug}" if log_mels else "sound"
    return {"shards": digest, "n_clips": n_clips, "read": read, **asdict(facts), **begun}


def _board(folder: Path) -> torch.utils.tensorboard.SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
