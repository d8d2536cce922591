"""The option --filter, and what `query` and `similar` say of a question before its hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsearch.choices import By
from soundsearch.cli.compound_options import parts_json
from soundsearch.cli.streams import note

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
        show_default=False,
    ),
]


def text_facts(opened: Index, text: str | None, by: By, json: bool) -> dict[str, Any]:
    """What JSON has of a question in words; also prints what is to be said of its words."""
    from soundsearch.search.parts import words_of
    from soundsearch.search.spelling import Spelling

    words = "" if text is None else words_of(text)
    spelling = opened.check_spelling(text) if text and words else Spelling()
    _say(opened, spelling, by)
    facts: dict[str, Any] = {"text": text, "by": by}
    if json:
        facts["truncated"] = bool(words) and bool(opened.encoder.truncated([words])[0])
    facts["unknown"], facts["did_you_mean"] = list(spelling.unknown), dict(spelling.meant)
    return facts


def parts_facts(what: Mapping[str, Any], filters: Sequence[str]) -> dict[str, Any]:
    """What JSON has of the parts of a question. what: arguments of a search."""
    from soundsearch.search.parts import understand

    asked = understand(**what, filters=filters)
    return {
        "plus": parts_json(asked.plus),
        "minus": parts_json(asked.minus),
        "filters": [each.source for each in asked.filters],
    }


def say_how_many(
    opened: Index, n_shown: int, filters: Sequence[str], within: Sequence[str] | None
) -> None:
    """Print that a list by path is not all, if it is not."""
    n = opened.count(filters, within=within)
    if n > n_shown:
        note(f"the first {n_shown} of {n} recordings that fit, by path; all with -k {n}")


def _say(opened: Index, spelling: Spelling, by: By) -> None:
    if spelling.meant:
        words = ", ".join(f"{meant} for {word}" for word, meant in spelling.meant.items())
        note(f"did you mean {words}?")
    if spelling.is_foreign and by != "words":
        bundle = opened.encoder.bundle
        language = bundle.language
        reads = (
            f"encoder {bundle.name} reads {language}, says its card"
            if language
            else f"no language that encoder {bundle.name} reads is known"
        )
        note(f"{reads}; other words are found in names, folders and metadata alone")
