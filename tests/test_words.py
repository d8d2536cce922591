"""Names and questions to words."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.words import MOST_TERMS, RUN, split_name, terms


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("DoorMetal02_close.wav", "Door Metal 02 close wav"),
        ("DOORMetl_Cell Slam 3", "DOOR Metl Cell Slam 3"),
        ("heavyrain-take2", "heavyrain take 2"),
        ("USAHotel", "USA Hotel"),
        ("2024-03-01 ZOOM0012", "2024 03 01 ZOOM 0012"),
        ("Ambience/Forest.Night/owl~1", "Ambience Forest Night owl 1"),
        ("Vögel_im_Wald", "Vögel im Wald"),
        ("ПтицыВЛесу", "Птицы В Лесу"),
        ("犬の声03", "犬の声 03"),
        ("___", ""),
        ("", ""),
    ],
)
def test_a_name_is_split_where_its_words_meet(name: str, words: str) -> None:
    assert split_name(name) == words.split()


@given(st.text())
def test_splitting_loses_no_letter_and_no_digit(name: str) -> None:
    composed = unicodedata.normalize("NFC", name)
    assert "".join(split_name(name)) == "".join(RUN.findall(composed))


def test_names_are_alike_on_file_systems_that_decompose_accents() -> None:
    assert split_name(unicodedata.normalize("NFD", "CaféNoir")) == ["Café", "Noir"]


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("someone walking on gravel", "walking gravel"),
        ("Dog barking, dog panting", "dog barking panting"),
        ("in the", "in the"),
        ('door" OR NEAR(x*)', "door near x"),
        ("...", ""),
    ],
)
def test_a_question_is_asked_by_its_telling_words(question: str, words: str) -> None:
    assert terms(question) == words.split()


def test_a_question_of_a_whole_book_is_bounded() -> None:
    assert len(terms(" ".join(f"word{i}" for i in range(100_000)))) == MOST_TERMS
