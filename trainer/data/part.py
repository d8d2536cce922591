"""A part of a long work, for one of several machines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Part `number` of `total`, from 1 on: every total-th thing from that number on.

    Raises ValueError for a number that is not from 1 to total.
    """

    number: int = 1
    total: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.total:
            raise ValueError(f"a part must be from 1/{self.total} to {self.total}/{self.total}")

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    @property
    def is_all(self) -> bool:
        """Whether there is one part alone."""
        return self.total == 1

    def of(self, things: Sequence[T]) -> Sequence[T]:
        """The things of this part, in order."""
        return things[self.number - 1 :: self.total]


def parse_part(text: str) -> Part:
    """The part that is written as 3/16. Raises ValueError."""
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text.strip())
    if match is None or not int(match[2]):
        raise ValueError(f"expected K/N, such as 3/16, found {text!r}")
    try:
        return Part(int(match[1]), int(match[2]))
    except ValueError as error:
        raise ValueError(f"{error}, found {text!r}") from error
