"""`soundsearch duplicates`: recordings of the index with the same content."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from soundsearch.cli.options import IndexFolder, Json, Null, Paths
from soundsearch.cli.streams import note
from soundsearch.render import duplicates_json, short_path

if TYPE_CHECKING:
    from soundsearch.duplicates import Duplicates


def duplicates(
    index: IndexFolder = None, paths: Paths = False, null: Null = False, json: Json = False
) -> None:
    """List exact copies: recordings whose files hold the same bytes.

    Prints one path a line, and an empty line between groups of copies. Files that are not there
    now are marked; --paths and --null leave them out, with groups of which one file or none is
    there. With --null, an empty entry ends each group. Nothing is changed, and no file is read.

    Example: soundsearch duplicates
    """
    from soundsearch.duplicates import duplicates as find_duplicates
    from soundsearch.paths import index_folder
    from soundsearch.store import Store

    store = Store.open(index_folder(index))
    with store.snapshot() as reader:
        groups = find_duplicates(reader)
        if json:
            for part in duplicates_json(groups):
                typer.echo(part, nl=False)
        elif paths or null:
            _write_paths(groups, null)
        else:
            _write_lines(groups)


def _write_lines(groups: Iterator[Duplicates]) -> None:
    n_groups = n_more = n_bytes = 0
    for group in groups:
        lines = [
            short_path(copy.path) + ("" if copy.is_present else " (not there now)")
            for copy in group.copies
        ]
        typer.echo("\n".join(["", *lines] if n_groups else lines))
        n_groups += 1
        n_more += len(group.copies) - 1
        n_bytes += group.size_bytes * (len(group.copies) - 1)
    if n_groups:
        note(f"groups: {n_groups}, copies beside the first: {n_more} ({n_bytes / 1e6:.1f} MB)")
    else:
        note("no two recordings have the same content")


def _write_paths(groups: Iterator[Duplicates], null: bool) -> None:
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
