"""`soundsearch train scaling`: the captions stage with ever more captions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundsearch.cli.options import DeviceChoice
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.train.extra import Shards, shard_folders, training_extra
from soundsearch.cli.train.settings import Base
from soundsearch.cli.train.stages import (
    BatchSize,
    Config,
    OptimiserChoice,
    PresetChoice,
    Rate,
    Workers,
)


def scaling(
    shards: Shards,
    out: Annotated[Path, typer.Option(help="Folder for the runs, scaling.csv and scaling.png.")],
    init: Annotated[Path, typer.Option(help="Folder of the pivot run that all begin from.")],
    valid: Annotated[Path, typer.Option(help="Held-out shards to measure on.")],
    counts: Annotated[
        str, typer.Option(help="Numbers of clips with captions, with commas between.")
    ] = "0,10,100,1000",
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between.")] = "0",
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Steps of every point, whatever its count, a tenth of them warm-up."
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(help="Passes over the clips of every point; as in `train captions`."),
    ] = None,
    preset: PresetChoice = None,
    config: Config = None,
    texts: Annotated[str | None, typer.Option(help="As in `train captions`.")] = None,
    batch_size: BatchSize = None,
    optimiser: OptimiserChoice = None,
    learning_rate: Rate = None,
    device: DeviceChoice = "auto",
    workers: Workers = 0,
) -> None:
    """Draw the scaling curve: stage 2 with ever more captions, as CSV and as a plot.

    Example: soundsearch train scaling shards --init runs/pivot --valid held-out --out runs/curve
    """
    chosen_counts, chosen_seeds = _numbers(counts, "--counts"), _numbers(seeds, "--seeds")
    with training_extra():
        from trainer.caption_scaling import PLOT, TABLE, plot, scaling_curve
        from trainer.presets import default_of
        from trainer.stage import Machine
    if steps is not None and epochs is not None:
        raise typer.BadParameter("give --steps or --epochs, not both", param_hint="--epochs")
    if preset is not None and steps is not None:
        raise typer.BadParameter(
            f"--preset {preset} fixes the epochs, and --steps {steps} decides them anew; leave out "
            "one of the two",
            param_hint="--steps",
        )
    given = {
        "texts": texts,
        "batch_size": batch_size,
        "epochs": epochs,
        "optimiser": optimiser,
        "learning_rate": learning_rate,
    }
    settings = Base(default_of("paper-at"), preset, config, str(init)).settings(given, {})
    with progress_on_stderr() as progress:
        rows = scaling_curve(
            shard_folders(shards, progress),
            out,
            settings,
            counts=chosen_counts,
            seeds=chosen_seeds,
            steps=steps,
            valid=valid,
            machine=Machine(device=device, n_workers=workers),
            progress=progress,
        )
    plot(rows, out / PLOT)
    typer.echo(str(out / TABLE))
    typer.echo(str(out / PLOT))


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"expected whole numbers with commas, found {text!r}", param_hint=option
        ) from error
