"""`soundsearch index`: folders of sound into the index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsearch.cli.options import DeviceChoice, IndexFolder, Json
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.ours import require_ours

if TYPE_CHECKING:
    from indexer.plan import Plan
    from indexer.report import Report
    from soundsearch.store.store import Root, Store

#: So many endings of skipped files are named.
N_ENDINGS = 5


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
        typer.Option(
            help="Pass over names or relative paths like this (shell pattern; repeatable)."
        ),
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
    from soundsearch.render import to_json
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
        _preview(plan, json)
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
        typer.echo(to_json(_report_facts(plan, report)))
    _tell_trouble(plan)
    _tell_dropped(report)
    _tell_report(plan, report, shown=not json)
    if report.interrupted:
        raise typer.Exit(130)
    if plan.absent:
        raise typer.Exit(1)


def _known_roots(store: Store | None) -> list[Root]:
    if store is None:
        return []
    with store.snapshot() as connection:
        return store.roots(connection)


def _preview(plan: Plan, json: bool) -> None:
    from soundsearch.render import near, to_json

    todo = {
        "new": [plan.path_of(file) for file in plan.new],
        "changed": [plan.path_of(file) for _, file in plan.changed],
        "moved": [plan.path_of(file) for _, file in (*plan.moved, *plan.returned)],
        "again": [plan.path_of(file) for _, file in plan.again],
        "removed": [plan.known_path(recording) for recording in plan.missing],
    }
    if json:
        facts = {"unchanged": plan.n_unchanged, "failed_before": len(plan.failed_before)}
        typer.echo(to_json({"dry_run": True, **facts, **todo, "skipped": _by_number(plan)}))
    else:
        for what, files in todo.items():
            for path in sorted(files):
                typer.echo(f"{what:8}{near(path)}")
    _tell_trouble(plan)
    counts = ", ".join(
        f"{len(files)} {what}" for what, files in todo.items() if files or what != "again"
    )
    typer.echo(f"would be: {counts}, {plan.n_unchanged} unchanged; nothing was changed", err=True)
    _tell_left_out(plan)


def _report_facts(plan: Plan, report: Report) -> dict[str, Any]:
    return {
        "dry_run": False,
        "new": report.n_new,
        "changed": report.n_changed,
        "moved": report.n_moved,
        "unchanged": report.n_unchanged,
        "again": report.n_read_again,
        "removed": report.n_removed,
        "failed": report.n_failed,
        "failed_before": report.n_failed_before,
        "pruned": report.n_pruned,
        "windows": report.n_windows,
        "audio_s": round(report.audio_s, 3),
        "elapsed_s": round(report.elapsed_s, 3),
        "stage_s": {stage: round(seconds, 3) for stage, seconds in report.stage_s.items()},
        "interrupted": report.interrupted,
        "skipped": _by_number(plan),
        "failures": [{"path": path, "reason": reason} for path, reason in report.failures],
        "absent": [{"path": path, "reason": reason} for path, reason in plan.absent],
        "left_behind": [{"path": path, "reason": reason} for path, reason in plan.left_behind],
        "dropped_roots": report.dropped_roots,
    }


def _tell_trouble(plan: Plan) -> None:
    from soundsearch.render import shown

    for path, reason in plan.unreadable:
        typer.echo(f"skipped folder {shown(path)}: {reason}; what is known of it is kept", err=True)
    for path, reason in plan.left_behind:
        typer.echo(shown(f"note: {path}: {reason}"), err=True)
    for path, reason in plan.absent:
        typer.echo(shown(f"error: {path}: {reason}"), err=True)


def _tell_dropped(report: Report) -> None:
    from soundsearch.render import shown

    for path in report.dropped_roots:
        why = "all its recordings were found elsewhere or deleted"
        typer.echo(f"dropped root {shown(path)}: {why}", err=True)


def _by_number(plan: Plan) -> dict[str, int]:
    """Files skipped by ending, the most frequent first."""
    return dict(plan.all_skipped.most_common())


def _tell_left_out(plan: Plan) -> None:
    """What was not read, and how it would be."""
    from soundsearch.render import endings

    if plan.failed_before:
        n = len(plan.failed_before)
        typer.echo(f"{n} failed before and unchanged; try them again with --retry", err=True)
    if plan.all_skipped:
        typer.echo(f"skipped by ending: {endings(plan.all_skipped, N_ENDINGS)}", err=True)


def _tell_report(plan: Plan, report: Report, shown: bool) -> None:
    from soundsearch.render import length

    parts = [
        f"{report.n_new} new",
        f"{report.n_changed} changed",
        f"{report.n_moved} moved",
        f"{report.n_unchanged} unchanged",
        f"{report.n_removed} removed",
        f"{report.n_failed} failed",
    ]
    if report.n_read_again:
        parts.append(f"{report.n_read_again} read again")
    if report.n_pruned:
        parts.append(f"{report.n_pruned} pruned")
    line = ", ".join(parts)
    if report.audio_s:
        speed = report.audio_s / max(report.elapsed_s, 1e-3)
        line += f"; {length(report.audio_s)} of sound in {report.elapsed_s:.1f} s ({speed:.0f} times real time)"
    if report.interrupted:
        line = f"stopped; what was finished is kept, run it again to go on: {line}"
    if shown or report.interrupted:
        typer.echo(line, err=True)
    if shown:
        _tell_left_out(plan)
