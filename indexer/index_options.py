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
        workers: What reads and embeds: a number of processes of this machine, or the address of a
            Dask scheduler; None means threads of this process.
        parts: Path or URL of a folder for what workers write, which all of them reach; what is in it
            stays. None means one in the index, of which nothing stays.
    """

    device: Device = "auto"
    exclude: Sequence[str] = ()
    jobs: int | None = None
    prune: bool = False
    retry: bool = False
    force: bool = False
    workers: str | None = None
    parts: str | None = None


DEFAULTS = IndexOptions()
