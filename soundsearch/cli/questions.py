"""The option --filter, and what `query` and `similar` say of a question before its hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.choices import By
from soundsearch.cli.streams import note
from soundsearch.render import notes_on_words

if TYPE_CHECKING:
    from soundsearch.search.index import Index
    from soundsearch.search.spelling import Spelling


def _check(filters: list[str] | None) -> list[str] | None:
    if filters:
        from soundsearch.search.filters import FilterError, parse_filters

        try:
            parse_filters(filters)
        except FilterError as error:
            raise typer.BadParameter(str(error)) from error
    return filters


FilterTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="FILTER",
        callback=_check,
        help='Only recordings that fit, such as "duration:<3", "format:wav" or "-music" '
        "(repeatable; docs/how-to/ask.md lists them). They may stand in the question as well.",
    ),
]


def check_spelling(opened: Index, text: str | None, by: By) -> Spelling:
    """Which words of a question are not known; also prints what is to be said of them."""
    from soundsearch.search.question_parts import words_of
    from soundsearch.search.spelling import Spelling

    spelling = opened.check_spelling(text) if text and words_of(text) else Spelling()
    for line in notes_on_words(opened, spelling, by):
        note(line)
    return spelling


def say_how_many(
    opened: Index, n_shown: int, filters: Sequence[str], within: Sequence[str] | None
) -> None:
    """Print that a list by path is not all, if it is not."""
    n = opened.count(filters, within=within)
    if n > n_shown:
        note(f"the first {n_shown} of {n} recordings that fit, by path; all with -k {n}")
