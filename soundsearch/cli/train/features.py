"""`soundsearch train features`: stored log-mels, so that training decodes no sound."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.train.embed import print_summary
from soundsearch.cli.train.extra import (
    PartOption,
    Shards,
    chosen_part,
    shard_folders,
    training_extra,
)

if TYPE_CHECKING:
    from trainer.front_ends import FrontEnd


def features(
    shards: Shards,
    front_end: Annotated[
        str | None,
        typer.Option(
            help="Front end of the training: vip-ant, vip-ant-4s, vip-ant-5s, vip-ant-18s, "
            "starter or efficientat. [default: vip-ant]"
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="JSON file with a front_end of its own, such as a run's config.json."),
    ] = None,
    part: PartOption = None,
    workers: Annotated[
        int | None, typer.Option(help="Clips computed at a time. [default: one per core]", min=1)
    ] = None,
) -> None:
    """Store the log-mels of every clip beside the shards; prints the front end's name.

    Training then reads them in place of sound, mapped into memory, and shuffles all clips together. Half-precision numbers, 256 kB for ten seconds (vip-ant). Shards that have them are skipped, so that a stopped run goes on.

    Example: soundsearch train features shards/ --front-end vip-ant --workers 16
    """
    with training_extra():
        from trainer.store_log_mels import store_log_mels
    chosen, share = _front_end(front_end, config), chosen_part(part)
    with progress_on_stderr() as progress:
        report = store_log_mels(
            shard_folders(shards, progress),
            chosen,
            n_workers=workers or os.cpu_count() or 1,
            part=share,
            progress=progress,
        )
    typer.echo(chosen.slug)
    print_summary(report, "frames of log-mel", bad="sounds")


def _front_end(name: str | None, file: Path | None) -> FrontEnd:
    from soundsearch.config import read_json
    from trainer.runs import StageConfig, stage_config

    plain = read_json(file) if file else {}
    chosen = name or plain.get("front_end", "vip-ant")
    where = f"{file}: " if file and not name else ""
    return stage_config({"front_end": chosen}, StageConfig(stage="pivot"), where).front_end
