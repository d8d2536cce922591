"""Fill frozen dataclasses from mappings, such as JSON files hold.

An unknown key is an error that names the closest known key; a value of another type is an error
that says what is expected. `fill` makes a new instance; `changed` takes what the mapping leaves out
from another instance.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import reprlib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from soundsearch.descriptors import stop_if_ran_out
from soundsearch.errors import ConfigError

T = TypeVar("T")

#: Types that JSON has too: their names in messages, and a check of a value.
PLAIN: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: type(value) is int),
    float: ("a number", lambda value: type(value) in (int, float) and math.isfinite(value)),
    str: ("a text", lambda value: isinstance(value, str)),
    types.NoneType: ("null", lambda value: value is None),
}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file. Raises ConfigError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        stop_if_ran_out(error)
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


def fill(cls: type[T], plain: Any, where: str = "") -> T:
    """Make a dataclass from a mapping; nested dataclasses from nested mappings.

    Fields may be numbers, texts, booleans, None, Literal, tuples, mappings, dataclasses, and unions
    of these; JSON's lists become tuples. A value that is an instance already is taken as it is.

    Args:
        cls: The dataclass.
        plain: The mapping.
        where: Begins every message, such as "PATH: " or "audio.".

    Raises:
        ConfigError: A key is unknown or missing, a value is of another type, or the dataclass
            itself raised a ValueError.
    """
    return _make(cls, plain, where, None)


def changed(base: T, plain: Any, where: str = "") -> T:
    """Return `base` with the values of a mapping; what it leaves out, at any depth, stays.

    A nested dataclass becomes the same subclass as in `base`. Otherwise as `fill`.
    """
    return _make(type(base), plain, where, base)


def _make(cls: type[T], plain: Any, where: str, base: T | None) -> T:
    if not isinstance(plain, Mapping):
        raise ConfigError(f"{_prefix(where)}expected an object, found {reprlib.repr(plain)}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in plain:
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f", did you mean {close[0]}?" if close else ""
            raise ConfigError(f"{where}{key}: unknown key{hint}")
    hints = _hints(cls)  # type: ignore[arg-type]
    values = {}
    for key, known in fields.items():
        old = None if base is None else getattr(base, key)
        if key in plain:
            nested = type(old) if dataclasses.is_dataclass(old) else hints[key]
            values[key] = _convert(plain[key], nested, f"{where}{key}", old)
        elif base is not None:
            values[key] = old
        elif known.default is known.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}{key}: missing")
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{_prefix(where)}{error}") from error


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _prefix(where: str) -> str:
    """Return the beginning of a message about the whole mapping: "audio: " for "audio."."""
    return f"{where[:-1]}: " if where.endswith(".") else where


def _convert(value: Any, hint: Any, name: str, old: Any = None) -> Any:
    """Return the value converted to the hint's type. Raises ConfigError if it is of another type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, inner, name)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        return _make(hint, value, f"{name}.", old)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list | tuple):
        each = inner[:1] * len(value) if inner[-1:] == (Ellipsis,) else inner
        if len(each) == len(value):
            return tuple(
                _convert(one, of, f"{name}[{i}]")
                for i, (one, of) in enumerate(zip(value, each, strict=True))
            )
    elif origin is not None and _is_mapping(origin) and isinstance(value, Mapping):
        return {key: _convert(one, inner[1], f"{name}.{key}") for key, one in value.items()}
    elif (origin is None and _is_plain(value, hint)) or (
        origin is typing.Literal and any(value == one for one in inner)
    ):
        return value
    raise ConfigError(f"{name}: expected {_name_of(hint)}, found {reprlib.repr(value)}")


def _convert_union(value: Any, choices: tuple[Any, ...], name: str) -> Any:
    """Convert a value to the first type that fits; a mapping always to the dataclass."""
    for choice in choices:
        if isinstance(value, Mapping) and dataclasses.is_dataclass(choice):
            return _convert(value, choice, name)
    for choice in choices:
        try:
            return _convert(value, choice, name)
        except ConfigError:
            continue
    expected = " or ".join(map(_name_of, choices))
    raise ConfigError(f"{name}: expected {expected}, found {reprlib.repr(value)}")


def _is_plain(value: Any, hint: Any) -> bool:
    if hint in PLAIN:
        return PLAIN[hint][1](value)
    return hint is Any or isinstance(value, hint)


def _is_mapping(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Mapping)


def _name_of(hint: Any) -> str:
    """Return the name of a type in a message."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(map(str, inner))
    if origin is tuple:
        n = "" if inner[-1:] == (Ellipsis,) else f" of {len(inner)}"
        return f"a list{n}"
    if _is_mapping(origin) or dataclasses.is_dataclass(hint):
        return "an object"
    return PLAIN[hint][0] if hint in PLAIN else getattr(hint, "__name__", str(hint))
