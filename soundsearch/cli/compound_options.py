"""Options of `query` and `similar` for what else hits should fit, and what they should not."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.errors import QueryError

if TYPE_CHECKING:
    from soundsearch.search.question_parts import Weighted

#: "14:33", "1:02:03.5", "90".
_TIME = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,6}):)?(\d{1,9}(?:\.\d{1,9})?)", re.ASCII)


def seconds_of(time: str) -> float:
    """Return the seconds of a time as players show it: s, m:ss or h:mm:ss."""
    found = _TIME.fullmatch(time)
    hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0, 0, 60)
    has_minutes = found is not None and found[2] is not None
    if found is None or (has_minutes and seconds >= 60) or (found[1] and minutes >= 60):
        raise typer.BadParameter(f"{time!r} is no time, expected s, m:ss or h:mm:ss such as 14:33")
    return 3600 * hours + 60 * minutes + seconds


@dataclass(frozen=True, kw_only=True)
class CompoundOptions:
    """What else hits should fit, or not, see `soundsearch.cli.options.shared_options`."""

    plus: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT",
            help="Also fit this: a text, or an existing file; 2:WHAT counts twice (repeatable).",
        ),
    ] = None
    minus: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT", help="Do not fit this, likewise (repeatable)."),
    ] = None

    @property
    def arguments(self) -> dict[str, list[Weighted]]:
        """The arguments `plus` and `minus` of a search."""
        return {
            name: [_weighted(value, f"--{name}") for value in getattr(self, name) or ()]
            for name in ("plus", "minus")
        }


@dataclass(frozen=True, kw_only=True)
class PassageOptions:
    """Which passage of a recording is meant."""

    begin: Annotated[
        float | None,
        typer.Option(
            "--from",
            metavar="TIME",
            parser=seconds_of,
            help="Search by the passage from here on: s, m:ss or h:mm:ss, such as 14:33.",
        ),
    ] = None
    end: Annotated[
        float | None,
        typer.Option(
            "--to", metavar="TIME", parser=seconds_of, help="Search by the passage up to here."
        ),
    ] = None

    def arguments(self, n_files: int) -> dict[str, float | None]:
        """The arguments `start_s` and `end_s` of a search."""
        if self != PassageOptions() and n_files > 1:
            raise typer.BadParameter("--from and --to are of one FILE; give one")
        if self.end is not None and self.end <= (self.begin or 0):
            raise typer.BadParameter(
                f"--to is at {self.end:g} s, it must come after --from, {self.begin or 0:g} s"
            )
        return {"start_s": self.begin, "end_s": self.end}


def _weighted(value: str, option: str) -> Weighted:
    """What a value of --plus or --minus means."""
    from soundsearch.search.question_parts import split_weight

    if os.path.isfile(value):
        return Path(value)
    try:
        weight, rest = split_weight(option, value)
    except QueryError as error:
        raise typer.BadParameter(str(error)) from error
    what = _text_or_file(rest, option)
    return what if weight is None else (weight, what)


def _text_or_file(value: str, option: str) -> str | Path:
    """A path where the value names a file, or ends as one of sound does; else a text."""
    from soundsearch.audio.suffixes import AUDIO_SUFFIXES

    if value == "-":
        raise typer.BadParameter(f"{option} takes a text or a file, not standard input")
    if os.path.isfile(value) or os.path.splitext(value)[1].lower() in AUDIO_SUFFIXES:
        return Path(value)
    return os.fsencode(value).decode("utf-8", "replace")
