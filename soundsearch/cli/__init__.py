"""The `soundsearch` command: one module per group of commands; each parses, calls and renders.

Nothing heavy is imported before a command runs, and of the commands only the one that runs. Errors of ours become one line on stderr and exit
code 1 here and nowhere else; any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

import soundsearch
from soundsearch.cli import streams
from soundsearch.descriptors import TOO_MANY, ran_out, too_many
from soundsearch.errors import SoundsearchError
from soundsearch.paths import NO_CURRENT_FOLDER
from soundsearch.render import printable

#: Command -> the module of this package that has it: a function of its name, or a group called app.
MODULES = {
    "index": "index",
    "ingest": "parts",
    "export-parts": "parts",
    "reembed": "reembed",
    "query": "search",
    "similar": "search",
    "describe": "search",
    "show": "show",
    "duplicates": "duplicates",
    "serve": "serve",
    "roots": "roots",
    "status": "upkeep",
    "verify": "upkeep",
    "repair": "upkeep",
    "demo": "demo",
    "bench": "bench",
    "models": "models",
    "train": "train",
}
#: Of whichever click this Typer brings.
UsageError: Any = typer.BadParameter.__base__
#: An option with an empty value.
_IS_EMPTY = re.compile("--[a-z-]+=")


class _Commands(Mapping[str, Any]):
    """The commands by name; each is imported when it is looked up."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            module = importlib.import_module(f"soundsearch.cli.{MODULES[name]}")
            if hasattr(module, "app"):
                made: Any = get_group(module.app)
            else:
                alone = typer.Typer(add_completion=False, rich_markup_mode=None)
                alone.command()(getattr(module, name.replace("-", "_")))
                made = get_command(alone)
            made.name = name
            self._made[name] = made
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


class _Group(TyperGroup):
    """Shows our errors as one line, and a current folder that is gone."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = _Commands()

    def main(self, *arguments: Any, **options: Any) -> Any:
        streams.prepare()
        try:
            return super().main(*arguments, **options)
        except SoundsearchError as error:  # help that cannot be written, say
            _show(error)
            sys.exit(1)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an empty argument: as a path it would be the current folder."""
        if any(not argument or _IS_EMPTY.fullmatch(argument) for argument in args):
            raise typer.BadParameter(
                "an argument is empty, such as of a variable that is not set; "
                "give it a value, or leave it out"
            )
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            if type(error).__name__ == "NoSuchOption" and _takes_arguments(error):
                error.message += '; a text or file that begins with "-" comes last, after --'
            raise
        except SoundsearchError as error:
            _show(error)
            raise typer.Exit(1) from error
        except (OSError, ImportError) as error:  # modules are files, too
            if ran_out(error):
                _show(SoundsearchError(too_many()))
            elif isinstance(error, FileNotFoundError) and not _has_folder():
                _show(SoundsearchError(NO_CURRENT_FOLDER))
            else:
                raise
            raise typer.Exit(1) from error


def _takes_arguments(error: Any) -> bool:
    return any(parameter.param_type_name == "argument" for parameter in error.ctx.command.params)


def _show(error: SoundsearchError) -> None:
    """What else an error says where no descriptor was left is not the reason."""
    text = str(error)
    if ran_out(error) and TOO_MANY not in text:
        text = too_many()
    typer.echo(f"error: {printable(text)}", err=True)


def _has_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


class _Note(logging.Formatter):
    """A note is one line, whatever a file is called."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


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
    handler = logging.StreamHandler()
    handler.setFormatter(_Note("note: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
