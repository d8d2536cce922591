"""The evaluation of text towers, with made ones whose metrics are known beforehand."""

from __future__ import annotations

import csv
import random
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from recipes.starter.corpus import plural_of
from recipes.starter.text_evaluation import (
    EVENTS,
    THINGS,
    Search,
    evaluate_texts,
    make_searches,
    metrics_of,
)
from soundsearch.errors import SoundsearchError
from soundsearch.vocabulary import load_vocabulary

Array = NDArray[np.float32]
#: (clip, caption) of AudioCaps' validation part, rows of a clip apart from each other.
CAPTIONS = [
    ("a", "thunder rolls over hills"),
    ("b", "ducks quack near water"),
    ("c", "someone types quickly"),
    ("a", "a storm rumbles far away"),
    ("d", "described only once"),
    ("b", "birds call on a pond"),
    ("c", "keyboard keys clatter"),
    ("a", "a third caption of the storm"),
    ("e", "trains pass slowly"),
    ("e", "a railway line is busy"),
]
VALID = ["marmalade jar opening", "trombone falling downstairs", "a xylophone"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with captions and a manifest; the evaluation needs no sound."""
    (tmp_path / "captions").mkdir()
    with open(tmp_path / "captions" / "audiocaps_val.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["audiocap_id", "youtube_id", "start_time", "caption"])
        writer.writerows([i, clip, 30, caption] for i, (clip, caption) in enumerate(CAPTIONS))
    with open(tmp_path / "sounds.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "caption", "tags", "split", "source", "licence"])
        captions = [*VALID, VALID[0], load_vocabulary()[0]]
        writer.writerows([f"{c}.wav", c, "", "valid", "made", "CC0"] for c in captions)
        writer.writerow(["learnt.wav", "learnt by heart", "", "train", "made", "CC0"])
    return tmp_path


def unit(vectors: NDArray[np.generic]) -> Array:
    """Rows brought to length 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]


def reader(meaning: Callable[[str], str] = str, width: int = 512) -> Callable[..., Array]:
    """Texts of one meaning get one vector, other texts one that has nothing to do with it."""

    def embed(texts: Sequence[str]) -> Array:
        seeds = [zlib.crc32(meaning(text).encode()) for text in texts]
        vectors = np.stack([np.random.default_rng(seed).normal(size=width) for seed in seeds])
        return unit(vectors)

    return embed


def understood(text: str) -> str:
    """What a text says, by one who knows order, negation, number, captions and capitals."""
    text = re.sub("^(.*) after (.*)$", r"\2, then \1", text, flags=re.IGNORECASE)
    text = re.sub("^(.*) cannot be heard$", r"no \1", text)
    first = dict(reversed(CAPTIONS))
    for clip, caption in CAPTIONS:
        text = text.replace(caption, first[clip])
    return ", then ".join(plural_of(part) for part in text.lower().split(", then "))


def test_ranks_are_those_worked_out_by_hand() -> None:
    plane = {"q": [1.0, 0.0], "r": [0.6, 0.8], "x": [0.0, 1.0], "y": [1.0, 0.0]}

    def embed(texts: Sequence[str]) -> Array:
        return np.array([plane[text] for text in texts], np.float32)

    assert Search(["q", "r", "r"], ["x", "y"], [1, 1, 0]).ranks(embed).tolist() == [1, 2, 1]


def test_what_is_asked_is_held_out_and_wants_its_own_text(data: Path) -> None:
    searches = make_searches(data, random.Random(0))
    first, second = searches["paraphrase"].texts, searches["paraphrase"].queries
    assert first == [CAPTIONS[i][1] for i in (0, 1, 2, 8)]
    assert second == [CAPTIONS[i][1] for i in (3, 5, 6, 9)]
    assert searches["paraphrase"].wanted == [0, 1, 2, 3]
    assert searches["passage"].texts == [". ".join(first[:3]), first[3]]
    assert searches["passage"].queries == [". ".join(second[:3]), second[3]]
    for name in ("typo", "space", "name", "request"):
        assert searches[name].texts == sorted(VALID)
    assert searches["plural"].texts == load_vocabulary()
    assert len(searches["plural"].queries) > 500
    for search in searches.values():
        asked = [search.texts[i] for i in search.wanted]
        assert all(a != b for a, b in zip(asked, search.queries, strict=True))
    assert make_searches(data, random.Random(0)) == searches
    assert make_searches(data, random.Random(1)) != searches


def test_one_who_understands_gets_the_marks_and_one_who_knows_nothing_does_not(data: Path) -> None:
    searches = make_searches(data, random.Random(0))
    metrics = metrics_of(reader(understood), searches)
    right = ("paraphrase_r1", "paraphrase_r10", "passage_r1", "plural_cosine", "case_cosine")
    for name in (*right, "order_right", "negation_right"):
        assert metrics[name] == pytest.approx(1.0), name
    assert metrics["plural_r1"] > 0.95  # the vocabulary has some phrases in both numbers
    assert abs(metrics["order_cosine"]) < 0.1 and abs(metrics["negation_cosine"]) < 0.1
    metrics = metrics_of(reader(lambda _: "all the same"), searches)
    for name in ("paraphrase_r1", "typo_r1", "plural_r1", "order_right", "negation_right"):
        assert metrics[name] == 0.0, name
    assert metrics["order_cosine"] == pytest.approx(1.0)


def test_a_case_is_seen_where_the_tower_sees_it(data: Path) -> None:
    metrics = evaluate_texts(reader(), reader(str.lower), data)
    assert abs(metrics["case_cosine"]) < 0.1 and metrics["teacher_case_cosine"] == pytest.approx(
        1.0
    )


def test_slips_names_and_requests_are_forgiven_by_one_who_counts_letters(data: Path) -> None:
    def letters(texts: Sequence[str]) -> Array:
        counts = [[text.lower().count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        return unit(np.array(counts))

    metrics = evaluate_texts(letters, reader(), data)
    for name in ("typo_r1", "typo_caption_r1", "space_r1", "name_r1"):
        assert metrics[name] == 1.0, name
        assert metrics[f"teacher_{name}"] < 1.0, name


def test_a_tower_that_is_the_teacher_gets_its_marks(data: Path) -> None:
    metrics = evaluate_texts(reader(), reader(), data)
    assert metrics["cosine"] == pytest.approx(1.0) and metrics["correlation"] == pytest.approx(1.0)
    names = {name for name in metrics if not name.startswith("teacher_")}
    assert {name for name in metrics if name not in names} == {
        f"teacher_{name}" for name in names - {"cosine", "correlation"}
    }
    assert all(metrics[name] == metrics.get(f"teacher_{name}", metrics[name]) for name in names)


def test_towers_of_another_width_are_compared_by_their_similarities(data: Path) -> None:
    def narrow(texts: Sequence[str]) -> Array:
        """The same angles in fewer numbers: what the wide reader puts into its first eight."""
        return reader(width=8)(texts)

    def wide(texts: Sequence[str]) -> Array:
        return np.pad(narrow(texts), ((0, 0), (3, 1)))

    for tower, teacher in ((narrow, wide), (wide, narrow)):
        metrics = evaluate_texts(tower, teacher, data)
        assert metrics["correlation"] == pytest.approx(1.0) and "cosine" not in metrics


def test_no_text_is_embedded_twice(data: Path) -> None:
    seen: list[str] = []

    def embed(texts: Sequence[str]) -> Array:
        seen.extend(texts)
        return reader()(texts)

    evaluate_texts(embed, reader(), data)
    assert len(seen) == len(set(seen)) > len(load_vocabulary())
    assert {*THINGS, *(caption for _, caption in CAPTIONS)} <= set(seen)
    assert all(f"{a}, then {b}" in seen and f"{b}, then {a}" in seen for a, b in EVENTS)


def test_missing_captions_are_named(tmp_path: Path) -> None:
    with pytest.raises(SoundsearchError, match=r"audiocaps_val\.csv: cannot be read"):
        evaluate_texts(reader(), reader(), tmp_path)
