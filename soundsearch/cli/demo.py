"""`soundsearch demo`: a small library of real recordings to try things on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundsearch.cli.streams import note
from soundsearch.render import short_path


def demo(
    folder: Annotated[
        Path, typer.Argument(readable=False, help="Folder to write the recordings into.")
    ],
) -> None:
    """Write a small library of real recordings.

    Animals, weather, doors, machines, effects, mixtures of two, and one long field recording, with
    names as people give them. All are CC0 or public domain; credits.csv beside them names author,
    source and licence of each. No file that is there already is overwritten.

    Example: soundsearch demo ./demo-library && soundsearch index ./demo-library
    """
    from soundsearch.demo import CREDITS, write_library

    written = write_library(folder)
    report = f"Recordings written to {short_path(folder.absolute())}: {len(written.new)}"
    if written.unchanged:
        report += f" (there already: {len(written.unchanged)})"
    note(f"{report}. CC0 or public domain, credits in {CREDITS}.")
