"""What commands of training share: the packages that only they need, shards, parts of the work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.errors import SoundsearchError
from soundsearch.ours import require_ours
from soundsearch.progress import Progress

if TYPE_CHECKING:
    from trainer.calibration_set import CalibrationSet
    from trainer.data.part import Part

Shards = Annotated[
    list[str],
    typer.Argument(
        help="Folders of shards (*.tar), or the URL of a list of them, which are fetched once.",
        metavar="SHARDS...",
    ),
]
#: What --calibrate takes beside a file.
DEMO, NONE = "demo", "none"
Calibrate = Annotated[
    str,
    typer.Option(
        metavar="FILE|demo|none",
        help="By which recordings scores become 0 to 1: a CSV with the columns file and caption, "
        "perhaps split; the demo's recordings; or none, and scores are cosines.",
    ),
]
PartOption = Annotated[
    str | None,
    typer.Option(
        "--part",
        metavar="K/N",
        help="Do this part of the work alone, such as 3/16, where N machines share it.",
    ),
]


@contextlib.contextmanager
def training_extra() -> Iterator[None]:
    """Around the imports of a command: a missing or foreign package becomes one line that helps."""
    require_ours("trainer")
    try:
        yield
    except ImportError as error:
        raise SoundsearchError(
            f"training needs packages that search does not ({error.name} is missing); "
            "install them with: pip install 'soundsearch[train]'"
        ) from error


def chosen_part(text: str | None) -> Part | None:
    """The part that --part names; anything else is a usage error."""
    with training_extra():
        from trainer.data.part import parse_part
    try:
        return parse_part(text) if text is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--part") from error


def shard_folders(places: Sequence[str], progress: Progress) -> list[Path]:
    """The folders of shards that were named; those named by URL are fetched."""
    with training_extra():
        from trainer.data.remote import local_shards
    return [local_shards(place, progress) for place in places]


def calibration_set(choice: str) -> CalibrationSet | None:
    """The recordings that --calibrate names, None for none. Raises ManifestError."""
    if choice == NONE:
        return None
    with training_extra():
        from trainer.calibration_set import demo_set, read_calibration_set
    return demo_set() if choice == DEMO else read_calibration_set(Path(choice).expanduser())
