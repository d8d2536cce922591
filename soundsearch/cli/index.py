"""`soundsearch index`: folders of sound into the index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundsearch.cli.index_report import print_plan, print_report
from soundsearch.cli.options import DeviceChoice, IndexFolder, Jobs, Json
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.ours import require_ours
from soundsearch.render import report_facts, to_json


def index(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            readable=False,
            help="Folders or files; none means all of those indexed before.",
        ),
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
        bool,
        typer.Option("--prune", help="Also delete what is known of files that have vanished."),
    ] = False,
    retry: Annotated[
        bool,
        typer.Option(
            "--retry",
            help="Also try files again that failed, or were read in part, and have not changed.",
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Read all files again, also those that look unchanged."),
    ] = False,
    captions: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="CSV of words for recordings (file, text, other columns), in place of earlier ones.",
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
    json: Json = False,
) -> None:
    """Index folders of sound, or bring the index up to date with them.

    What has not changed is skipped, what was moved (from a root that was renamed, too) is not
    embedded anew, what cannot be read costs one line and is tried again once it has changed. Stop
    it whenever you like: it goes on where it was.

    Example: soundsearch index ~/Sounds /mnt/archive --exclude "*.asd"
    """
    require_ours("indexer")
    from indexer.options import IndexOptions
    from indexer.run import IndexRun
    from soundsearch.paths import index_place

    if captions is not None and no_captions:
        raise typer.BadParameter("--captions and --no-captions exclude each other")
    options = IndexOptions(
        device=device, exclude=exclude or [], jobs=jobs, prune=prune, retry=retry, force=force
    )
    with IndexRun(
        index_place(index), paths or [], model, captions=captions, no_captions=no_captions
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
