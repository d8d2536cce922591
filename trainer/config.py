"""Frozen dataclasses to plain values and back: what config.json of a run holds.

A file only fills the dataclasses: an unknown key is an error that names the nearest known one, and
what a file leaves out keeps its default.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from soundsearch.errors import SoundsearchError

T = TypeVar("T")


class ConfigError(SoundsearchError):
    """A setting that is unknown, impossible, or not what the run was begun with."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises ConfigError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


def changed(config: T, plain: Mapping[str, Any], where: str = "") -> T:
    """The dataclass with the values of a mapping, nested as it is; `where` begins every message.

    Raises ConfigError for an unknown key, a value of another type, or an impossible combination.
    """
    hints = typing.get_type_hints(type(config))
    known = {f.name for f in dataclasses.fields(config)}  # type: ignore[arg-type]
    values = {}
    for key, value in plain.items():
        name = f"{where}{key}"
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"{name}: no such setting" + (f", did you mean {near[0]}?" if near else "")
            )
        old = getattr(config, key)
        if dataclasses.is_dataclass(old):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{name}: expected an object, found {value!r}")
            values[key] = changed(old, value, f"{name}.")
        else:
            values[key] = _fitted(value, hints[key], name)
    try:
        return dataclasses.replace(config, **values)  # type: ignore[type-var]
    except ValueError as error:
        raise ConfigError(f"{where.rstrip('.')}: {error}" if where else str(error)) from error


def _fitted(value: Any, hint: Any, name: str) -> Any:
    """The value, if it is one of the hint's types; JSON's lists become tuples."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        if value in typing.get_args(hint):
            return value
        expected = " or ".join(map(str, typing.get_args(hint)))
    elif origin in (typing.Union, types.UnionType):
        for one in typing.get_args(hint):
            try:
                return _fitted(value, one, name)
            except ConfigError:
                continue
        expected = str(hint)
    elif origin is tuple:
        if isinstance(value, list | tuple):
            inner = typing.get_args(hint)
            if inner[-1:] == (Ellipsis,):
                return tuple(_fitted(v, inner[0], name) for v in value)
            if len(value) == len(inner):
                return tuple(_fitted(v, one, name) for v, one in zip(value, inner, strict=True))
        expected = "a list of the right length"
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        expected = "a number"
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        expected = "a whole number"
    elif hint is type(None):
        if value is None:
            return value
        expected = "null"
    else:
        if isinstance(value, hint):
            return value
        expected = {"str": "a text", "bool": "true or false"}.get(hint.__name__, hint.__name__)
    raise ConfigError(f"{name}: expected {expected}, found {value!r}")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> list[str]:
    """Each setting that differs, as "key was OLD, is NEW"."""
    found = []
    for key in sorted({*old, *new}):
        was, now = old.get(key), new.get(key)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            found += differences(was, now, f"{where}{key}.")
        elif was != now:
            found.append(f"{where}{key} was {was!r}, is {now!r}")
    return found
