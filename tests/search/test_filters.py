"""The question language: what is a filter, what is text, and what is said of what is neither."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from soundsearch.search.filters import (
    KEYS,
    Filter,
    FilterError,
    Folder,
    Parsed,
    parse_filters,
    parse_question,
)
from soundsearch.store.conditions import Format, Holds, Limits

NS = 10**9

#: Words that are no filter, whatever stands beside them.
plain_words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)
some_filters = st.sampled_from([
    "duration:<3", "duration:2..10", "rate:>=96k", "channels:stereo", "format:wav", "in:Doors",
    'in:"two words"', "modified:2024-05", "tag:rain", 'tag:"two words"', "-music", "-format:mp3",
    '-"exact words"',
])  # fmt: skip


def only(text: str) -> Filter:
    (found,) = parse_filters([text])
    return found


def bounds(text: str) -> tuple[tuple[str, float], ...]:
    condition = only(text).condition
    assert isinstance(condition, Limits)
    return condition.bounds


# ---- what is text


@pytest.mark.parametrize(
    "text",
    [
        "dog barking in rain",
        "at 12:30 o'clock",
        "https://example.com/a:b",
        r"C:\Sounds\door.wav",
        "foo:bar",
        "Title: rain",
        "a tone at -5 dB - and - more",
        '5" disc',
        '"never closed',
        '""',
        '"..." "!"',
        "lo-fi --loud -",
        "NEAR(dog cat) AND OR NOT * ^ ( { + :",
        "  two  blanks \t stay ",
        "ratio:4 info:x",
        "",
    ],
)
def test_what_only_looks_like_a_filter_is_text(text: str) -> None:
    assert parse_question(text) == Parsed(text)


@given(st.text())
@example('"')
@example("-:\x00")
def test_any_text_is_parsed_or_refused_at_its_place(text: str) -> None:
    refused = None
    try:
        asked = parse_question(text)
    except FilterError as error:
        refused = error
    if refused is None:
        assert asked.filters or asked.text == text
    else:
        assert text[refused.place - 1 :].startswith(refused.source)


@given(st.lists(st.tuples(st.booleans(), plain_words, some_filters), max_size=8))
def test_filters_may_stand_anywhere_among_words(parts: list[tuple[bool, str, str]]) -> None:
    question = " ".join(each if is_filter else word for is_filter, word, each in parts)
    asked = parse_question(question)
    assert asked.text.split() == [word for is_filter, word, _ in parts if not is_filter]
    assert [each.source for each in asked.filters] == [each for is_it, _, each in parts if is_it]
    assert asked.filters == parse_filters([each.source for each in asked.filters])


# ---- what each filter means


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("duration:<3", (("<", 3),)),
        ("duration:<=3s", (("<=", 3),)),
        ("duration:>2m", ((">", 120),)),
        ("duration:>=1:30", ((">=", 90),)),
        ("DURATION:<1:02:03.5", (("<", 3723.5),)),
        ("duration:<1h30m", (("<", 5400),)),
        ("duration:<500ms", (("<", 0.5),)),
        ("duration:2..10", ((">=", 2), ("<=", 10))),
        ("duration:2.5..3", ((">=", 2.5), ("<=", 3))),
        ("duration:1m..", ((">=", 60),)),
        ("duration:..0:30", (("<=", 30),)),
        ("duration:3", ((">=", 2.5), ("<", 3.5))),
        ("duration:=2m", ((">=", 90), ("<", 150))),
        ("rate:>=96000", ((">=", 96000),)),
        ("rate:48kHz", ((">=", 47500), ("<", 48500))),
        ("rate:44.1k", ((">=", 44050), ("<", 44150))),
        ("rate:22050hz", ((">=", 22049.5), ("<", 22050.5))),
        ("channels:2", ((">=", 1.5), ("<", 2.5))),
        ("channels:mono", ((">=", 0.5), ("<", 1.5))),
        ("channels:>2", ((">", 2),)),
    ],
)
def test_limits(text: str, expected: tuple[tuple[str, float], ...]) -> None:
    assert [relation for relation, _ in bounds(text)] == [relation for relation, _ in expected]
    assert [n for _, n in bounds(text)] == pytest.approx([n for _, n in expected])


@given(st.integers(0, 10**6), st.integers(0, 3))
def test_a_number_alone_means_what_rounds_to_it(number: int, n_decimals: int) -> None:
    value = f"{number / 10**n_decimals:.{n_decimals}f}"
    (_, low), (_, high) = bounds(f"duration:{value}")
    assert high - low == pytest.approx(10.0**-n_decimals, abs=1e-6)
    assert (low + high) / 2 == pytest.approx(float(value), abs=1e-6)


def test_dates_are_whole_days_months_and_years_of_this_computer() -> None:
    def ns(*day: int) -> int:
        return round(datetime(*day).timestamp()) * NS  # type: ignore[arg-type]

    assert bounds("modified:2024-05") == ((">=", ns(2024, 5, 1)), ("<", ns(2024, 6, 1)))
    assert bounds("modified:2024-12-31") == ((">=", ns(2024, 12, 31)), ("<", ns(2025, 1, 1)))
    assert bounds("modified:>2024") == ((">", ns(2025, 1, 1) - 1),)
    assert bounds("modified:<2024") == (("<", ns(2024, 1, 1)),)
    assert bounds("modified:2023..2024-02") == ((">=", ns(2023, 1, 1)), ("<=", ns(2024, 3, 1) - 1))


def test_words_folders_formats_and_tags() -> None:
    assert only('"Metal Door"').condition == Holds("Metal Door", is_exact=True)
    assert only("“Metal Door”").condition == Holds("Metal Door", is_exact=True)
    assert only("-music") == Filter("-music", Holds("music"), is_excluding=True)
    assert only('-"Studio B"').condition == Holds("Studio B", is_exact=True)
    assert only("format:.WAV").condition == Format("wav")
    assert only('-in:"My Sounds/Rain"') == Filter(
        '-in:"My Sounds/Rain"', Folder("My Sounds/Rain"), True
    )
    assert only("in:C:/x").condition == Folder("C:/x")
    assert only("tag:rain").condition == Holds("rain", only_metadata=True)
    assert only('tag:"two words"').condition == Holds("two words", True, True)


def test_words_in_quotes_are_asked_too_and_other_filters_are_not() -> None:
    asked = parse_question('a "metal door"  duration:<3 slams -rain -"big hall" tag:x')
    assert asked.text == "a metal door slams" and len(asked.filters) == 5
    assert parse_question("duration:<3 format:wav").text == ""


# ---- what is refused, where, and the way out


@pytest.mark.parametrize(
    ("question", "place", "facts"),
    [
        ("dog duration:<x", 5, ["'x'", "1:30"]),
        ("duration:2-10", 1, ["'2-10'", "length"]),
        ("duration:10..2", 1, ["10..2", "lower end first"]),
        ("duration:..", 1, ["both ends"]),
        ("duration:1:75", 1, ["1:75"]),
        ("rate:fast", 1, ["'fast'", "44.1k"]),
        ("channels:two", 1, ["'two'", "stereo"]),
        ("channels:1.5", 1, ["1.5"]),
        ("modified:yesterday", 1, ["'yesterday'", "2024-05-31"]),
        ("modified:2024-13", 1, ["2024-13"]),
        ("modified:2023-02-29", 1, ["2023-02-29"]),
        ("modified:9999", 1, ["9999"]),
        ("format:a/b", 1, ["'a/b'", "wav"]),
        ("tag:...", 1, ["'...'", "word"]),
        ("durration:<3", 1, ["durration", "duration:"]),
        ("rain -chanels:2", 6, ["channels:"]),
        ("length:3", 1, ["duration:"]),
        ("date:2024", 1, ["modified:"]),
        ("duration: <3", 1, ["no value", "quotes"]),
        ('in:"My Sounds', 1, ["quotes", "not closed"]),
        (f"duration:{'9' * 400}", 1, ["large"]),
    ],
)
def test_a_filter_that_does_not_parse_is_refused_at_its_place(
    question: str, place: int, facts: list[str]
) -> None:
    with pytest.raises(FilterError) as caught:
        parse_question(question)
    assert caught.value.place == place
    assert question[place - 1 :].startswith(caught.value.source)
    for fact in (f"character {place}", *facts):
        assert fact in str(caught.value)
    assert "\n" not in str(caught.value)


def test_where_filters_alone_are_expected_a_word_is_refused() -> None:
    with pytest.raises(FilterError, match=r"'rain' \(at character 13\)") as caught:
        parse_filters(["format:wav", "duration:<3 rain"])
    assert all(f"{key}:" in str(caught.value) for key in KEYS)
