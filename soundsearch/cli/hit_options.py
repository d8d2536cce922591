"""Options of `query` and `similar` that do something with the hits; `hit_actions.py` obeys them."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Annotated

import typer

from soundsearch.cli.options import path_option


def _check_file(path: Path | None) -> Path | None:
    if path is not None and str(path) == "-":
        raise typer.BadParameter("- is standard output, which has the list; name a file")
    return path


@dataclass(frozen=True, kw_only=True)
class HitOptions:
    """What to do with the hits, see `soundsearch.cli.options.shared_options`."""

    play: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Play hit N from its second on, with the player that this computer has.",
        ),
    ] = None
    open: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Open hit N with the program for such files."),
    ] = None
    reveal: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Show the folder of hit N in the file manager."),
    ] = None
    csv: Annotated[
        Path | None,
        path_option(
            "Write the hits as a table, a row for each passage: rank, score, seconds, words, "
            "path. No option overwrites a file: a taken name gets a number.",
            metavar="FILE",
            callback=_check_file,
        ),
    ] = None
    m3u: Annotated[
        Path | None,
        path_option(
            "Write the hits as a playlist (extended M3U8).", metavar="FILE", callback=_check_file
        ),
    ] = None
    labels: Annotated[
        Path | None,
        path_option(
            "Write the passages as a label track for Audacity.",
            metavar="FILE",
            callback=_check_file,
        ),
    ] = None
    copy_to: Annotated[
        Path | None, path_option("Copy the recordings into this folder.", metavar="FOLDER")
    ] = None
    link_to: Annotated[
        Path | None,
        path_option("Make symbolic links to the recordings in this folder.", metavar="FOLDER"),
    ] = None
    excerpts: Annotated[
        Path | None,
        path_option(
            "Write the passages of each hit as WAV into this folder, with half a second before "
            "and after; of a long one, the first minute.",
            metavar="FOLDER",
        ),
    ] = None

    @property
    def any(self) -> bool:
        """Whether anything is to be done."""
        return any(value is not None for value in astuple(self))
