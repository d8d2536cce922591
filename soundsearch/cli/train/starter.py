"""`soundsearch train starter`: the recipe of the shipped bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundsearch.cli.train.extra import training_extra


def starter(
    data: Annotated[
        Path, typer.Argument(help="Folder with sounds.csv, esc10.csv, captions/ and teachers/.")
    ],
    run: Annotated[
        Path,
        typer.Option(help="Folder for intermediate results; an interrupted run goes on there."),
    ],
    out: Annotated[Path, typer.Option(help="Folder the finished bundle is written to.")],
    seed: Annotated[int, typer.Option(help="Seed of every random choice.", min=0)] = 0,
    text_steps: Annotated[
        int | None,
        typer.Option(help="Training steps of the text tower; default: the recipe's.", min=1),
    ] = None,
    audio_steps: Annotated[
        int | None,
        typer.Option(help="Training steps of the audio tower; default: the recipe's.", min=1),
    ] = None,
    repeat: Annotated[
        Path | None,
        typer.Option(
            help="Bundle of another run, with another seed: the card shows its numbers beside this one's."
        ),
    ] = None,
) -> None:
    """Train the encoder that ships with soundsearch.

    Example: soundsearch train starter DATA --run runs/starter --out my-bundle
    """
    with training_extra():
        import logging

        from soundsearch.encoder.bundle import EncoderBundle
        from trainer.data.manifests import find_data
        from trainer.starter.config import StarterConfig
        from trainer.starter.recipe import make_starter
    logging.getLogger("trainer").setLevel(logging.INFO)  # progress, on stderr
    config = StarterConfig().seeded(seed).with_steps(text_steps, audio_steps)
    other = EncoderBundle.read(repeat) if repeat else None
    bundle = make_starter(find_data(data), run, out, config, repeat=other)
    typer.echo(str(bundle.folder))
