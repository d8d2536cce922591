"""Hold the things that were used last, and make the others again when they are needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class RecentlyUsed(Generic[T]):
    """Number -> thing, made by `make`; the `size` that were used last are held.

    Goes to another process without what it holds, since open files do not travel.
    """

    def __init__(self, make: Callable[[int], T], size: int) -> None:
        self._make, self._size = make, size
        self._things: OrderedDict[int, T] = OrderedDict()

    def __call__(self, number: int) -> T:
        """The thing of this number."""
        if number not in self._things:
            self._things[number] = self._make(number)
            if len(self._things) > self._size:
                self._things.popitem(last=False)
        self._things.move_to_end(number)
        return self._things[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_things": OrderedDict()}
