"""`soundsearch roots`: the folders that were indexed, and what to do when one is moved or gone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.cli.options import IndexFolder, Json, open_store
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.streams import note
from soundsearch.render import printable, to_json

if TYPE_CHECKING:
    from soundsearch.store import Root, Store

app = typer.Typer(rich_markup_mode=None)

OldRoot = Annotated[
    Path, typer.Argument(readable=False, help="A root as `soundsearch roots` lists it.")
]


@app.callback(invoke_without_command=True)
def roots(context: typer.Context, index: IndexFolder = None, json: Json = False) -> None:
    """List the roots of the index, or move or remove one.

    A root is a folder (or a single file) that was given to `index`. Prints the number of
    recordings and the path.

    Example: soundsearch roots
    """
    if context.invoked_subcommand is not None:
        _refuse_options_before_a_command(context)
        return
    from soundsearch.roots import facts_of_roots

    with open_store(index).snapshot() as reader:
        found = facts_of_roots(reader)
    if json:
        typer.echo(to_json({"roots": [root.to_dict() for root in found]}))
        return
    width = max((len(str(root.n_indexed)) for root in found), default=0)
    for root in found:
        typer.echo(f"{root.n_indexed:>{width}}  {_line(root.path, root.absence)}")
    for root in found:
        if root.is_lost:
            note(f"{root.path}: {root.absence} now; {root.way_out}")
    if not found:
        note("no roots; add a folder with: soundsearch index FOLDER")


@app.command()
def move(
    old: OldRoot,
    new: Annotated[Path, typer.Argument(readable=False, help="Where its recordings are now.")],
    index: IndexFolder = None,
) -> None:
    """Put a root under a new path, after its folder was moved or renamed.

    Nothing is read or embedded again. Some recordings are looked for in the new place first: at
    least one must be there. Where the new place lies in another root, or holds one, they become
    one root.

    Example: soundsearch roots move /media/OLD /media/NEW
    """
    from soundsearch.roots import move_root

    store, root = _opened(index, old)
    with store.writer() as writer, progress_on_stderr() as progress:
        done = move_root(writer, root, new, progress)
    line = f"moved {root.path} to {new}: recordings: {done.n_recordings}"
    if done.n_sampled:
        line += f"; looked for {done.n_sampled}, found {done.n_found}"
    note(line)
    if done.n_found < done.n_sampled:
        note("some files differ or are not there; run: soundsearch index")


@app.command()
def remove(
    root: OldRoot,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    index: IndexFolder = None,
) -> None:
    """Delete a root from the index, with all that is known of its recordings.

    Your files stay as they are. Asks before it deletes.

    Example: soundsearch roots remove /media/OLD
    """
    from soundsearch.roots import remove_root

    store, found = _opened(index, root)
    n_recordings = _n_recordings(store, found)
    name = printable(found.path)
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise typer.BadParameter(
                f"{name}: {n_recordings} recordings would be deleted from the index, and standard "
                "input is no terminal to ask at; add --yes"
            )
        question = f"{name}: delete {n_recordings} recordings from the index? [y/N] "
        typer.echo(question, nl=False, err=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            note("nothing was deleted")
            raise typer.Exit(1)
    with store.writer() as writer, progress_on_stderr() as progress:
        n_deleted = remove_root(writer, found, progress)
    note(f"{name}: recordings deleted from the index: {n_deleted}")


def _opened(index: str | None, path: Path) -> tuple[Store, Root]:
    """The index, and the root of it that a path names."""
    from soundsearch.roots import find_root

    store = open_store(index)
    return store, find_root(store, path)


def _n_recordings(store: Store, root: Root) -> int:
    with store.snapshot() as reader:
        return sum(1 for _ in reader.recordings(root.id))


def _refuse_options_before_a_command(context: typer.Context) -> None:
    """They would be ignored: the command has its own."""
    for name in ("index", "json"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"--{name} goes after `{context.invoked_subcommand}`")


def _line(path: Path, absence: str | None) -> str:
    return printable(f"{path}{f' ({absence} now)' if absence else ''}")
