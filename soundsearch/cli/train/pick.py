"""`soundsearch train pick`: the epoch that stands for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundsearch.cli.options import DeviceChoice
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.streams import note
from soundsearch.cli.train.extra import training_extra


def pick(
    run: Annotated[Path, typer.Argument(help="Folder of a run with --keep-epochs.")],
    by: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC|BENCHMARK",
            help="A metric of the run's log, such as esc50_accuracy or loss; or a benchmark to run "
            "on every epoch that was kept, as NAME=FOLDER: clotho, audiocaps, esc50, urbansound8k, "
            "or manifest=FILE. Labels go by accuracy, captions by recall at 10 of text to audio.",
        ),
    ] = None,
    epoch: Annotated[int | None, typer.Option(min=1, help="This epoch.")] = None,
    last: Annotated[bool, typer.Option("--last", help="The end of the run again.")] = False,
    device: DeviceChoice = "auto",
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that decode and compute features; 0 for none.")
    ] = 0,
) -> None:
    """Choose the epoch that `train export` and `train captions --init` take of a run.

    Prints the file of its weights. Where two epochs are equally good, the earlier one is chosen.

    Example: soundsearch train pick runs/pivot --by esc50=~/data/ESC-50-master
    """
    if (by is not None) + (epoch is not None) + last != 1:
        raise typer.BadParameter("give one of --by, --epoch and --last")
    with training_extra():
        from trainer.best_epoch import pick_by_benchmark, pick_by_metric
        from trainer.epochs import Picked, epoch_path, pick_epoch, pick_last
        from trainer.runs import read_config
    read_config(run)  # refuses what is no run folder
    if by is None:
        typer.echo(str(pick_epoch(run, Picked(epoch=epoch)) if epoch else pick_last(run)))
        return
    name, is_benchmark, place = by.partition("=")
    if is_benchmark and not place:
        raise typer.BadParameter(f"expected NAME=FOLDER, found {by!r}", param_hint="--by")
    if is_benchmark:
        with progress_on_stderr() as progress:
            picked, values = pick_by_benchmark(
                run,
                name,
                Path(place).expanduser(),
                device=device,
                n_workers=workers,
                progress=progress,
            )
    else:
        picked, values = pick_by_metric(run, by)
    for number, value in values.items():
        note(f"epoch {number}: {picked.by} {value:.4f}")
    typer.echo(str(epoch_path(run, picked.epoch)))
