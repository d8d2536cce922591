"""Amounts in filters: "<3", "2..10", "48k", "1:30", "2024-05" to limits of numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from soundsearch.files import LARGEST
from soundsearch.store.conditions import Fact, Limits, Relation

NUMBER = r"[0-9]+(?:\.[0-9]+)?"
SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
HERTZ = {"": 1.0, "hz": 1.0, "k": 1000.0, "khz": 1000.0}
COUNTS = {"mono": "1", "stereo": "2"}
NS = 10**9
#: Years whose nanoseconds a database can hold, with some to spare.
YEARS = range(1900, 2262)


Bounds = tuple[tuple[Relation, float], ...]


class ValueProblem(ValueError):
    """What is wrong with the value of a filter, and what is expected."""


@dataclass(frozen=True)
class Amount:
    """The numbers that a text stands for, from first to last; a day has many, most texts have one.

    low, high: what is meant where nothing but the text is given: low <= number < high.
    """

    first: float
    last: float
    low: float
    high: float


def limits(fact: Fact, value: str, read: Callable[[str], Amount]) -> Limits:
    """The limits that a value means: "<3", "<=3", ">3", ">=3", "2..10", "2..", "..10", or "3".

    An amount alone means all numbers that round to it: 3 is from 2.5 to less than 3.5. read: reads
    one amount. Raises ValueProblem, as read does, where the value is none of these.
    """
    match = re.fullmatch(r"(<=|>=|<|>|=?)(.*)", value, re.DOTALL)
    assert match is not None
    relation, rest = match.groups()
    if ".." in rest and not relation:
        return Limits(fact, _between(rest, read))
    amount = read(rest)
    if relation == "<":
        bounds: Bounds = (("<", amount.first),)
    elif relation == "<=":
        bounds = (("<=", amount.last),)
    elif relation == ">":
        bounds = ((">", amount.last),)
    elif relation == ">=":
        bounds = ((">=", amount.first),)
    else:
        bounds = ((">=", amount.low), ("<", amount.high))
    return Limits(fact, bounds)


def _between(value: str, read: Callable[[str], Amount]) -> Bounds:
    """The bounds of "2..10", "2.." and "..10"; both ends are in it."""
    first, _, last = value.partition("..")
    if not first and not last:
        raise ValueProblem("'..' lacks both ends; write a number before it or after it")
    if not last:
        return ((">=", read(first).first),)
    if not first:
        return (("<=", read(last).last),)
    low, high = read(first).first, read(last).last
    if low > high:
        raise ValueProblem(f"nothing lies in {value!r}; write the lower end first")
    return ((">=", low), ("<=", high))


def seconds(text: str) -> Amount:
    """A length: 3, 2.5s, 500ms, 2m, 1h, 1h30m, 1:30 or 1:02:03."""
    clock = re.fullmatch(rf"(?:([0-9]+):)?([0-9]+):([0-5]?{NUMBER})", text)
    if clock is not None and float(clock[3]) < 60:
        hours, minutes, rest = clock.groups()
        return _rounded(
            int(hours or 0) * 3600.0 + int(minutes) * 60.0 + float(rest), _step(clock[3])
        )
    parts = re.findall(rf"({NUMBER})([a-z]*)", text.lower())
    if not parts or "".join(map("".join, parts)) != text.lower():
        raise ValueProblem(_expected(text, "length", "3, 2.5s, 500ms, 2m, 1h30m or 1:30"))
    if any(unit not in SECONDS for _, unit in parts) or any(not u for _, u in parts[:-1]):
        raise ValueProblem(_expected(text, "length", "3, 2.5s, 500ms, 2m, 1h30m or 1:30"))
    total = sum(float(number) * SECONDS[unit] for number, unit in parts)
    number, unit = parts[-1]
    return _rounded(total, _step(number) * SECONDS[unit])


def frequency(text: str) -> Amount:
    """A sample rate: 48000, 44.1k or 96kHz."""
    match = re.fullmatch(rf"({NUMBER})(k?(?:hz)?)", text.lower())
    if match is None:
        raise ValueProblem(_expected(text, "sample rate", "48000, 44.1k or 96kHz"))
    factor = HERTZ[match[2]]
    return _rounded(float(match[1]) * factor, _step(match[1]) * factor)


def count(text: str) -> Amount:
    """A number of channels: 1, 2, mono or stereo."""
    number = COUNTS.get(text.lower(), text)
    if not re.fullmatch("[0-9]+", number):
        raise ValueProblem(_expected(text, "number of channels", "1, 2, mono or stereo"))
    return _rounded(float(number), 1.0)


def day(text: str) -> Amount:
    """A year, month or day in the time zone of this computer: 2024, 2024-05 or 2024-05-31.

    In ns since 1970 (UTC).
    """
    expected = _expected(text, "date", "2024, 2024-05 or 2024-05-31")
    match = re.fullmatch(r"([0-9]{4})(?:-([0-9]{1,2}))?(?:-([0-9]{1,2}))?", text)
    if match is None or int(match[1]) not in YEARS:
        raise ValueProblem(expected)
    year, month, date = (int(part) if part else None for part in match.groups())
    assert year is not None
    try:
        start = datetime(year, month or 1, date or 1)
        if date is not None:
            end = datetime.fromordinal(start.toordinal() + 1)
        elif month is not None:
            end = datetime(year + month // 12, month % 12 + 1, 1)
        else:
            end = datetime(year + 1, 1, 1)
    except ValueError as error:  # a 13th month, a 31st of April
        raise ValueProblem(expected) from error
    first, after = (min(round(moment.timestamp()) * NS, LARGEST) for moment in (start, end))
    return Amount(first, after - 1, first, after)


def _rounded(number: float, step: float) -> Amount:
    if not math.isfinite(number):
        raise ValueProblem("the number is too large; give a smaller one")
    return Amount(number, number, number - step / 2, number + step / 2)


def _step(number: str) -> float:
    """How far numbers of so many decimals lie apart."""
    return 10.0 ** -len(number.partition(".")[2])


def _expected(text: str, what: str, examples: str) -> str:
    return f"{text!r} is no {what}; expected one such as {examples}"
