"""Parameters of requests: what the API takes, checks and documents, declared once."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from starlette.requests import Request

from soundsearch.serve.http_errors import RequestError

if TYPE_CHECKING:
    from soundsearch.serve.state import Served

Kind = Literal["string", "integer", "number", "boolean"]
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
#: The longest value of a parameter, in characters.
LONGEST = 10_000


class Values(Protocol):
    """Names with their values: of a query string, or of a form."""

    def __iter__(self) -> Iterator[str]:
        """All names."""

    def getlist(self, key: str) -> list[Any]:
        """All values of a name, in their order."""


@dataclass(frozen=True)
class Call:
    """A request that is to be answered.

    Attributes:
        request: As it came.
        served: What all requests share.
        values: Of its parameters by their names, and the recording's id of its path as `id`. Those of
            a form are not among them: its handler reads it.
    """

    request: Request
    served: Served
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a request.

    Attributes:
        name: As it stands in a query string or a form.
        text: What it means.
        kind: What its value is.
        default: Where it is not given.
        is_needed: Whether it must be given.
        is_repeated: Whether it may be given several times; its value is a list.
        least: The smallest number.
        most: The largest number.
        choices: The texts that it may be; none for any.
    """

    name: str
    text: str
    kind: Kind = "string"
    default: Any = None
    is_needed: bool = False
    is_repeated: bool = False
    least: float | None = None
    most: float | None = None
    choices: Sequence[str] = ()

    @property
    def expected(self) -> str:
        """What a value is, in words."""
        if self.choices:
            return " or ".join(self.choices)
        if self.kind == "boolean":
            return "true or false"
        what = {"integer": "a whole number", "number": "a number"}.get(self.kind, "a text")
        if self.least is not None and self.most is not None:
            return f"{what} from {self.least:g} to {self.most:g}"
        return what if self.least is None else f"{what} of {self.least:g} or more"

    def value_of(self, text: str) -> Any:
        """Return the value that a text means. Raises RequestError for one that means none."""
        value: Any = text
        try:
            if len(text) > LONGEST:
                raise ValueError
            if self.kind == "boolean":
                value = TRUTH[text.lower()]
            elif self.kind in ("integer", "number"):
                value = int(text) if self.kind == "integer" else float(text)
                least = -math.inf if self.least is None else self.least
                if not least <= value <= (math.inf if self.most is None else self.most):
                    raise ValueError
            elif self.choices and text not in self.choices:
                raise ValueError
        except (ValueError, KeyError) as error:
            shown = text if len(text) <= 60 else f"{text[:57]}..."
            raise RequestError(
                400, f"{self.name} is {shown!r}, expected {self.expected}"
            ) from error
        return value


def read(parameters: Sequence[Parameter], values: Values) -> dict[str, Any]:
    """Return the values of parameters by their names.

    Raises:
        RequestError: One is unknown, missing, given twice or out of range.
    """
    known: Mapping[str, Parameter] = {parameter.name: parameter for parameter in parameters}
    for name in values:
        if name not in known:
            like = difflib.get_close_matches(name, known, 1)
            meant = f"did you mean {like[0]}?" if like else f"expected {', '.join(known)}"
            raise RequestError(400, f"{name!r}: no parameter; {meant}")
    found: dict[str, Any] = {}
    for name, parameter in known.items():
        texts = values.getlist(name)
        if any(not isinstance(text, str) for text in texts):
            raise RequestError(400, f"{name} is a file, expected {parameter.expected}")
        given = [parameter.value_of(text) for text in texts]
        if parameter.is_repeated:
            found[name] = given
        elif len(given) > 1:
            raise RequestError(400, f"{name} is given {len(given)} times; give it once")
        elif parameter.is_needed and not given:
            raise RequestError(400, f"{name} is missing, expected {parameter.expected}")
        else:
            found[name] = given[0] if given else parameter.default
    return found
