"""`soundsearch index`: folders of sound into the index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundsearch.cli.index_report import print_plan, print_report
from soundsearch.cli.options import DeviceChoice, IndexFolder, Jobs, Json, path_option
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.ours import require_ours
from soundsearch.render import report_facts, to_json
from soundsearch.urls import path_of


def index(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Folders, files or URLs; none means all of those indexed before."),
    ] = None,
    index: IndexFolder = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Skip names or relative paths like this (shell pattern; repeatable)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be done; change nothing.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also delete what is known of files that have vanished.")
    ] = False,
    retry: Annotated[
        bool,
        typer.Option(
            "--retry",
            help="Also try files again that failed, or were read in part, and have not changed.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Read all files again, also those that look unchanged.")
    ] = False,
    captions: Annotated[
        Path | None,
        path_option(
            "CSV of words for recordings (file, text, other columns), in place of earlier ones."
        ),
    ] = None,
    no_captions: Annotated[
        bool, typer.Option("--no-captions", help="Take the captions of these folders away.")
    ] = False,
    jobs: Jobs = None,
    model: Annotated[
        str | None,
        typer.Option(help="Encoder of a new index: a name from `models list`, or a folder."),
    ] = None,
    device: DeviceChoice = "auto",
    workers: Annotated[
        str | None,
        typer.Option(
            help="Read and embed in so many processes, or on a Dask cluster (dask://host:8786). "
            "[default: threads of this process]"
        ),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(
            help="Folder or URL, reached by all workers, that keeps what they write. "
            "[default: a folder in the index, emptied at the end]"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Index folders of sound, or bring the index up to date with them.

    What has not changed is skipped, what was moved (from a root that was renamed, too) is not
    embedded anew, what cannot be read costs one line and is tried again once it has changed. Stop
    it whenever you like: it goes on where it was.

    A URL of a storage that fsspec knows (s3://, gs://, az://, https://) is a folder, a recording, a
    tar file of recordings, or a list of URLs (.txt).

    Example: soundsearch index ~/Sounds /mnt/archive --exclude "*.asd"
    """
    require_ours("indexer")
    from indexer.index_options import IndexOptions
    from indexer.index_run import IndexRun
    from soundsearch.paths import index_place

    if captions is not None and no_captions:
        raise typer.BadParameter("--captions and --no-captions exclude each other")
    if parts is not None and workers is None:
        raise typer.BadParameter("--parts is of use with --workers; give both")
    options = IndexOptions(
        device=device,
        exclude=exclude or [],
        jobs=jobs,
        prune=prune,
        retry=retry,
        force=force,
        workers=workers,
        parts=parts,
    )
    with IndexRun(
        index_place(index),
        [path_of(path) for path in paths or []],
        model,
        captions=captions,
        no_captions=no_captions,
    ) as run:
        if not run.paths:
            raise typer.BadParameter("give at least one folder: nothing has been indexed yet")
        if dry_run:
            with progress_on_stderr(quiet=json) as progress:
                plan = run.plan(options, progress=progress)
            print_plan(plan, json)
            return
        with progress_on_stderr(quiet=json) as progress:
            plan, report = run.run(options, progress=progress)
    if json:
        typer.echo(to_json(report_facts(report)))
    print_report(plan, report, with_summary=not json)
    if report.interrupted:
        raise typer.Exit(130)
    if plan.absent:
        raise typer.Exit(1)
