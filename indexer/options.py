"""The options of an index run, in one value from the command line down to the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from soundsearch.choices import Device


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """What a person may choose for an index run.

    Attributes:
        device: Where the encoder runs: "auto", "cpu" or "cuda".
        exclude: Shell patterns of names or relative paths that are skipped.
        jobs: Files decoded side by side, where so many may be open; None means one per core.
        prune: Also delete recordings whose files have vanished.
        retry: Also try files again that failed or were read in part and have not changed.
        force: Read and embed every file again.
    """

    device: Device = "auto"
    exclude: Sequence[str] = ()
    jobs: int | None = None
    prune: bool = False
    retry: bool = False
    force: bool = False


DEFAULTS = IndexOptions()
