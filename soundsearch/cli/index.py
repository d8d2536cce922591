"""`soundsearch index`: folders of sound into the index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.cli.index_report import print_plan, print_report, report_facts
from soundsearch.cli.options import DeviceChoice, IndexFolder, Json
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.ours import require_ours
from soundsearch.render import to_json

if TYPE_CHECKING:
    from soundsearch.store.store import Root, Store


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
    jobs: Annotated[
        int | None,
        typer.Option("-j", "--jobs", min=1, help="Files read at a time. [default: one per core]"),
    ] = None,
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
    from indexer.pipeline import run
    from indexer.plan import choose_targets, make_plan
    from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
    from soundsearch.encoder.towers import Encoder
    from soundsearch.paths import index_folder
    from soundsearch.store.pinned import check_same_encoder, create_index, pinned_bundle
    from soundsearch.store.store import Store

    folder = index_folder(index)
    wanted = find_bundle(model) if model else None
    store = Store.open(folder) if Store.exists(folder) else None
    if store and wanted:
        check_same_encoder(store, wanted)
    roots = _known_roots(store)
    if not paths and not roots:
        raise typer.BadParameter("give at least one folder: nothing has been indexed yet")
    places = paths or [root.path for root in roots]
    targets = choose_targets(roots, places)  # refuses impossible paths before all else
    if dry_run:
        with progress_on_stderr(quiet=json) as progress:
            plan = make_plan(
                store, targets, exclude or [], retry=retry, force=force, progress=progress
            )
        print_plan(plan, json)
        return
    if store is None:
        store = create_index(folder, wanted or find_bundle(DEFAULT_MODEL))
    encoder = Encoder(pinned_bundle(store), device)
    with progress_on_stderr(quiet=json) as progress:
        plan, report = run(
            store,
            encoder,
            places,
            exclude=exclude or [],
            jobs=jobs,
            prune=prune,
            retry=retry,
            force=force,
            progress=progress,
        )
    if json:
        typer.echo(to_json(report_facts(plan, report)))
    print_report(plan, report, with_summary=not json)
    if report.interrupted:
        raise typer.Exit(130)
    if plan.absent:
        raise typer.Exit(1)


def _known_roots(store: Store | None) -> list[Root]:
    if store is None:
        return []
    with store.snapshot() as connection:
        return store.roots(connection)
