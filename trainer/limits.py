"""Refuse settings that are out of their limits, each in one line."""

from __future__ import annotations

from typing import Any, get_args


def must_be(expected: str, fits: bool, **setting: object) -> None:
    """Raise ValueError unless a setting fits.

    Args:
        expected: Ends "NAME must be ".
        fits: Whether it does.
        setting: Its name and value, or those of several.
    """
    if not fits:
        names, values = " and ".join(setting), " and ".join(map(str, setting.values()))
        raise ValueError(f"{names} must be {expected}, not {values}")


def must_be_one_of(choices: Any, name: str, value: object) -> None:
    """Raise ValueError unless a setting is among the values of a Literal type."""
    known = get_args(choices)
    if value not in known:
        raise ValueError(f"{name} must be {' or '.join(known)}, not {value!r}")
