"""The settings of a run against those that it was begun with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from soundsearch.config import read_json

__all__ = ["differences", "read_json"]


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
