"""The parts of a question: texts and recordings that hits should fit, and those they should not.

In: the arguments of a search. Out: `QuestionParts`, checked, with the filters of the text and what it
says is not wanted taken apart. Nothing is embedded here, and no file is opened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from soundsearch.arguments import (
    check_audio,
    check_filters,
    check_text,
    check_weight,
    described,
    is_number,
)
from soundsearch.errors import QueryError
from soundsearch.search.filters import Filter, parse_filters, parse_question
from soundsearch.search.without import split_minus
from soundsearch.urls import path_of

#: "2:rain": what stands before the colon may be a weight, unless it is followed by a blank.
_WEIGHTED = re.compile(r"([^\s:]+):(?!\s)(.+)", re.DOTALL)
#: No recording is longer: a hundred years.
MOST_SECONDS = 3.2e9
#: A recording to search by.
Recording = str | Path | BinaryIO
#: What `plus` and `minus` hold: a text (str), a recording (Path), or either with its weight.
Weighted = str | Path | tuple[float, str | Path]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A text or a recording; one of both is None.

    Attributes:
        text: What it says.
        audio: Path of a sound file, or an open stream of one.
        weight: How much it counts beside the other parts, greater than 0.
        start_s: Where the passage of the recording that is meant begins, in seconds.
        end_s: Where it ends; None for its end.
    """

    text: str | None = None
    audio: Path | BinaryIO | None = None
    weight: float = 1.0
    start_s: float = 0.0
    end_s: float | None = None

    @property
    def passage(self) -> tuple[float, float] | None:
        """(start_s, end_s) if a passage is meant, None for the whole recording."""
        if self.start_s == 0 and self.end_s is None:
            return None
        return self.start_s, math.inf if self.end_s is None else self.end_s


@dataclass(frozen=True)
class QuestionParts:
    """The parts of a question.

    Attributes:
        plus: What hits should fit; none for all that pass the filters.
        minus: What they should not fit.
        phrases: Where the text itself says what is not wanted, such as "without rain".
        filters: What recordings must be like: those of the text first.
    """

    plus: tuple[Part, ...]
    minus: tuple[Part, ...] = ()
    phrases: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()

    @property
    def words(self) -> str:
        """All texts that hits should fit; empty if there are none."""
        return " ".join(part.text for part in self.plus if part.text is not None)


def understand(
    text: str | None = None,
    audio: Recording | Sequence[Recording] | None = None,
    plus: Weighted | Sequence[Weighted] = (),
    minus: Weighted | Sequence[Weighted] = (),
    start_s: float | None = None,
    end_s: float | None = None,
    filters: str | Sequence[str] = (),
) -> QuestionParts:
    """Return the parts of a question. The arguments are those of `Index.search`.

    Raises:
        QueryError: An argument is of another type or out of range, a filter does not parse, or
            the question says only what not to find.
    """
    wanted, unwanted = [], _parts("minus", minus)
    phrases: tuple[str, ...] = ()
    chosen = parse_filters(check_filters("filters", filters))
    if text is not None:
        check_text("text", text)
        understood = split_minus(text)
        parsed = parse_question(understood.text)
        chosen = (*parsed.filters, *chosen)
        if parsed.text.strip():
            wanted.append(Part(text=parsed.text))
        unwanted = [*(Part(text=thing) for thing in understood.minus), *unwanted]
        phrases = understood.phrases
    _check_passage(start_s, end_s)
    recordings = _recordings(audio)
    if (start_s, end_s) != (None, None) and len(recordings) != 1:
        raise QueryError(
            f"start_s and end_s are of one recording, audio names {len(recordings)}; name one"
        )
    wanted += [
        Part(audio=path_of(x) if isinstance(x, str) else x, start_s=start_s or 0.0, end_s=end_s)
        for x in recordings
    ]
    wanted += _parts("plus", plus)
    if not wanted and unwanted:
        said = f"{text!r} says" if phrases else "minus alone says"
        raise QueryError(f"{said} only what not to find; say also what to find")
    return QuestionParts(tuple(wanted), tuple(unwanted), phrases, chosen)


def split_weight(name: str, value: str) -> tuple[float | None, str]:
    """Return the weight that a typed part of a question begins with, and the rest: "2:rain".

    None where it begins with none. Raises QueryError for a weight that is none.
    """
    found = _WEIGHTED.fullmatch(value)
    if found is None:
        return None, value
    try:
        weight: Any = float(found[1])
    except ValueError:
        weight = found[1]
    try:
        check_weight(f"{name} {value}", weight)
    except QueryError as error:
        raise QueryError(f"{error}; after a blank, a colon is text") from error
    return weight, found[2]


def words_of(text: str) -> str:
    """Return what a text says should be found: without filters, and without what should not be.

    Raises:
        QueryError: It is no text, is empty, or holds a filter that does not parse.
    """
    check_text("text", text)
    return parse_question(split_minus(text).text).text.strip()


def _recordings(audio: Any) -> list[Any]:
    if audio is None:
        return []
    if isinstance(audio, str | Path | bytes) or not isinstance(audio, Sequence):
        check_audio(audio)
        return [audio]
    for i, recording in enumerate(audio):
        check_audio(recording, f"audio[{i}]")
    return list(audio)


def _parts(name: str, value: Any) -> list[Part]:
    if isinstance(value, str | Path | tuple) and value != ():
        return [_part(name, value)]
    if isinstance(value, bytes) or not isinstance(value, Sequence):
        raise QueryError(
            f"{name} is {described(value)}, expected a list of texts (str) and recordings (Path)"
        )
    return [_part(f"{name}[{i}]", one) for i, one in enumerate(value)]


def _part(name: str, value: Any) -> Part:
    weight: Any = 1.0
    if isinstance(value, tuple):
        if len(value) != 2:
            raise QueryError(f"{name} is {described(value)}, expected (weight, text or Path)")
        weight, value = value
        check_weight(name, weight)
    if isinstance(value, str):
        check_text(name, value)
        return Part(text=value, weight=float(weight))
    if isinstance(value, Path):
        check_audio(value, name)
        return Part(audio=value, weight=float(weight))
    raise QueryError(f"{name} is {described(value)}, expected a text (str) or a recording (Path)")


def _check_passage(start_s: float | None, end_s: float | None) -> None:
    for name, value in (("start_s", start_s), ("end_s", end_s)):
        if value is not None and not (is_number(value) and 0 <= value <= MOST_SECONDS):
            raise QueryError(f"{name} is {described(value)}, expected seconds, 0 or more")
    if end_s is not None and end_s <= (start_s or 0):
        raise QueryError(
            f"end_s is {end_s:g}, expected more than start_s, which is {start_s or 0:g}"
        )
