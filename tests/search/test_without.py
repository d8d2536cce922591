"""What a text says is not wanted, and texts that say no such thing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.search.without import MOST_CHARACTERS, Understood, split_minus

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.mark.parametrize(
    ("text", "wanted", "minus"),
    [
        ("dog barking without rain", "dog barking", ["rain"]),
        ("dog barking without the heavy rain", "dog barking", ["heavy rain"]),
        ("dog without any rain or wind", "dog", ["rain", "wind"]),
        ("birds without wind, traffic and people, close up", "birds, close up",
         ["wind", "traffic", "people"]),
        ("without rain, birds", "birds", ["rain"]),
        ("birds, no wind, close up", "birds, close up", ["wind"]),
        ("birds no wind", "birds", ["wind"]),
        ("birds with no wind and no cars", "birds", ["wind", "cars"]),
        ("with no wind: birds", "birds", ["wind"]),
        ("rain but not thunder", "rain", ["thunder"]),
        ("rain but no thunder with wind", "rain with wind", ["thunder"]),
        ("city without cars but with birds", "city but with birds", ["cars"]),
        ("birds and without wind", "birds", ["wind"]),
        ("rain without thunder and with wind", "rain and with wind", ["thunder"]),
        ("dog (no rain)", "dog", ["rain"]),
        ('dog without "no man"', "dog", ["no man"]),
        ("piano\nwithout reverb", "piano", ["reverb"]),
        ("rain without thunder. birds", "rain. birds", ["thunder"]),
        ('dog without rain duration:<3 in:"a,  b" -music', 'dog duration:<3 in:"a,  b" -music',
         ["rain"]),
        ('dog without rain "Studio  B"', 'dog "Studio  B"', ["rain"]),
        ("dog in:a,b,c no rain or wind -music", "dog in:a,b,c -music", ["rain", "wind"]),
    ],
)  # fmt: skip
def test_what_is_not_wanted(text: str, wanted: str, minus: list[str]) -> None:
    understood = split_minus(text)
    assert (understood.text, list(understood.minus)) == (wanted, minus)
    assert understood.phrases and all(phrase in text for phrase in understood.phrases)


def test_nothing_may_be_wanted() -> None:
    assert split_minus("without rain") == Understood("", ("rain",), ("without rain",))


@pytest.mark.parametrize(
    "text",
    [
        "no man's land", "walking in no man's land", "nobody", "nobody home", "knock, no one answers",
        "no", "no rain", "no no no", "man saying no", "man says no loudly", "child: no no no",
        "yes or no answer", "door no 5", "door No 5", "Dr No", "a no-go area", "there is no wind",
        "not a dog", "dog, not a cat", "Man Without a Face", "doctors Without Borders", "song without you",
        "without", "dog without", "dog without the", "dog without ,", "noise", "piano, nor", "but not",
        'forest "without wind"', "forest “no wind”", '"rain but not thunder"', "rain  on   tin , roof.",
        "in no hurry", "dog without -music", "dog but not in:a", "no smoking sign", "", " ",
    ],
)  # fmt: skip
def test_texts_that_stay_as_they_are(text: str) -> None:
    assert split_minus(text) == Understood(text)


words = st.sampled_from(
    ["without", "no", "but", "not", "and", "or", "with", "a", "rain", "dog", ",", ".", '"', "No", "x's"]
)  # fmt: skip


@given(st.lists(words, max_size=14))
def test_every_word_is_wanted_or_not_and_none_is_made_up(parts: list[str]) -> None:
    text = " ".join(parts)
    understood = split_minus(text)
    assert bool(understood.minus) == bool(understood.phrases) and all(understood.minus)
    assert understood.minus or understood.text == text
    n_dogs = [said.count("dog") for said in (understood.text, *understood.minus)]
    assert sum(n_dogs) == text.count("dog")


@given(st.text(max_size=60))
def test_any_text_can_be_taken_apart(text: str) -> None:
    split_minus(text)


def test_a_text_that_is_no_question_is_left_alone() -> None:
    text = "birds without wind" + " and wind" * MOST_CHARACTERS
    assert split_minus(text) == Understood(text)
