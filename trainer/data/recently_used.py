"""Hold the things that were used last, and make the others again when they are needed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class RecentlyUsed(Generic[K, T]):
    """Key -> thing, made by `make`; the `size` that were used last are held. For any threads.

    Goes to another process without what it holds, since open files do not travel.
    """

    def __init__(self, make: Callable[[K], T], size: int) -> None:
        self._make, self._size = make, size
        self._begin()

    def _begin(self) -> None:
        self._things: OrderedDict[K, T] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, key: K) -> T:
        """The thing of this key."""
        with self._lock:
            if key not in self._things:
                self._things[key] = self._make(key)
                if len(self._things) > self._size:
                    self._things.popitem(last=False)
            self._things.move_to_end(key)
            return self._things[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"_make": self._make, "_size": self._size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()
