"""Check what a caller passes from Python.

Each function raises a QueryError that names the argument, the value found and the value expected.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TypeGuard, get_args

from soundsearch.choices import Device
from soundsearch.errors import QueryError

#: The largest weight of a part of a question.
MOST_WEIGHT = 1_000_000


def check_count(name: str, value: object, *, least: int = 1) -> None:
    """Raise QueryError unless the value is a whole number of at least so much."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise QueryError(f"{name} is {described(value)}, expected a whole number")
    if value < least:
        raise QueryError(f"{name} is {value}, it must be {least} or more")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise QueryError unless the value is one of these."""
    if value not in choices:
        raise QueryError(f"{name} is {described(value)}, expected {' or '.join(choices)}")


def check_device(device: object) -> None:
    """Raise QueryError unless an encoder may run there."""
    check_choice("device", device, get_args(Device))


def check_paths_given(**paths: object) -> None:
    """Raise QueryError unless each argument is None, or a path as of `check_path`."""
    for name, value in paths.items():
        if value is not None:
            check_path(name, value)


def check_min_score(value: object) -> None:
    """Raise QueryError unless the value is None, or a number in [-1, 1]."""
    if value is None:
        return
    if not is_number(value):
        raise QueryError(f"min_score is {described(value)}, expected a number from -1 to 1")
    if not -1 <= value <= 1:  # also refuses NaN
        raise QueryError(f"min_score is {value}, expected a number from -1 to 1")


def check_weight(name: str, value: object) -> None:
    """Raise QueryError unless the value is a number above 0, up to MOST_WEIGHT."""
    if not is_number(value) or not 0 < value <= MOST_WEIGHT:
        raise QueryError(
            f"the weight of {name} is {described(value)}, "
            f"expected a number above 0, up to {MOST_WEIGHT:,}"
        )


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number; it may be NaN or infinite."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_text(name: str, value: object) -> None:
    """Raise QueryError unless the value is a text with a visible character."""
    if not isinstance(value, str):
        raise QueryError(f"{name} is {described(value)}, expected a text")
    if not any(c.isprintable() and not c.isspace() for c in value):
        what = "the query" if name == "text" else name
        raise QueryError(f"{what} is empty; say in words what you want to hear")


def check_path(name: str, value: object) -> None:
    """Raise QueryError unless the value is a path that may exist."""
    if not isinstance(value, str | Path):
        raise QueryError(f"{name} is {described(value)}, expected a path (str or Path)")
    if not str(value):
        raise QueryError(f"{name} is empty, expected a path")
    if "\0" in str(value):
        raise QueryError(f"{name} is {described(value)}, a path holds no zero byte")


def check_paths(name: str, value: object) -> list[str | Path]:
    """A path as a list of one, a list of paths as it is; QueryError for anything else."""
    if isinstance(value, str | Path):
        check_path(name, value)
        return [value]
    if isinstance(value, bytes) or not isinstance(value, Sequence):
        raise QueryError(f"{name} is {described(value)}, expected a folder or a list of folders")
    for i, path in enumerate(value):
        check_path(f"{name}[{i}]", path)
    return list(value)


def check_filters(name: str, value: object) -> list[str]:
    """A text as a list of one, a list of texts as it is; QueryError for anything else."""
    texts = [value] if isinstance(value, str) else value
    check_texts(name, texts)
    assert isinstance(texts, Sequence)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise QueryError(f"{name}[{i}] is {described(text)}, expected a text")
    return list(texts)


def check_texts(name: str, value: object) -> None:
    """Raise QueryError unless the value is a list of texts."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise QueryError(f"{name} is {described(value)}, expected a list of texts")


def check_audio(value: object, name: str = "audio") -> None:
    """Raise QueryError unless the value is a path or a stream of bytes."""
    is_text = isinstance(value, io.TextIOBase)
    if is_text or not hasattr(value, "read"):
        expected = "a stream of bytes" if is_text else "a path (str or Path) or a stream of bytes"
        if not isinstance(value, str | Path):
            raise QueryError(f"{name} is {described(value)}, expected {expected}")
        check_path(name, value)


def described(value: object) -> str:
    """Return a value and its type as a short text."""
    text = ascii(value)
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{short} ({type(value).__name__})"
