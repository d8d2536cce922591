"""The corpus: what enters, and what stays out."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

import soundsearch.bundles
from recipes.starter.corpus import (
    ASKED,
    JOINS,
    KEY_ROWS,
    LONG,
    REQUESTS,
    TEMPLATES,
    CorpusConfig,
    DistillationPair,
    build_corpus,
    filed,
    plural_of,
    whole_words,
    with_slips,
    with_typo,
    without_space,
)
from recipes.starter.manifests import of_split, read_esc10, read_sounds
from soundsearch.vocabulary import load_vocabulary

WORDS = ["bell", "door", "engine", "reservoir"]


def corpus_of(data: Path, **changed: float) -> list[DistillationPair]:
    """The pairs of the made data, few of each kind."""
    clips = of_split(read_sounds(data) + read_esc10(data), "train")
    config = CorpusConfig(**({"n_combinations": 3, "n_passages": 4} | changed))  # type: ignore[arg-type]
    return build_corpus(data, clips, WORDS, config)


def test_every_kind_of_text_is_there_once(made_data: Path) -> None:
    pairs = corpus_of(made_data)
    meaning_of = {pair.text: pair.meaning for pair in pairs}
    clean = {text for text, meaning in meaning_of.items() if text == meaning}
    assert {
        "a buzz and a tone",
        "buzz",
        "The sound of a buzz.",
        "low tone",
        "low tones",
        "low tone, tone",
        "bell",
        "bells",
        "a low tone",
        *load_vocabulary(),
    } <= clean
    assert any(text.count(". ") and "a buzz and a tone" in text for text in clean)
    assert len({text.lower() for text in meaning_of}) == len(pairs)
    assert corpus_of(made_data) == pairs
    assert corpus_of(made_data, seed=1) != pairs


def test_sounds_stand_in_every_form(made_data: Path) -> None:
    n = max(len(TEMPLATES), len(JOINS), len(REQUESTS))
    pairs = corpus_of(made_data, templates=n, joined=n, requests=n)
    meaning_of = {pair.text: pair.meaning for pair in pairs}
    for template in TEMPLATES:
        assert meaning_of[template.format("dog barking")] == template.format("dog barking")
    for request in REQUESTS:
        assert meaning_of[request.format("dog barking")] == ASKED.format("dog barking")
    joined = {text for text, meaning in meaning_of.items() if text == meaning}
    for join in JOINS:
        before, _, after = join.format(a="dog barking", b="|", c="|").partition("|")
        alone = join.format(a="dog barking", b="dog barking", c="")
        if "{c}" not in join:
            assert any(
                text.startswith(before) and text.endswith(after) and text != alone
                for text in joined
            ), join


def test_a_slip_means_the_clean_text_and_never_another_one(made_data: Path) -> None:
    pairs = corpus_of(made_data, requests=0, filed=0, filed_share=0.0)
    clean = {pair.text.lower() for pair in pairs if pair.text == pair.meaning}
    slips = [pair for pair in pairs if pair.text != pair.meaning and pair.text.lower() == pair.text]
    sounds = {pair.meaning for pair in slips} & set(load_vocabulary())
    assert len(sounds) > 0.9 * len(load_vocabulary())
    assert all(pair.text.lower() not in clean for pair in slips)
    assert {pair.meaning for pair in slips} <= {pair.text for pair in pairs}
    fewer = corpus_of(made_data, requests=0, filed=0, filed_share=0.0, slips_per_sound=0)
    assert len(fewer) < len(pairs) - len(load_vocabulary())


def test_what_the_training_rows_do_not_say_stays_out(made_data: Path) -> None:
    clips = [clip for clip in read_sounds(made_data) if clip.caption == "hiss"]
    texts = {pair.text for pair in build_corpus(made_data, clips, WORDS, CorpusConfig())}
    assert "hiss" in texts and "low tone" not in texts


def test_captions_kept_for_judging_stay_out(made_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(made_data, tmp_path / "data")
    for name in ("audiocaps_val", "audiocaps_test", "clotho_v2_development"):
        (data / "captions" / f"{name}.csv").write_text(
            "audiocap_id,youtube_id,start_time,file_name,caption,caption_1\n1,x,0,f,qqq,qqq\n"
        )
    pairs = corpus_of(data)
    assert pairs == corpus_of(made_data)


def test_case_costs_nothing() -> None:
    """The tokenizer of the shipped bundle, which is the teacher's, reads both cases alike."""
    folder = Path(soundsearch.bundles.__path__[0])
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "starter" / "tokenizer.json"))
    for sound in load_vocabulary():
        ids = tokenizer.encode(sound.lower()).ids
        assert tokenizer.encode(sound.upper()).ids == ids == tokenizer.encode(sound.title()).ids
    assert tokenizer.encode("dog").ids != tokenizer.encode("door").ids


def test_only_words_of_their_own_are_taken_from_a_vocabulary() -> None:
    assert whole_words(["[PAD]", "##ing", "dog", "a", "été", "12", "bark"]) == ["bark", "dog"]


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("a dog barking", "dogs barking"),
        ("car horn honking", "car horns honking"),
        ("guitar string", "guitar strings"),
        ("wood knock", "wood knocks"),
        ("person saying the number nine", "people saying the number nine"),
        ("chime of a clock", "chimes of a clock"),
        ("rain falling", "rain falling"),
        ("frogs croaking", "frogs croaking"),
        ("banging a bowl", "banging a bowl"),
        ("swimming", "swimming"),
        ("explosion underwater", "explosions underwater"),
        ("coin dropped", "coins dropped"),
        ("a rainstorm heard from inside", "rainstorms heard from inside"),
        ("whistle blown by a referee", "whistles blown by a referee"),
        ("underwater", "underwater"),
        ("drum beat", "drum beats"),
        ("drum beats", "drum beats"),
        ("spoken word", "spoken word"),
        ("a", "a"),
    ],
)
def test_the_head_of_a_phrase_is_put_in_the_plural(one: str, many: str) -> None:
    assert plural_of(one) == many


def test_what_is_in_the_plural_stays() -> None:
    plurals = [plural_of(sound) for sound in load_vocabulary()]
    assert [plural_of(sound) for sound in plurals] == plurals


def test_names_are_written_as_libraries_write_them() -> None:
    def names(sound: str, category: str = "") -> set[str]:
        """Every way in which the sound is filed, whatever number it gets."""
        drawn = (filed(sound, random.Random(seed), category) for seed in range(200))
        return {re.sub(r"\d+", "#", name) for name in drawn}

    both_orders = {
        "WOODEN DOOR CREAKING",
        "wooden_door_creaking",
        "wooden_door_creaking_#",
        "wooden-door-creaking-#.wav",
        "WOODENDoor creaking #",
        "DOOR WOODEN CREAKING",
        "door_wooden_creaking",
        "door_wooden_creaking_#",
        "door-wooden-creaking-#.wav",
        "DOORWooden creaking #",
    }
    assert names("a wooden door creaking") == both_orders
    assert names("a creak", "wood door") == {
        "WOOD DOOR CREAK",
        "wood_door_creak",
        "wood_door_creak_#",
        "wood-door-creak-#.wav",
        "WOODDoor creak #",
    }
    assert filed("it is", random.Random(0)) == "it is"


@given(st.text(alphabet="abcdefgh ,", max_size=40), st.integers(0, 1000))
def test_a_typo_touches_one_long_word_by_one_slip(text: str, seed: int) -> None:
    slipped = with_typo(text, random.Random(seed))
    before, after = text.split(" "), slipped.split(" ")
    assert len(before) == len(after)
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert len(changed) <= 1
    for word, wrong in changed:
        assert len(word) > 3 and word[0] == wrong[0] and abs(len(word) - len(wrong)) <= 1


def test_a_replaced_letter_is_one_beside_it_and_no_slip_makes_a_known_word() -> None:
    slips = {with_typo("rain", random.Random(seed)) for seed in range(400)}
    same_length = {slip for slip in slips if len(slip) == 4 and sorted(slip) != sorted("rain")}
    assert same_length == {"rsin", "raun", "raon"}
    assert slips - same_length == {"rian", "rani", "rin", "ran", "raain", "raiin"}
    known = {with_typo("Rain", random.Random(seed), {"ran", "rani"}) for seed in range(400)}
    assert {"Rain", "Rian"} <= known and not {"Ran", "Rani"} & known
    assert all(letter in "".join(KEY_ROWS) for letter in "abcdefghijklmnopqrstuvwxyz")


@given(st.lists(st.sampled_from(["foot", "step", "a", "on"]), min_size=1), st.integers(0, 99))
def test_a_space_is_lost_but_never_so_as_to_make_a_known_word(words: list[str], seed: int) -> None:
    text = " ".join(words)
    joined = without_space(text, random.Random(seed), {"footstep"})
    assert joined.replace(" ", "") == text.replace(" ", "")
    assert joined.count(" ") >= text.count(" ") - 1
    assert ("footstep" in joined.split(" ")) is False
    if len(words) > 1 and "foot step" not in text:
        assert joined != text


def test_long_texts_get_two_slips() -> None:
    short, long = " ".join(["marmalade"] * (LONG - 1)), " ".join(["marmalade"] * LONG)

    def most_changed(text: str) -> int:
        slipped = (with_slips(text, random.Random(seed)) for seed in range(60))
        return max(sum(w != "marmalade" for w in s.split(" ")) for s in slipped)

    assert (most_changed(short), most_changed(long)) == (1, 2)
    assert any(" " not in with_slips("low tone", random.Random(seed)) for seed in range(20))
