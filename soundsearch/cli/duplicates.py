"""`soundsearch duplicates`: recordings of the index with the same sound."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.cli.options import IndexFolder, Json, Null, Paths, open_store
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.streams import note
from soundsearch.render import duplicates_json, short_path

if TYPE_CHECKING:
    from soundsearch.duplicates import Copy, Duplicates
    from soundsearch.near_copies import NearDuplicates

    Groups = Iterator[Duplicates] | Iterator[NearDuplicates]

Near = Annotated[
    bool,
    typer.Option(
        "--near",
        help="List near copies: the same sound in another encoding, say, or at another level.",
    ),
]


def duplicates(
    index: IndexFolder = None,
    near: Near = False,
    paths: Paths = False,
    null: Null = False,
    json: Json = False,
) -> None:
    """List exact copies: recordings that hold the same sound, whatever their format and tags.

    Prints one path a line, and an empty line between groups of copies. Files that are not there
    now are marked; --paths and --null leave them out, with groups of which one file or none is
    there. With --null, an empty entry ends each group. Nothing is changed, and no file is read.

    With --near, lists recordings that are equally long and sound alike throughout instead, each
    after how near it is to the first of its group, 1 at most. They may be different takes: listen
    before you delete anything.

    Example: soundsearch duplicates --near
    """
    from soundsearch.duplicates import duplicates as find_duplicates
    from soundsearch.near_copies import near_copies

    store = open_store(index)
    with store.snapshot() as reader, progress_on_stderr(quiet=not near or json) as progress:
        groups: Groups
        groups = near_copies(reader, progress) if near else find_duplicates(reader)
        if json:
            for part in duplicates_json(groups):
                typer.echo(part, nl=False)
        elif paths or null:
            _write_paths(groups, null)
        else:
            _write_lines(groups, near)


def _write_lines(groups: Groups, near: bool) -> None:
    n_groups = n_more = n_bytes = 0
    for group in groups:
        lines = [_line(copy) for copy in group.copies]
        typer.echo("\n".join(["", *lines] if n_groups else lines))
        n_groups += 1
        n_more += len(group.copies) - 1
        n_bytes += sum(copy.size_bytes for copy in group.copies[1:])
    if n_groups:
        note(f"groups: {n_groups}, copies beside the first: {n_more} ({n_bytes / 1e6:.1f} MB)")
    elif near:
        note("no two recordings are near copies")
    else:
        note("no two recordings have the same sound")


def _line(copy: Copy) -> str:
    cosine = getattr(copy, "cosine", None)
    near = "" if cosine is None else f"{cosine:.3f}  "
    return f"{near}{short_path(copy.path)}{'' if copy.is_present else ' (not there now)'}"


def _write_paths(groups: Groups, null: bool) -> None:
    """Write the paths byte for byte; those that are not there are left out."""
    end = b"\0" if null else b"\n"
    n_written = n_left_out = 0
    for group in groups:
        there = [copy.path for copy in group.copies if copy.is_present]
        n_left_out += len(group.copies) - len(there)
        if len(there) < 2:
            n_left_out += len(there)
            continue
        if n_written and not null:
            sys.stdout.buffer.write(end)
        for path in there:
            sys.stdout.buffer.write(os.fsencode(path) + end)
        if null:
            sys.stdout.buffer.write(end)
        n_written += 1
    sys.stdout.buffer.flush()
    if n_left_out:
        note(f"left out, not there now or without a copy that is: {n_left_out}")
