"""`soundsearch ingest` and `export-parts`: an index from parts, and parts from an index."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from soundsearch.cli.options import IndexFolder, Json
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.streams import note
from soundsearch.ours import require_ours
from soundsearch.render import to_json


def ingest(
    parts: Annotated[str, typer.Argument(help="Folder or URL of parts (part-*.parquet).")],
    index: IndexFolder = None,
    model: Annotated[
        str | None,
        typer.Option(help="Encoder of a new index, where it is not among those installed."),
    ] = None,
    json: Json = False,
) -> None:
    """Store the recordings of parts in an index.

    Parts are what workers write (`index --workers --parts`), and what `export-parts` makes of an
    index. The index is made if there is none. Parts may come in any order, and more than once.

    Example: soundsearch ingest /shared/parts --index ~/archive
    """
    require_ours("indexer")
    from indexer.ingest import ingest as ingest_parts
    from soundsearch.paths import index_place

    with progress_on_stderr(quiet=json) as progress:
        report = ingest_parts(parts, index_place(index), model, progress=progress)
    if json:
        facts = {name.removeprefix("n_"): n for name, n in asdict(report).items()}
        typer.echo(to_json(facts))
        return
    note(
        f"parts: {report.n_parts}; recordings: {report.n_new} new, {report.n_replaced} replaced, "
        f"{report.n_known} known, {report.n_failed} failed; windows: {report.n_windows}"
    )


def export_parts(
    parts: Annotated[str, typer.Argument(help="Folder or URL, made if it is not there.")],
    index: IndexFolder = None,
) -> None:
    """Write an index as parts, which `ingest` makes an index of anywhere.

    Parts hold all that is known of recordings: facts, words, captions, failures and embeddings. The
    sound itself stays where it is.

    Example: soundsearch export-parts /media/stick/parts --index ~/archive
    """
    require_ours("indexer")
    from indexer.ingest import export
    from soundsearch.paths import index_place

    with progress_on_stderr() as progress:
        n_written, n_left_out = export(index_place(index), parts, progress=progress)
    note(f"recordings written to {parts}: {n_written}")
    if n_left_out:
        note(
            f"left out, not embedded yet: {n_left_out}; bring them up to date with: soundsearch index"
        )
