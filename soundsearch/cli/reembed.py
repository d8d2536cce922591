"""`soundsearch reembed`: another encoder for an index, behind the one that answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.cli.options import DeviceChoice, IndexFolder, Jobs, Json
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.streams import note
from soundsearch.render import how_fast, reasons, to_json

if TYPE_CHECKING:
    from indexer.reembed import ReembedReport


def reembed(
    model: Annotated[
        str | None,
        typer.Option(
            help="The new encoder: a name from `models list`, or a folder. [default: the one that "
            "was begun]"
        ),
    ] = None,
    index: IndexFolder = None,
    without_absent: Annotated[
        bool,
        typer.Option(
            "--without-absent",
            help="Switch also where recordings cannot be read now; the next index run that finds "
            "them embeds them.",
        ),
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Drop what was begun; the index keeps its encoder.")
    ] = False,
    jobs: Jobs = None,
    device: DeviceChoice = "auto",
    json: Json = False,
) -> None:
    """Give the index another encoder.

    All recordings are embedded again, behind the embeddings that answer meanwhile. Once all are
    there, the index is switched at once; names, metadata and folders stay. Stop it whenever you
    like: the same command goes on where it was.

    Example: soundsearch reembed --model my-encoder
    """
    import soundsearch

    if cancel:
        if model is not None:
            raise typer.BadParameter("--cancel takes no --model; leave one of them out")
        was_begun = soundsearch.cancel_reembedding(index)
        note("dropped; the index keeps its encoder" if was_begun else "no reembedding was begun")
        return
    with progress_on_stderr(quiet=json) as progress:
        report = soundsearch.reembed(
            index, model, device=device, jobs=jobs, without_absent=without_absent, progress=progress
        )
    if json:
        typer.echo(to_json(report_facts(report)))
    print_report(report, with_summary=not json)
    if report.interrupted:
        raise typer.Exit(130)
    if not report.switched:
        raise typer.Exit(1)


def report_facts(report: ReembedReport) -> dict[str, object]:
    """What a run did, as docs/json.md describes it."""
    return {
        "encoder": asdict(report.encoder),
        "switched": report.switched,
        "interrupted": report.interrupted,
        "embedded": report.n_embedded,
        "ready": report.n_ready,
        "left_out": report.n_left_out,
        "windows": report.n_windows,
        "audio_s": round(report.audio_s, 3),
        "elapsed_s": round(report.elapsed_s, 3),
        "failures": reasons(report.failures),
        "absent": reasons(report.absent),
    }


def print_report(report: ReembedReport, with_summary: bool) -> None:
    """Troubles of a run on stderr, and what became of the index unless JSON says it already."""
    if not report.switched:
        for path, reason in report.absent:
            note(f"error: {path}: {reason}")
    did = f"{report.n_embedded} embedded, {len(report.failures)} failed"
    did += how_fast(report.audio_s, report.elapsed_s)
    if report.interrupted and not report.switched:
        note(f"stopped; what was finished is kept, run it again to go on: {did}")
    elif not report.switched:
        note(
            f"not switched, the old encoder goes on answering: {did}; run it again when these are "
            "there, or leave them out with --without-absent"
        )
    elif with_summary:
        note(f"switched to {report.encoder}: {report.n_ready} recordings; {did}")
        if report.n_left_out:
            note(f"{report.n_left_out} not embedded; the next index run that finds them does it")
