"""`soundsearch demo`: a small library of synthesised sounds to try things on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to write the recordings into.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other takes.")] = 0,
) -> None:
    """Write a library of synthesised sounds.

    Everyday sounds to try things on, made by calculation, as WAV files with plain names.

    Example: soundsearch demo ./demo-library && soundsearch index ./demo-library
    """
    from soundsearch.demo import write_demo_library
    from soundsearch.render import near

    written = write_demo_library(folder, seed=seed)
    typer.echo(f"{len(written)} synthesised recordings in {near(folder.absolute())}", err=True)
