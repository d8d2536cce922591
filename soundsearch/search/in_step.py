"""Answers of an open index that gets another encoder meanwhile.

Encoder, vectors and rows are loaded one after the other, when they are first needed. An answer
counts if the index had the same encoder before and after it; else all is loaded anew. Several
threads may use one index: what is loaded is loaded by one of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from soundsearch.store.pinned import check_same_encoder

if TYPE_CHECKING:
    from soundsearch.search.index import Index

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
Value = TypeVar("Value")
#: What an `Index` loads once.
LOADED = ("encoder", "calibration", "vectors")


class loaded_once(Generic[Value]):
    """A property of an `Index` that one thread computes, while others that need it wait."""

    def __init__(self, load: Callable[[Any], Value]) -> None:
        self._load = load
        self.__doc__ = load.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, index: Index, owner: type) -> Value:
        with index.loading:
            if self._name not in index.__dict__:
                index.__dict__[self._name] = self._load(index)
            value: Value = index.__dict__[self._name]
            return value


def in_step(
    method: Callable[Concatenate[Index, Arguments], Answer],
) -> Callable[Concatenate[Index, Arguments], Answer]:
    """A method that answers again where the index got another encoder while it did."""

    @functools.wraps(method)
    def answered(index: Index, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        keep_up(index)
        while True:
            pinned = index.pinned
            try:
                answer = method(index, *args, **kwargs)
            except Exception:
                if not keep_up(index) and pinned == index.pinned:
                    raise
            else:
                if not keep_up(index) and pinned == index.pinned:  # else another thread did
                    return answer

    return answered


def keep_up(index: Index) -> bool:
    """Load all anew if the index got another encoder; returns whether it did.

    Raises:
        IndexMismatchError: it did, and was opened with another one by its name.
    """
    pinned = index.store.encoder()
    if pinned == index.pinned:
        return False
    if index.bundle is not None:
        check_same_encoder(index.store, index.bundle)
    with index.loading:
        for name in LOADED:
            index.__dict__.pop(name, None)
        index.pinned = pinned
    return True
