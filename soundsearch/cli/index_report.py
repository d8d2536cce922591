"""What `soundsearch index` prints: a plan, or what a run did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from soundsearch.cli.streams import note
from soundsearch.render import endings, how_fast, printable, short_path, to_json

if TYPE_CHECKING:
    from indexer.plan import Plan
    from indexer.report import Report

#: So many endings of skipped files are named.
N_ENDINGS = 5
#: So many files of captions without a recording are named.
N_FILES = 3


def print_plan(plan: Plan, json: bool) -> None:
    """What a run would do, in lines or as JSON; troubles and counts go to stderr."""
    todo = {
        "new": [plan.path_of(file) for file in plan.new],
        "changed": [plan.path_of(file) for _, file in plan.changed],
        "moved": [plan.path_of(file) for _, file in (*plan.moved, *plan.returned)],
        "again": [plan.path_of(file) for _, file in plan.again],
        "removed": [plan.known_path(recording) for recording in plan.missing],
    }
    if json:
        skipped = dict(plan.all_skipped.most_common())
        facts = {"unchanged": plan.n_unchanged, "failed_before": len(plan.failed_before)}
        typer.echo(to_json({"dry_run": True, **facts, **todo, "skipped": skipped}))
    else:
        for what, files in todo.items():
            for path in sorted(files):
                typer.echo(f"{what:8}{short_path(path)}")
    _print_trouble(plan)
    counts = ", ".join(
        f"{len(files)} {what}" for what, files in todo.items() if files or what != "again"
    )
    note(f"would be: {counts}, {plan.n_unchanged} unchanged; nothing was changed")
    _print_left_out(plan)


def _print_trouble(plan: Plan) -> None:
    for path, reason in plan.unreadable:
        note(f"skipped folder {path}: {reason}; what is known of it is kept")
    for path, reason in plan.left_behind:
        note(f"note: {path}: {reason}")
    for path, reason in plan.absent:
        note(f"error: {path}: {reason}")


def _print_captions(report: Report) -> None:
    """How many recordings have captions, if the run was given some, and which rows name none."""
    if report.n_captioned or report.n_uncaptioned:
        lost = f", taken from {report.n_uncaptioned}" if report.n_uncaptioned else ""
        note(f"captions: recordings that have some now: {report.n_captioned}{lost}")
    files = report.unmatched_captions
    if files:
        more = f" and {len(files) - N_FILES} more" if len(files) > N_FILES else ""
        note(
            f"captions: rows that name no recording: {len(files)} "
            f"({', '.join(map(printable, files[:N_FILES]))}{more}); give paths relative to the "
            "indexed folder, or absolute ones"
        )


def _print_left_out(plan: Plan) -> None:
    """What was not read, and how it would be."""
    if plan.failed_before:
        n = len(plan.failed_before)
        note(f"{n} failed before and unchanged; try them again with --retry")
    if plan.all_skipped:
        note(f"skipped by ending: {endings(plan.all_skipped, N_ENDINGS)}")


def print_report(plan: Plan, report: Report, with_summary: bool) -> None:
    """Troubles of a run on stderr, and a summary unless JSON says it already."""
    _print_trouble(plan)
    _print_captions(report)
    for path in report.dropped_roots:
        note(f"dropped root {path}: all its recordings were found elsewhere or deleted")
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
    line = ", ".join(parts) + how_fast(report.audio_s, report.elapsed_s)
    if report.interrupted:
        line = f"stopped; what was finished is kept, run it again to go on: {line}"
    if with_summary or report.interrupted:
        note(line)
    if with_summary and plan.options.workers and report.causes:
        causes = ", ".join(f"{cause} {n}" for cause, n in report.causes.most_common())
        note(f"failed by cause: {causes}")
    if with_summary:
        _print_left_out(plan)
