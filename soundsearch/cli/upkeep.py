"""`soundsearch status`, `verify` and `repair`: what is in an index, and whether it is sound."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.cli.options import IndexFolder, Json, open_store
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.streams import note
from soundsearch.render import duration, endings, printable, status_facts, to_json

if TYPE_CHECKING:
    from soundsearch.store.backend import GraphFacts
    from soundsearch.vectors.folder import BaseFacts

#: So many endings of skipped files are named.
N_ENDINGS = 10


def status(index: IndexFolder = None, json: Json = False) -> None:
    """Show what the index holds.

    Recordings, hours of sound, folders, encoder, how a large index is searched, failures by cause, and files skipped by ending.

    Example: soundsearch status
    """
    from soundsearch.errors import Cause
    from soundsearch.health import status as status_of

    found = status_of(open_store(index))
    if json:
        typer.echo(to_json(status_facts(found)))
        return
    typer.echo(f"index       {printable(found.folder)} ({found.size_bytes / 1e6:.1f} MB)")
    typer.echo(f"encoder     {found.encoder}")
    if found.reembedding is not None:
        typer.echo(
            f"reembedding {found.reembedding.encoder}: {found.reembedding.n_ready} of "
            f"{found.n_indexed} recordings are embedded; go on with: soundsearch reembed"
        )
    typer.echo(
        f"recordings  {found.n_indexed} ({duration(found.duration_s)} of sound, "
        f"{found.n_windows} windows), {found.n_missing} missing, {found.n_failed} failed"
    )
    if found.search is not None:
        typer.echo(f"search      {_search_line(found.search)}")
    for root in found.roots:
        why = f" ({root.absence} now)" if root.absence else ""
        typer.echo(f"root        {printable(root.path)}: {root.n_indexed}{why}")
    for cause, n in found.failures.items():
        label = "note" if cause in (Cause.TRACKS, Cause.NOT_EMBEDDED) else "trouble"
        typer.echo(f"{label:<12}{cause}: {n}")
    if found.skipped:
        typer.echo(f"skipped     {endings(found.skipped, N_ENDINGS)} (files of other endings)")
    for root in found.roots:
        if root.is_lost:
            note(f"{root.path}: {root.absence} now; {root.way_out}")


def _search_line(facts: BaseFacts | GraphFacts) -> str:
    """How an index of many windows is searched."""
    from soundsearch.store.backend import GraphFacts

    recall = "" if facts.recall_10 is None else f", finds {facts.recall_10:.1%} of the 10 nearest"
    how = (
        f"{facts.n_probe} of {facts.n_lists} lists"
        if not isinstance(facts, GraphFacts)
        else f"graph of the database, {facts.ef_search} candidates at a time"
    )
    return f"approximate: {how}{recall} (all with: query --exact)"


def verify(index: IndexFolder = None, json: Json = False) -> None:
    """Check whether the index is sound.

    Rows are held against words, vectors, files and encoder; the exit code is 1 if they disagree. Files that changed since they were indexed are listed, but are no fault of the index.

    Example: soundsearch verify
    """
    from soundsearch.health import verify as verify_index

    store = open_store(index)
    with progress_on_stderr(quiet=json) as progress:
        problems = verify_index(store, progress=progress)
    faults = [problem for problem in problems if not problem.is_drift]
    if json:
        typer.echo(to_json({"sound": not faults, "problems": [asdict(p) for p in problems]}))
    else:
        for problem in problems:
            typer.echo(f"{problem.kind:9} {printable(problem.text)}")
    if faults:
        is_lost = any(problem.kind == "database" for problem in faults)
        way_out = store.restore if is_lost else "run: soundsearch repair"
        note(f"the index is not sound (problems: {len(faults)}); {way_out}")
        raise typer.Exit(1)
    n_files = sum(problem.recording_id is not None for problem in problems)
    drift = f"; {n_files} files differ from it, run: soundsearch index" if n_files else ""
    if n_files < len(problems):
        drift += f"; roots that are not there: {len(problems) - n_files}"
    note(f"the index is sound{drift}")


def repair(
    index: IndexFolder = None,
    model: Annotated[
        str | None,
        typer.Option(help="Where to take a lost encoder from: a name, or a bundle's folder."),
    ] = None,
) -> None:
    """Mend what `verify` finds.

    Makes the words of names and the vectors beside the database again, puts back the encoder, drops odd rows (the next index run embeds
    those recordings anew).

    Example: soundsearch repair
    """
    from soundsearch.encoder.registry import find_bundle
    from soundsearch.health import repair as repair_index

    bundle = find_bundle(model) if model else None
    store = open_store(index)
    with progress_on_stderr() as progress:
        done = repair_index(store, bundle, progress=progress)
    for line in done or ["nothing to mend"]:
        note(line)
