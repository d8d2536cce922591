"""Words that nothing knows, what may be meant by them, and questions in other languages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.registry import find_bundle
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import QueryError
from soundsearch.search.index import Index
from soundsearch.search.spelling import Spelling
from soundsearch.store.pinned import create_index
from tests.filled_store import changing, recording
from tests.tiny_encoder import write_tiny_bundle

pytestmark = pytest.mark.usefixtures("each_database")

NAMES = ("Chiffchaff_01", "Horses/ZOOM0012", "Regenwald", "thudswoosh", "гроза")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Recordings of these names; the tokenizer of the encoder has eight words, such as "squeak"."""
    folder = tmp_path_factory.mktemp("spelling")
    bundle = write_tiny_bundle(folder / "tiny")
    with contextlib.closing(create_index(folder / "index", bundle)) as store:
        with changing(store) as changes:
            root = changes.add_root(Path("/library"))
            for name in NAMES:
                made = recording(root.id, f"{name}.wav", [[1] * 8])
                changes.put(replace(made, metadata={"title": "Glockenspiel"}))
        with Index(store, "cpu") as opened:
            yield opened


@pytest.mark.parametrize(
    "text",
    [
        "chiffchaff horse",  # of the index
        "HORSES glockenspiel",
        "thunder rumbled, dogs barking",  # of the list of sounds, and forms
        "squeaks squeaking",  # of the tokenizer
        "ZOOM0012 abc 7 fx",  # no word of letters, or too short
        "something into the",
        "...",
    ],
)
def test_of_known_words_nothing_is_said(index: Index, text: str) -> None:
    assert index.check_spelling(text) == Spelling()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("thundr", {"thundr": "thunder"}),  # a letter less
        ("thunderr", {"thunderr": "thunder"}),  # one more
        ("thunser", {"thunser": "thunder"}),  # another one
        ("thudner", {"thudner": "thunder"}),  # two exchanged
        ("xhunder", {"xhunder": "thunder"}),
        ("gaet creaking", {"gaet": "gate"}),
        ("Thundr", {"thundr": "thunder"}),
        ("dog barkng", {"barkng": "barking"}),
        ("chiffchafff", {"chiffchafff": "chiffchaff"}),  # one letter from a name
        ("chifchaf", {"chifchaf": "chiffchaff"}),  # two letters from a name
        ("glokenspil", {"glokenspil": "glockenspiel"}),
        ("horsse dog", {"horsse": "horse"}),
        ("squeek", {"squeek": "squeak"}),
    ],
)
def test_the_nearest_known_word_is_proposed(index: Index, text: str, meant: dict[str, str]) -> None:
    found = index.check_spelling(text)
    assert dict(found.meant) == meant and list(found.unknown) == list(meant)
    assert not found.is_foreign


@pytest.mark.parametrize(
    "text", ["knarrende xylofonklänge", "zvuk sirény", "雨の音", "гроза", "xyzzy"]
)
def test_a_question_of_another_language_is_noticed(index: Index, text: str) -> None:
    assert index.check_spelling(text).is_foreign


@pytest.mark.parametrize("text", ["dog xyzzy", "regenwald", "a dog in the Regenwald"])
def test_one_known_word_is_enough(index: Index, text: str) -> None:
    assert not index.check_spelling(text).is_foreign


def test_filters_are_no_words_of_the_question(index: Index) -> None:
    assert index.check_spelling("dog -xyzzy tag:xyzzy in:xyzzy duration:<3") == Spelling()
    assert index.check_spelling('dog "qwrtz"').unknown == ("qwrtz",)


@pytest.mark.parametrize("text", ["", " ", 3])
def test_no_text_is_an_error(index: Index, text: str) -> None:
    with pytest.raises(QueryError):
        index.check_spelling(text)


@pytest.mark.parametrize("text", ['"', "a'b\"c*", "NEAR(xx yy)", "x" * 100_000, "ß" * 50])
def test_any_text_is_looked_at(index: Index, text: str) -> None:
    index.check_spelling(text)


def test_the_shipped_tokenizer_has_english_words_and_no_parts_of_words() -> None:
    encoder = Encoder(find_bundle("starter"), "cpu")
    assert all(map(encoder.is_word, ["dog", "thunder", "microphone"]))
    assert not any(map(encoder.is_word, ["thundr", "blechdach", "##ing", "[UNK]", "", "dog dog"]))


def test_a_bundle_says_its_language_as_its_card_does(tiny: EncoderBundle) -> None:
    assert find_bundle("starter").language == "English"
    assert tiny.language is None
    card = tiny.folder / "model_card.md"
    card.write_text("---\nlicense: mit\nlanguage: fr\n---\nlanguage: en\n", encoding="utf-8")
    assert tiny.language == "fr"
    card.write_text("# language\nlanguage: en\n", encoding="utf-8")
    assert tiny.language is None
    card.write_bytes(b"---\nlanguage: \xff\n---\n")
    assert tiny.language is None
