"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where the encoder runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


IndexFolder = Annotated[
    Path | None,
    typer.Option(
        "--index",
        readable=False,  # we say it ourselves, in one line
        envvar="SOUNDSEARCH_INDEX",
        show_envvar=True,
        help="Folder of the index. [default: in your data folder]",
        show_default=False,
    ),
]
DeviceChoice = Annotated[
    Device, typer.Option("--device", help="Run the encoder here; auto takes a GPU if there is one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON (described in docs/json.md).")]
TopK = Annotated[int, typer.Option("-k", "--top-k", min=1, help="At most so many results.")]
