"""Options that several commands take together, written once as a dataclass."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

Command = Callable[..., None]


def spread(options: type) -> Callable[[Command], Command]:
    """Make a command take the fields of a dataclass in place of its parameter `options`.

    Each field is annotated as Typer wants a parameter, and comes after the command's own.
    """
    hints = get_type_hints(options, include_extras=True)
    fields = dataclasses.fields(options)

    def taking(command: Command) -> Command:
        own = get_type_hints(command, include_extras=True)
        every = [
            parameter.replace(annotation=own[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "options"
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
        def taking_all(**given: Any) -> None:
            chosen = options(**{field.name: given.pop(field.name) for field in fields})
            command(**given, options=chosen)

        taking_all.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        taking_all.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
        return taking_all

    return taking
