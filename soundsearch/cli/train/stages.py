"""`soundsearch train pivot` and `captions`: the stages of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsearch.choices import Duplicates, Optimiser, Precision, Preset, Reduction, Tower
from soundsearch.cli.options import DeviceChoice, shared_options
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.train.extra import Shards, shard_folders, training_extra
from soundsearch.cli.train.settings import Base

if TYPE_CHECKING:
    from soundsearch.progress import Progress
    from trainer.checks import MakeCheck
    from trainer.runs import StageConfig
    from trainer.stage import Machine


Run = Annotated[
    Path, typer.Option(help="Folder of this run; an interrupted run goes on where it was.")
]
Config = Annotated[
    Path | None,
    typer.Option(help="JSON file with settings, such as another run's config.json; options win."),
]
PresetChoice = Annotated[
    Preset | None,
    typer.Option(
        "--preset",
        help="The paper's setting: paper-va for pivot, paper-at for captions; an option that "
        "contradicts it is refused.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=2, help="Clips a step, over all processes. [default: 432; for captions 64]"),
]
OptimiserChoice = Annotated[
    Optimiser | None, typer.Option("--optimiser", help="[default: lars, as the paper]")
]
Rate = Annotated[
    float | None,
    typer.Option("--learning-rate", help="[default: by batch size for lars, 5e-4 for adamw]"),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Processes that decode and compute features; 0 for none.")
]


#: Options that have the names of settings, of the stage and of its loss.
SETTINGS = (
    *("encoder", "front_end", "tower", "batch_size", "epochs", "warmup_epochs", "schedule_epochs"),
    *("optimiser", "learning_rate", "clip_norm", "precision", "seed", "weights"),
)
SETTINGS_OF_LOSS = ("chunk", "largest_logit_scale", "duplicates")


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """What both stages take. None is the config file's value, or the default."""

    preset: PresetChoice = None
    config: Config = None
    encoder: Annotated[
        str | None, typer.Option(help="Whose stored vectors; needed where there are several.")
    ] = None
    front_end: Annotated[
        str | None,
        typer.Option(
            help="Front end: vip-ant (10 s of sound), vip-ant-4s, vip-ant-5s, vip-ant-18s, "
            "starter or efficientat. [default: vip-ant]"
        ),
    ] = None
    tower: Annotated[
        Tower | None,
        typer.Option(
            help="Audio tower: the paper's (vit), small for a CPU (compact), or a MobileNetV3 "
            "(mobilenet). [default: vit]"
        ),
    ] = None
    batch_size: BatchSize = None
    chunk: Annotated[
        int | None,
        typer.Option(min=1, help="Clips in memory at once; a large batch then goes in parts."),
    ] = None
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the clips. [default: 21; for captions 10]")
    ] = None
    warmup_epochs: Annotated[
        float | None, typer.Option(help="Passes while the rate rises from 0. [default: 10]")
    ] = None
    schedule_epochs: Annotated[
        float | None, typer.Option(help="Where the cosine ends. [default: at the last pass]")
    ] = None
    optimiser: OptimiserChoice = None
    learning_rate: Rate = None
    clip_norm: Annotated[
        float | None, typer.Option(help="Largest norm of the gradient. [default: no limit]")
    ] = None
    precision: Annotated[
        Precision | None,
        typer.Option(help="fp16 and tf32 need a GPU. [default: bf16 on a GPU, fp32 on a CPU]"),
    ] = None
    loss: Annotated[Reduction | None, typer.Option(help="Over both directions. [default: sum]")] = (
        None
    )
    largest_logit_scale: Annotated[
        float | None, typer.Option(help="Where the logit scale is held. [default: nowhere]")
    ] = None
    duplicates: Annotated[
        Duplicates | None,
        typer.Option(help="What the same vector twice in a batch is. [default: negative]"),
    ] = None
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of every random choice. [default: 1213]")
    ] = None
    only: Annotated[
        Path | None,
        typer.Option(
            help="File of the clips to train on: one id a line, ids by class, or the authors' "
            "nearest neighbours."
        ),
    ] = None
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Neighbours of each clip of --only. [default: all]")
    ] = None
    weights: Annotated[
        str | None,
        typer.Option(
            help="Draw clips by weight: labels (rare ones more often), or the authors' file "
            "..._weight.csv beside its index. [default: each once a pass]"
        ),
    ] = None
    valid: Annotated[
        Path | None, typer.Option(help="Held-out shards with stored vectors, measured on the way.")
    ] = None
    bench: Annotated[
        list[str] | None,
        typer.Option(
            help="A benchmark measured on the way, as NAME=FOLDER: clotho, audiocaps, esc50, "
            "urbansound8k; or manifest=FILE. May be repeated."
        ),
    ] = None
    check_every: Annotated[
        float | None,
        typer.Option(
            min=0.0001,
            help="Epochs from one measuring to the next. [default: 1, or more where measuring "
            "would take as long as training]",
        ),
    ] = None
    keep_epochs: Annotated[
        str,
        typer.Option(
            metavar="N|all",
            help="Keep the weights of so many of the latest epochs, for `train pick`.",
        ),
    ] = "0"
    compile: Annotated[
        bool,
        typer.Option(
            "--compile", help="Make the tower's kernels with torch.compile: minutes at first."
        ),
    ] = False
    from_sound: Annotated[
        bool, typer.Option("--from-sound", help="Decode sound, also where log-mels are stored.")
    ] = False
    device: DeviceChoice = "auto"
    workers: Workers = 0

    def settings(
        self,
        default: StageConfig,
        init: str | None,
        loss: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> StageConfig:
        """The preset or the default, changed by the config file, changed by the options given."""
        given = {name: getattr(self, name) for name in SETTINGS}
        given |= {"only": None if self.only is None else str(self.only), "only_top_k": self.top_k}
        contrast = {name: getattr(self, name) for name in SETTINGS_OF_LOSS}
        contrast |= {"reduction": self.loss, **(loss or {})}
        base = Base(default, self.preset, self.config, init)
        return base.settings({**given, **more}, contrast)

    def machine(self) -> Machine:
        """Where it runs, and what is measured how often."""
        from trainer.stage import Machine

        return Machine(
            device=self.device,
            n_workers=self.workers,
            valid=self.valid,
            check_every=self.check_every,
            keep_epochs=_n_kept(self.keep_epochs),
            compiled=self.compile,
            from_sound=self.from_sound,
        )

    def checks(self) -> list[MakeCheck]:
        """The benchmarks, read at once."""
        from trainer.checks import bench_check

        made: list[MakeCheck] = []
        for one in self.bench or []:
            name, equals, place = one.partition("=")
            if not equals or not place:
                raise typer.BadParameter(
                    f"expected NAME=FOLDER, found {one!r}", param_hint="--bench"
                )
            made.append(bench_check(name, Path(place).expanduser()))
        return made


@shared_options(StageOptions)
def pivot(
    shards: Shards,
    run: Run,
    init: Annotated[
        str | None,
        typer.Option(
            help="clip (CLIP's image tower), random, a run folder, a checkpoint of the paper's "
            "authors (.pth), or EfficientAT's mn04_as (.safetensors), which means "
            "--tower mobilenet --front-end efficientat. [default: clip]"
        ),
    ] = None,
    *,
    options: StageOptions,
) -> None:
    """Stage 1: train an audio tower against the pictures of the same moments.

    No text is seen. With torchrun --nproc-per-node N -m soundsearch -- train pivot ... N processes
    train together, on one batch.

    Several folders of shards are one set. Stored log-mels (`train features`) are read where there are some.

    Example: soundsearch train pivot shards --run runs/pivot --batch-size 256 --workers 8
    """
    with training_extra():
        from trainer.presets import default_of
    _run(shards, run, options.settings(default_of("paper-va"), init), options)


@shared_options(StageOptions)
def captions(
    shards: Shards,
    run: Run,
    init: Annotated[
        str,
        typer.Option(
            help="What to begin from: the folder of a pivot run, a checkpoint of the paper's "
            "authors (.pth), EfficientAT's mn04_as (.safetensors), which means --tower mobilenet "
            "--front-end efficientat, clip (CLIP's image tower) or random."
        ),
    ],
    texts: Annotated[
        str | None,
        typer.Option(
            help="What stands for a clip: gold (its captions), label (one), labels (all), random "
            "(another clip's, as the control) or curated:POOL. [default: gold]"
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(min=2, help="Train on so many clips only.")] = None,
    fraction: Annotated[
        float | None, typer.Option(help="Train on this part of the clips only, 0 to 1.")
    ] = None,
    three_way: Annotated[
        bool,
        typer.Option(
            "--three-way", help="Learn from the clips' pictures too, which have vectors then."
        ),
    ] = False,
    mix: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Make this share of the clips mixtures of two or three, with composed captions. "
            "[default: 0]",
        ),
    ] = None,
    augment: Annotated[
        bool, typer.Option("--augment", help="Change sounds: speed, room, band, noise, level, MP3.")
    ] = False,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="A tagger (.tflite, .onnx) whose soft labels are learnt too; a CSV beside it "
            "names its classes."
        ),
    ] = None,
    teacher_classes: Annotated[
        Path | None,
        typer.Option(
            help="That CSV, with a column display_name, name or label. [default: the one beside it]"
        ),
    ] = None,
    *,
    options: StageOptions,
) -> None:
    """Stage 2: tune an audio tower on captions, few or many.

    Front end and tower are those of the run to begin from, unless given. Sounds that are mixed, changed
    or tagged are decoded, also where log-mels are stored.

    Example: soundsearch train captions shards --init runs/pivot --run runs/few --count 100
    """
    with training_extra():
        from trainer.presets import default_of
    settings = options.settings(
        *(default_of("paper-at"), init, {"three_way": three_way or None}),
        texts=texts,
        n_clips=count,
        fraction=fraction,
        changes=_given(
            mix=mix,
            augment=augment or None,
            teacher=str(teacher) if teacher else None,
            classes=str(teacher_classes) if teacher_classes else None,
        ),
    )
    _run(shards, run, settings, options)


def _given(**values: Any) -> dict[str, Any] | None:
    """The values that were given, None for none."""
    return {name: value for name, value in values.items() if value is not None} or None


def _run(shards: list[str], run: Path, settings: StageConfig, options: StageOptions) -> None:
    """Run a stage, and print its folder."""
    with training_extra():
        from trainer.stage import train_stage
    machine, checks = options.machine(), options.checks()
    with _progress() as (progress, watch):
        folders = shard_folders(shards, progress)
        done = train_stage(
            folders, run, settings, machine, checks=checks, watch=watch, progress=progress
        )
    if _leads():
        typer.echo(str(done))


def _n_kept(text: str) -> int | None:
    """How many epochs are kept; None for all."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise typer.BadParameter(
            f"expected a whole number or all, found {text!r}", param_hint="--keep-epochs"
        )
    return int(text)


def _leads() -> bool:
    """Whether this is the process of torchrun's that speaks."""
    import os

    return os.environ.get("RANK", "0") == "0"


@contextmanager
def _progress() -> Iterator[tuple[Progress, Callable[[int, Mapping[str, float]], None]]]:
    """Progress on stderr, and what prints a line for each log record."""
    import logging

    if _leads():
        logging.getLogger("trainer").setLevel(logging.INFO)
    with progress_on_stderr(quiet=not _leads()) as progress:

        def watch(step: int, record: Mapping[str, float]) -> None:
            numbers = "  ".join(f"{k} {v:.4g}" for k, v in record.items() if k != "n_steps")
            progress.note(f"step {step}/{record['n_steps']:.0f}  {numbers}")

        yield progress, watch
