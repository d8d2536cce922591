"""Answers of an open index that gets another encoder meanwhile.

Encoder, vectors and rows are loaded one after the other, when they are first needed. An answer
counts if the index had the same encoder before and after it; else all is loaded anew.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from soundsearch.store.pinned import check_same_encoder

if TYPE_CHECKING:
    from soundsearch.search.index import Index

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
#: What an `Index` loads once.
LOADED = ("encoder", "calibration", "vectors")


def in_step(
    method: Callable[Concatenate[Index, Arguments], Answer],
) -> Callable[Concatenate[Index, Arguments], Answer]:
    """A method that answers again where the index got another encoder while it did."""

    @functools.wraps(method)
    def answered(index: Index, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        _keep_up(index)
        while True:
            try:
                answer = method(index, *args, **kwargs)
            except Exception:
                if not _keep_up(index):
                    raise
            else:
                if not _keep_up(index):
                    return answer

    return answered


def _keep_up(index: Index) -> bool:
    """Load all anew if the index got another encoder; returns whether it did.

    Raises:
        IndexMismatchError: it did, and was opened with another one by its name.
    """
    with index.store.snapshot() as reader:
        pinned = reader.encoder()
    if pinned == index.pinned:
        return False
    if index.bundle is not None:
        check_same_encoder(index.store, index.bundle)
    index.pinned = pinned
    for name in LOADED:
        index.__dict__.pop(name, None)
    return True
