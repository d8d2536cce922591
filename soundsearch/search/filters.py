"""The question language: a text with filters to what is asked for and what recordings must be like.

    dog barking duration:<3 format:wav -music "Studio B"

In: a question as a person types it. Out: `Parsed`, the rest of the text with the filters. What is no
filter is text, except where it nearly is one: there a FilterError says at which character.
See docs/how-to/ask.md.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from soundsearch.errors import QueryError
from soundsearch.search.amounts import (
    Amount,
    ValueProblem,
    count,
    day,
    frequency,
    limits,
    seconds,
)
from soundsearch.store.conditions import Condition, Fact, Format, Holds
from soundsearch.words import RUN

#: Quotes that programs make of plain ones.
CURLY = str.maketrans("“”„‟", '""""')
VISIBLE = re.compile(r"\S+")
#: Each has "-" or nothing, a key or none, and a value.
QUOTED = re.compile(r'(-?)(?:([A-Za-z_]+):)?"([^"]*)"')
KEYED = re.compile(r"(-?)([A-Za-z_]+):(.*)", re.DOTALL)
#: Not "-5", as in "a tone at -5 dB".
EXCLUDED = re.compile(r"-([^\W\d_].*)", re.DOTALL)
#: What people call some filters elsewhere.
OTHER_NAMES = {
    "length": "duration",
    "samplerate": "rate",
    "sample_rate": "rate",
    "folder": "in",
    "path": "in",
    "ext": "format",
    "type": "format",
    "date": "modified",
    "mtime": "modified",
    "keyword": "tag",
    "metadata": "tag",
}
#: How much a key must be like one that there is, to be taken for it (see `difflib`).
LIKENESS = 0.8


class FilterError(QueryError):
    """A filter that does not parse.

    Attributes:
        source: The filter as it is written.
        place: Where it begins in the text, in characters from 1.
    """

    def __init__(self, source: str, place: int, problem: str) -> None:
        super().__init__(f"filter {source!r} (at character {place}): {problem}")
        self.source = source
        self.place = place


@dataclass(frozen=True)
class Folder:
    """A folder as a person names it; what is meant depends on the index, see `scope.py`."""

    named: str


@dataclass(frozen=True)
class Filter:
    """One filter.

    Attributes:
        source: As it is written.
        condition: What it asks of a recording.
        is_excluding: Whether recordings that fit it are left out.
    """

    source: str
    condition: Condition | Folder
    is_excluding: bool = False


@dataclass(frozen=True)
class Parsed:
    """A question, parsed.

    Attributes:
        text: What is left without the filters; words in quotes stay, without their quotes.
        filters: In the order in which they stand.
    """

    text: str
    filters: tuple[Filter, ...] = ()


def parse_question(question: str) -> Parsed:
    """Parse a question. One without filters is its own text, to the letter.

    Raises:
        FilterError: A filter has a value that does not fit, or a key that nearly is one.
    """
    filters: list[Filter] = []
    texts: list[str] = []
    for _, source, found in _tokens(question):
        if found is None:
            texts.append(source)
        else:
            filters.append(found)
            if found.condition == Holds(source[1:-1], is_exact=True):
                texts.append(source[1:-1])
    return Parsed(" ".join(texts), tuple(filters)) if filters else Parsed(question)


def parse_filters(texts: Sequence[str]) -> tuple[Filter, ...]:
    """Parse texts that hold filters and nothing else.

    Raises:
        FilterError: As `parse_question`; or something in a text is no filter.
    """
    filters = []
    for place, source, found in (token for text in texts for token in _tokens(text)):
        if found is None:
            keys = ", ".join(f"{key}:" for key in KEYS)
            expected = f'{keys} with a value, "words in quotes", or -word'
            raise FilterError(source, place, f"no filter; expected one of {expected}")
        filters.append(found)
    return tuple(filters)


def _tokens(text: str) -> Iterator[tuple[int, str, Filter | None]]:
    """The parts of a text: where each begins, from 1, and the filter that it is, if it is one."""
    plain = text.translate(CURLY)
    end = 0
    while (start := VISIBLE.search(plain, end)) is not None:
        place = start.start()
        quoted = QUOTED.match(plain, place)
        end = (quoted or start).end()
        source = text[place:end]
        yield place + 1, source, _filter(source, plain[place:end], quoted, place + 1)


def _filter(source: str, plain: str, quoted: re.Match[str] | None, place: int) -> Filter | None:
    """The filter that a token is, or None. plain: the same with plain quotes."""
    match = quoted or KEYED.fullmatch(plain)
    if match is not None and match[2] is not None:
        return _keyed(source, match, quoted is not None, place)
    if quoted is None:
        excluded = EXCLUDED.fullmatch(plain)
        return None if excluded is None else Filter(source, Holds(excluded[1]), True)
    if not RUN.search(quoted[3]):
        return None
    return Filter(source, Holds(quoted[3], is_exact=True), bool(quoted[1]))


def _keyed(source: str, match: re.Match[str], is_quoted: bool, place: int) -> Filter | None:
    """The filter that "key:value" is. Raises FilterError where it nearly is one."""
    key, value = match[2].casefold(), match[3]
    if key not in KEYS:
        alike = difflib.get_close_matches(key, KEYS, n=1, cutoff=LIKENESS)
        meant = OTHER_NAMES.get(key) or next(iter(alike), None)
        if meant is None or not value:
            return None
        problem = f"there is no {key}:, did you mean {meant}:? For a text, put a space after the :"
        raise FilterError(source, place, problem)
    if not value:
        problem = (
            "it has no value; write one right after the colon (in a shell put the question in "
            "quotes, < and > are its own), or leave out the colon"
        )
        raise FilterError(source, place, problem)
    if not is_quoted and value.startswith('"'):
        raise FilterError(source, place, "its quotes are not closed; end the value with quotes")
    try:
        return Filter(source, KEYS[key](value, is_quoted), bool(match[1]))
    except ValueProblem as problem:
        raise FilterError(source, place, str(problem)) from problem


def _format(value: str, is_quoted: bool) -> Condition:
    name = value.lower().lstrip(".*")
    if not re.fullmatch("[a-z0-9]{1,16}", name):
        raise ValueProblem(f"{value!r} is no format; expected an ending, such as wav or flac")
    return Format(name)


def _tag(value: str, is_exact: bool) -> Condition:
    if not RUN.search(value):
        raise ValueProblem(f"{value!r} holds no word; expected one that metadata holds")
    return Holds(value, is_exact, only_metadata=True)


def _limits(fact: Fact, read: Callable[[str], Amount]) -> Callable[[str, bool], Condition]:
    return lambda value, is_quoted: limits(fact, value, read)


#: What makes a condition of the value of each key, and of whether it stands in quotes.
KEYS: dict[str, Callable[[str, bool], Condition | Folder]] = {
    "duration": _limits("duration_s", seconds),
    "rate": _limits("sample_rate", frequency),
    "channels": _limits("n_channels", count),
    "format": _format,
    "in": lambda value, is_quoted: Folder(value),
    "modified": _limits("mtime_ns", day),
    "tag": _tag,
}
