"""`soundsearch train extract` and `train shards`: examples of sound and pictures into shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.streams import note
from soundsearch.cli.train.extra import PartOption, chosen_part, training_extra
from soundsearch.render import printable

if TYPE_CHECKING:
    from trainer.data.pack import Report

#: Rows of the closing table; all of them are in failures.csv.
MOST_ROWS = 30

Out = Annotated[
    Path, typer.Argument(help="Folder for the shards; an interrupted run goes on there.")
]
ExamplesPerShard = Annotated[
    int | None, typer.Option(help="Examples in each tar file. [default: 500]", min=1)
]
Workers = Annotated[
    int | None, typer.Option(help="Files decoded at a time. [default: one per core]", min=1)
]


def extract(
    video_dir: Annotated[Path, typer.Argument(help="Folder with videos, at any depth.")],
    out: Out,
    segments: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with the columns file,begin_s,end_s (and caption, labels), or a list of "
            "AudioSet as it is published: cut these examples, in seconds, and no others; paths begin "
            "at VIDEO_DIR."
        ),
    ] = None,
    example_s: Annotated[
        float, typer.Option(help="Longest example in seconds; without --segments.", min=0.1)
    ] = 10.0,
    frames: Annotated[
        int,
        typer.Option(help="Frames of each example, evenly from its begin to its end.", min=1),
    ] = 4,
    size: Annotated[
        int, typer.Option(help="Short side in pixels to which larger frames are shrunk.", min=16)
    ] = 256,
    quality: Annotated[
        int, typer.Option(help="Quality of the frames' JPEG, 1 to 95.", min=1, max=95)
    ] = 90,
    examples_per_shard: ExamplesPerShard = None,
    part: PartOption = None,
    workers: Workers = None,
) -> None:
    """Cut videos into examples of sound and frames, and write them into shards.

    A long video becomes examples that follow each other; a last remainder of less than a second is dropped. The sound keeps its rate and its channels. What cannot be used costs one line, and a row in failures.csv.

    With --part, each machine writes into a folder of its own, and training takes them all.

    Example: soundsearch train extract videos/ shards-3/ --part 3/16
    """
    with training_extra():
        from trainer.data.cutting import ExtractConfig
        from trainer.data.cutting import extract as extract_videos
        from trainer.data.shard_writer import EXAMPLES_PER_SHARD
    config = ExtractConfig(
        example_s=example_s,
        shortest_s=min(example_s, ExtractConfig.shortest_s),
        n_frames=frames,
        size=size,
        quality=quality,
    )
    share = chosen_part(part)
    with progress_on_stderr() as progress:
        report = extract_videos(
            video_dir,
            out,
            config,
            segments=segments,
            examples_per_shard=examples_per_shard or EXAMPLES_PER_SHARD,
            n_workers=workers,
            part=share,
            progress=progress,
        )
    _close(out, report)


def shards(
    manifest: Annotated[
        Path,
        typer.Argument(
            help="CSV file with audio,image or audio,caption (and labels); the captions of Clotho or "
            "AudioCaps, or a list of AudioSet, as they are published; or an index of VIP-ANT, one "
            "JSON object a line."
        ),
    ],
    out: Out,
    root: Annotated[
        Path | None,
        typer.Option(help="Where the manifest's paths begin. [default: the manifest's folder]"),
    ] = None,
    examples_per_shard: ExamplesPerShard = None,
    part: PartOption = None,
    workers: Workers = None,
) -> None:
    """Write the sounds, pictures and captions that a manifest lists into shards.

    Rows with the same audio are one example with several pictures or captions. Sound keeps its rate and its channels, pictures are kept as they are. What cannot be used costs one line, and a row in failures.csv.

    Example: soundsearch train shards pairs.csv shards/
    """
    with training_extra():
        from trainer.data.manifest_examples import pack_manifest
        from trainer.data.shard_writer import EXAMPLES_PER_SHARD
    share = chosen_part(part)
    with progress_on_stderr() as progress:
        report = pack_manifest(
            manifest,
            out,
            root=root,
            examples_per_shard=examples_per_shard or EXAMPLES_PER_SHARD,
            n_workers=workers,
            part=share,
            progress=progress,
        )
    _close(out, report)


def _close(out: Path, report: Report) -> None:
    """The table of failures and a line that sums up; the folder on stdout."""
    if report.n_problems:
        _print_table(out, report.n_problems)
    done = f"new examples: {report.n_new}" if report.n_new else "nothing left to do"
    typer.echo(
        f"{done}; in all {report.n_examples} (sources: {report.n_sources}, shards: "
        f"{report.n_shards}, problems: {report.n_problems})",
        err=True,
    )
    typer.echo(str(out))


def _print_table(out: Path, n_problems: int) -> None:
    import itertools

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from trainer.data.pack import FAILURES, read_problems

    table = Table("file", "clips", "reason", box=SIMPLE_HEAD)
    for problem in itertools.islice(read_problems(out), MOST_ROWS):
        table.add_row(
            Text(printable(problem.file)), str(problem.n_examples), Text(printable(problem.reason))
        )
    Console(stderr=True).print(table)
    if n_problems > MOST_ROWS:
        note(f"and {n_problems - MOST_ROWS} more in {out / FAILURES}")
