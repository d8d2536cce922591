"""Options that several commands share, one by one or many together."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from soundsearch.choices import Device

if TYPE_CHECKING:
    from soundsearch.store import Store

#: A text: a path would make one of the two slashes in the address of a database.
IndexFolder = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="FOLDER|URL",
        envvar="SOUNDSEARCH_INDEX",
        show_envvar=True,
        help="Folder of the index, or the postgresql://... address of a database. [default: in "
        "your data folder]",
    ),
]
DeviceChoice = Annotated[
    Device, typer.Option("--device", help="Run the encoder here; auto takes a GPU if there is one.")
]
Jobs = Annotated[
    int | None,
    typer.Option("-j", "--jobs", min=1, help="Files read at a time. [default: one per core]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON (described in docs/json.md).")]
Paths = Annotated[bool, typer.Option("--paths", help="Print paths alone, one a line, for pipes.")]
Null = Annotated[
    bool, typer.Option("-0", "--null", help="Like --paths, with a zero byte after each (xargs -0).")
]
TopK = Annotated[int, typer.Option("-k", "--top-k", min=1, help="At most so many results.")]

Command = Callable[..., None]


def path_option(help: str, *names: str, **settings: Any) -> Any:
    """An option with a path that the command itself opens: its messages say more than Typer's."""
    return typer.Option(*names, readable=False, help=help, **settings)


def open_store(index: str | None) -> Store:
    """Open the index that --index names, or the user's own."""
    from soundsearch.paths import index_place
    from soundsearch.store import Store

    return Store.open(index_place(index))


def shared_options(options: type, name: str = "options") -> Callable[[Command], Command]:
    """Make a command take the fields of a dataclass in place of one of its parameters.

    Each field is annotated as Typer wants a parameter, and comes after the command's own.

    Args:
        options: The dataclass.
        name: The parameter that gets it.
    """
    hints = get_type_hints(options, include_extras=True)
    fields = dataclasses.fields(options)

    def decorate(command: Command) -> Command:
        own = get_type_hints(command, include_extras=True)
        parameters = [
            parameter.replace(annotation=own[own_name])
            for own_name, parameter in inspect.signature(command).parameters.items()
            if own_name != name
        ] + [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=hints[field.name],
            )
            for field in fields
        ]

        @functools.wraps(command)
        def wrapper(**given: Any) -> None:
            chosen = options(**{field.name: given.pop(field.name) for field in fields})
            command(**given, **{name: chosen})

        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapper

    return decorate
