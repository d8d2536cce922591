"""Protocols: numbers by hand and by loops, their differences, intervals, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.bench.evaluation import (
    evaluate_classification,
    evaluate_retrieval,
    not_empty,
    resampled,
    resamplings,
)
from soundsearch.bench.protocols import PROTOCOLS, Measure, protocol_named
from soundsearch.errors import BenchmarkError
from tests.bench.toy import toy_scores

LITERATURE, DCASE, MTEB = PROTOCOLS["literature"], PROTOCOLS["dcase"], PROTOCOLS["mteb-v2"]


def by_loops(scores: NDArray[np.float32], owner: NDArray[np.int64]) -> tuple[dict[str, float], ...]:
    """The numbers of docs/benchmarks.md by sorting and loops, no ties."""
    n_texts, n_clips = scores.shape
    to_audio = []
    for t in range(n_texts):
        order = sorted(range(n_clips), key=lambda c: -scores[t, c])
        to_audio.append(order.index(owner[t]) + 1)
    to_text = []
    for c in range(n_clips):
        order = sorted(range(n_texts), key=lambda t: -scores[t, c])
        to_text.append([p for p, t in enumerate(order, 1) if owner[t] == c])

    first, second = {}, {}
    for k in (1, 5, 10, 50):
        first[f"R@{k}"] = np.mean([p <= k for p in to_audio])
        second[f"R@{k}"] = np.mean([p[0] <= k for p in to_text])
        second[f"recall@{k}"] = np.mean([sum(x <= k for x in p) / 5 for p in to_text])
    for k in (10, 16):
        first[f"mAP@{k}"] = np.mean([(p <= k) / p for p in to_audio])
        precisions = [[i / x for i, x in enumerate(p, 1) if x <= k] for p in to_text]
        second[f"mAP@{k}"] = np.mean([sum(each) / 5 for each in precisions])
        second[f"MRR@{k}"] = np.mean([(p[0] <= k) / p[0] for p in to_text])
    for numbers, ranks in ((first, to_audio), (second, [p[0] for p in to_text])):
        numbers["median rank"] = float(np.median(ranks))
        numbers["mean rank"] = float(np.mean(ranks))
    return first, second


@pytest.mark.parametrize("name", PROTOCOLS)
def test_numbers_are_those_of_loops(name: str) -> None:
    scores, owner = toy_scores(30, skill=1.5)
    result = evaluate_retrieval(scores, owner, PROTOCOLS[name], bootstrap=0)
    first, second = by_loops(scores, owner)
    # a caption has one clip: hit rate, recall and R@k are one
    first |= {
        key.replace("R@", other): v
        for key, v in first.items()
        for other in ("hit_rate@", "recall@")
    }
    second |= {key.replace("R@", "hit_rate@"): v for key, v in second.items()}
    for measured, wanted in ((result.text_to_audio, first), (result.audio_to_text, second)):
        for measure, number in measured.numbers.items():
            assert number.value == pytest.approx(wanted[measure]), measure
            assert (number.optimistic, number.pessimistic) == (None, None)
    assert (result.text_to_audio.n_queries, result.text_to_audio.n_candidates) == (150, 30)
    assert (result.audio_to_text.n_queries, result.audio_to_text.n_candidates) == (30, 150)


def test_protocols_measure_what_they_say() -> None:
    standard = ["R@1", "R@5", "R@10", "mAP@10", "median rank", "mean rank"]
    names = {
        name: [[m.name for m in p.measures(d)] for d in ("text-to-audio", "audio-to-text")]
        for name, p in PROTOCOLS.items()
    }
    assert names["literature"] == [standard, standard]
    assert names["vip-ant"][0] == names["vip-ant"][1] == [*standard[:3], "R@50", *standard[3:]]
    assert names["dcase"][0] == [*standard[:4], "mAP@16", *standard[4:]]
    assert names["dcase"][1][:6] == [
        "recall@1",
        "recall@5",
        "recall@10",
        "mAP@10",
        "mAP@16",
        "MRR@10",
    ]
    assert names["mteb-v2"][1][:4] == ["hit_rate@1", "hit_rate@5", "hit_rate@10", "recall@1"]
    vip_ant = PROTOCOLS["vip-ant"]
    assert (vip_ant.caption_prefix, vip_ant.normalise_class_text) == ("the sound of ", False)
    assert vip_ant.one_embedding_per_clip
    assert LITERATURE.caption_prefix == ""


def test_the_docs_name_every_protocol_and_measure() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text("utf-8")
    for protocol in PROTOCOLS.values():
        assert f"| `{protocol.name}`" in docs
        for measure in (*protocol.text_to_audio, *protocol.audio_to_text):
            assert measure.name.partition("@")[0] + "@k" in docs or measure.name in docs


def test_audio_to_text_recall_at_1_is_divided_by_five_under_dcase() -> None:
    scores, owner = toy_scores(40, skill=2.0)
    best_of_five = evaluate_retrieval(scores, owner, LITERATURE, bootstrap=0).audio_to_text
    shared = evaluate_retrieval(scores, owner, DCASE, bootstrap=0).audio_to_text
    mteb = evaluate_retrieval(scores, owner, MTEB, bootstrap=0).audio_to_text
    assert best_of_five.numbers["R@1"].value > 0.2
    assert shared.numbers["recall@1"].value == pytest.approx(best_of_five.numbers["R@1"].value / 5)
    assert mteb.numbers["recall@1"] == shared.numbers["recall@1"]
    assert mteb.numbers["hit_rate@1"] == best_of_five.numbers["R@1"]


def test_the_degenerate_encoder_gets_chance_and_says_that_all_is_tied() -> None:
    _, owner = toy_scores(40)
    result = evaluate_retrieval(np.ones((200, 40), np.float32), owner, LITERATURE, bootstrap=50)
    for measured, mean in ((result.text_to_audio, 41 / 2), (result.audio_to_text, 201 / 6)):
        r1, mean_rank = measured.numbers["R@1"], measured.numbers["mean rank"]
        assert (r1.value, r1.optimistic, r1.pessimistic) == (0.0, 1.0, 0.0)
        assert mean_rank.value == pytest.approx(mean)
        assert measured.numbers["R@10"].value <= 10 / 40


def test_a_tie_too_small_to_matter_is_not_told() -> None:
    scores, owner = toy_scores(500, skill=4.0)
    order = np.argsort(-scores[0])
    own = int(np.flatnonzero(order == owner[0])[0])
    rival = int(order[1 if own == 0 else 0])
    scores[0, owner[0]] = scores[0, rival] = scores[0].max()
    numbers = evaluate_retrieval(scores, owner, LITERATURE, bootstrap=0).text_to_audio.numbers
    assert numbers["R@1"].optimistic is None  # one of 2,500 queries is 0.04 points
    scores[5, owner[5]] = np.sort(scores[5])[-2 if scores[5].argmax() == owner[5] else -1]
    numbers = evaluate_retrieval(scores, owner, LITERATURE, bootstrap=0).text_to_audio.numbers
    assert numbers["R@1"].optimistic == pytest.approx(numbers["R@1"].pessimistic + 2 / 2500)


def test_intervals_are_the_same_on_every_run_and_hold_the_value() -> None:
    scores, owner = toy_scores(60, skill=1.0)
    one, two, other = (
        evaluate_retrieval(scores, owner, LITERATURE, seed=seed, bootstrap=300)
        for seed in (0, 0, 1)
    )
    for a, b, c in zip(one.directions, two.directions, other.directions, strict=True):
        assert a.numbers == b.numbers
        assert a.numbers != c.numbers
        for number in a.numbers.values():
            assert number.low is not None and number.high is not None
            assert number.low <= number.value <= number.high
            assert number.low < number.high


def test_intervals_are_as_wide_as_the_binomial_says() -> None:
    # audio to text, one query a clip: R@1 is a share of N independent clips
    scores, owner = toy_scores(400, skill=2.2)
    number = evaluate_retrieval(scores, owner, LITERATURE, bootstrap=2000).audio_to_text.numbers[
        "R@1"
    ]
    wide = 2 * 1.96 * np.sqrt(number.value * (1 - number.value) / 400)
    assert number.high is not None and number.low is not None
    assert number.high - number.low == pytest.approx(wide, rel=0.1)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), min_size=5, max_size=12),
    st.integers(0, 99),
)
@settings(max_examples=50)
def test_resampling_is_counting_every_clip_as_often_as_drawn(
    queries: list[tuple[int, int]], seed: int
) -> None:
    clip = np.array([c for c, _ in queries] + [0, 1, 2, 3, 4])
    values = np.array([float(v) for _, v in queries] + [1.0, 2.0, 3.0, 4.0, 5.0])
    weights = resamplings(5, n=7, seed=seed)
    assert weights.sum(axis=1).tolist() == [5] * 7
    for median, of in ((False, np.mean), (True, np.median)):
        measure = Measure("any", lambda ranks: ranks.best, median=median)
        wanted = [of(np.repeat(values, drawn[clip])) for drawn in weights]
        np.testing.assert_allclose(resampled(measure, values, clip, weights), wanted)


def test_identical_texts_share_their_clips_when_merged() -> None:
    owner = np.array([0, 0, 1, 1, 2])
    texts = ["a dog barks", "rain", "a dog barks", "wind", "a crow"]
    scores = np.array(
        [[1, 9, 0], [9, 0, 0], [1, 9, 0], [0, 2, 1], [0, 1, 3]], np.float32
    )  # the first text scores clip 1 highest, which says the same
    apart = evaluate_retrieval(scores, owner, LITERATURE, bootstrap=0)
    merged = evaluate_retrieval(scores, owner, LITERATURE, merge_identical=texts, bootstrap=0)
    assert apart.text_to_audio.numbers["R@1"].value == 4 / 5
    assert merged.text_to_audio.numbers["R@1"].value == 1.0
    assert (merged.n_texts, merged.merged_identical) == (4, True)
    assert merged.text_to_audio.query.tolist() == [0, 1, 3, 4]
    assert merged.text_to_audio.clip.tolist() == [0, 0, 1, 2]
    assert merged.text_to_audio.ranks.expected.n_relevant.tolist() == [2, 1, 1, 1]
    assert (merged.audio_to_text.n_queries, merged.audio_to_text.n_candidates) == (3, 4)
    assert merged.audio_to_text.ranks.expected.n_relevant.tolist() == [2, 2, 1]


def test_merging_texts_that_all_differ_changes_nothing() -> None:
    scores, owner = toy_scores(20)
    texts = [f"caption {i}" for i in range(100)]
    apart = evaluate_retrieval(scores, owner, MTEB, bootstrap=100)
    merged = evaluate_retrieval(scores, owner, MTEB, merge_identical=texts, bootstrap=100)
    for a, b in zip(apart.directions, merged.directions, strict=True):
        assert a.numbers == b.numbers


def test_a_caption_repeated_within_a_clip_is_one_when_merged() -> None:
    scores, owner = np.array([[3, 1], [3, 1], [0, 2]], np.float32), np.array([0, 0, 1])
    merged = evaluate_retrieval(scores, owner, DCASE, merge_identical=["x", "x", "y"], bootstrap=0)
    assert merged.audio_to_text.numbers["recall@1"].value == 1.0
    apart = evaluate_retrieval(scores, owner, DCASE, bootstrap=0)
    assert apart.audio_to_text.numbers["recall@1"].value == (1 / 2 + 1) / 2


def test_clips_left_without_a_query_by_merging_do_not_break_intervals() -> None:
    scores, owner = np.array([[1, 2, 0], [1, 2, 0], [0, 1, 2]], np.float32), np.array([0, 1, 2])
    merged = evaluate_retrieval(scores, owner, LITERATURE, merge_identical=["x", "x", "y"])
    for number in merged.text_to_audio.numbers.values():
        assert number.low is not None and number.high is not None
        assert number.low <= number.value <= number.high


def test_empty_texts_are_no_queries() -> None:
    # version 1 of MTEB's Clotho tasks: the captions of a clip joined, then cut at full stops
    joined = ["A dog barks. Rain falls. ", "A crow.A rook"]
    segments = [segment for captions in joined for segment in captions.split(".")]
    scores = np.array([[9, 0], [9, 0], [0, 1], [0, 9], [0, 9]], np.float32)
    owner = np.array([0, 0, 0, 1, 1])
    with pytest.raises(BenchmarkError, match="1 of 5 texts are empty, the first is text 2"):
        evaluate_retrieval(scores, owner, MTEB, merge_identical=segments)
    too_low = evaluate_retrieval(scores, owner, MTEB, bootstrap=0)
    assert too_low.text_to_audio.numbers["hit_rate@1"].value == 4 / 5
    kept = not_empty(segments)
    assert kept.tolist() == [0, 1, 3, 4]
    right = evaluate_retrieval(
        scores[kept], owner[kept], MTEB, merge_identical=[segments[i] for i in kept], bootstrap=0
    )
    assert right.text_to_audio.numbers["hit_rate@1"].value == 1.0
    assert right.text_to_audio.n_queries == 4
    assert right.audio_to_text.numbers["recall@5"].value == 1.0


@pytest.mark.parametrize(
    ("scores", "owner", "texts", "line"),
    [
        (np.zeros((2, 2)), [0, 2], None, "text 1 belongs to clip 2, but the 2 clips are 0 to 1"),
        (np.zeros((2, 2)), [0, 0], None, "1 of 2 clips have no text, the first is clip 1"),
        (np.zeros((2, 2)), [0], None, r"not \(2, 2\) with 1 owners"),
        (np.full((2, 2), np.nan), [0, 1], None, "not finite"),
        (np.full((2, 2), np.inf), [0, 1], None, "not finite"),
        (np.zeros((2, 2)), [0, 1], ["a"], "1 texts are given for 2 rows"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    scores: NDArray[np.float64], owner: list[int], texts: list[str] | None, line: str
) -> None:
    with pytest.raises(BenchmarkError, match=line):
        evaluate_retrieval(scores, np.array(owner), LITERATURE, merge_identical=texts)


def test_an_unknown_protocol_names_those_there_are() -> None:
    assert protocol_named("dcase") is DCASE
    with pytest.raises(
        BenchmarkError, match="'wavcaps'; choose one of literature, vip-ant, dcase, mteb-v2"
    ):
        protocol_named("wavcaps")


def test_classification_pools_clips_and_averages_folds() -> None:
    scores = np.array([[2, 1], [2, 1], [1, 2], [2, 1], [1, 2], [1, 2]], np.float32)
    target, fold = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 1, 1, 2, 2])
    result = evaluate_classification(scores, target, fold, ["dog", "rain"], bootstrap=100)
    assert result.accuracy.value == pytest.approx(4 / 6)
    assert result.folds == {1: 0.5, 2: 1.0}
    assert result.fold_mean == 0.75
    assert result.fold_std == pytest.approx(np.sqrt(0.125))
    assert result.confusion.tolist() == [[2, 1], [1, 2]]
    assert [(c.name, c.n_clips, c.mistaken_for) for c in result.classes] == [
        ("dog", 3, "rain"),
        ("rain", 3, "dog"),
    ]
    assert result.accuracy.low is not None and result.accuracy.low < 4 / 6


def test_a_constant_scorer_is_right_once_in_n_classes() -> None:
    target = np.arange(60) % 5
    result = evaluate_classification(np.zeros((60, 5)), target, None, list("abcde"), bootstrap=20)
    assert result.accuracy.value == pytest.approx(1 / 5)
    assert (result.accuracy.optimistic, result.accuracy.pessimistic) == (1.0, 0.0)
    assert (result.folds, result.fold_mean, result.fold_std) == ({}, None, None)
    np.testing.assert_allclose(result.confusion, np.full((5, 5), 12 / 5))


def test_a_class_without_clips_keeps_its_place() -> None:
    result = evaluate_classification(
        np.array([[0.0, 1.0, 2.0]]), np.array([2]), None, ["a", "b", "c"], bootstrap=0
    )
    assert [(c.n_clips, c.accuracy, c.mistaken_for) for c in result.classes] == [
        (0, None, None),
        (0, None, None),
        (1, 1.0, None),
    ]
    assert result.accuracy.low is None


@pytest.mark.parametrize(
    ("target", "fold", "names", "line"),
    [
        ([0, 2], None, "ab", "clip 1 is of class 2, but the classes are 0 to 1"),
        ([0], None, "ab", r"shape \(2, 2\) do not fit 1 clips and 2 classes"),
        ([0, 1], [1], "ab", "1 folds are given for 2 clips"),
    ],
)
def test_what_cannot_be_classified_is_refused(
    target: list[int], fold: list[int] | None, names: str, line: str
) -> None:
    with pytest.raises(BenchmarkError, match=line):
        evaluate_classification(
            np.zeros((2, 2)),
            np.array(target),
            None if fold is None else np.array(fold),
            list(names),
        )
