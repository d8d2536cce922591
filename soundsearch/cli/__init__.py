"""The `soundsearch` command: one module per group of commands; each parses, calls and renders.

Nothing heavy is imported before a command runs. Errors of ours become one line on stderr and exit
code 1 here and nowhere else; any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import soundsearch
from soundsearch.cli import bench, demo, index, models, search, train, upkeep
from soundsearch.errors import SoundsearchError


class _Group(TyperGroup):
    """Shows our errors as one line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SoundsearchError as error:
            typer.echo(f"error: {_one_line(str(error))}", err=True)
            raise typer.Exit(1) from error


def _one_line(text: str) -> str:
    from soundsearch.render import shown

    return shown(text)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search libraries of sound by words and by example.",
    epilog='Example: soundsearch index ~/Sounds && soundsearch query "dog barking in rain"',
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"soundsearch {soundsearch.__version__}")
        raise typer.Exit


@app.callback()
def _start(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    # Notes of the library (a cache made again, say) go to stderr; results alone go to stdout.
    logging.basicConfig(stream=sys.stderr, format="note: %(message)s", level=logging.WARNING)


app.command()(index.index)
app.command()(search.query)
app.command()(search.similar)
app.command()(search.describe)
app.command()(upkeep.status)
app.command()(upkeep.verify)
app.command()(upkeep.repair)
app.command()(demo.demo)
app.add_typer(bench.app, name="bench")
app.add_typer(models.app, name="models")
app.add_typer(train.app, name="train")
