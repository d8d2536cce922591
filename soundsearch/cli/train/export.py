"""`soundsearch train export`: a finished run to an encoder bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.streams import note
from soundsearch.cli.train.extra import DEMO, Calibrate, calibration_set, training_extra


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    bundle: Annotated[Path, typer.Argument(help="Folder the bundle is written to.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the encoder. [default: that of the folder]")
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Terms of the weights, as the bundle and its card state them.")
    ] = "not stated",
    clip_s: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Seconds of a clip, such as 4, 5 or 18, for tower vit. [default: as in training]",
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Store and multiply the audio tower's matrices as int8: half the size, slightly off.",
        ),
    ] = False,
    calibrate: Calibrate = DEMO,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the bundle that is there.")
    ] = False,
) -> None:
    """Write a finished run as an encoder bundle, and check it against torch.

    The text tower is the frozen CLIP that the run was trained against. Where scores of the encoder do
    not tell right hits from wrong ones, they stay cosines, with a warning.

    Example: soundsearch train export runs/captions my-encoder --int8
    """
    with training_extra():
        from trainer.bundle_export import export_run
    recordings = calibration_set(calibrate)
    with progress_on_stderr() as progress:
        progress.begin("exporting and checking")
        made = export_run(
            run,
            bundle,
            name=name,
            licence=licence,
            clip_s=clip_s,
            int8=int8,
            force=force,
            calibrated_on=recordings,
            progress=progress,
        )
    for figure, value in made.results["export"].items():
        if isinstance(value, float):
            note(f"{figure.replace('_', ' ')}: {value:.6f}")
    typer.echo(str(made.folder))
