"""Comparisons: the truth is found, chance is not, and only like is compared with like."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from soundsearch.bench.compare import Comparison, compare
from soundsearch.bench.evaluation import evaluate_retrieval
from soundsearch.bench.protocols import PROTOCOLS
from soundsearch.bench.result_files import read_result, write_result
from soundsearch.bench.results import result_of_retrieval
from soundsearch.bench.sheets import comparison_sheet, print_sheets
from soundsearch.errors import BenchmarkError
from tests.bench.toy import toy_classification, toy_retrieval, toy_run, toy_scores


def difference(of: Comparison, direction: str, measure: str) -> tuple[float, float, float, float]:
    each = next(d for d in of.differences if (d.direction, d.measure) == (direction, measure))
    return each.difference, each.low, each.high, each.p_value


def test_a_better_encoder_is_found_better_in_every_number() -> None:
    worse, better = toy_retrieval("worse", 1.0), toy_retrieval("better", 2.5)
    compared = compare(worse, better)
    assert len(compared.differences) == 12
    for each in compared.differences:
        gain = -each.difference if each.is_rank else each.difference
        assert gain > 0
        assert each.p_value < 0.01
        assert each.low <= each.difference <= each.high
        assert each.low * each.high > 0
        assert each.difference == pytest.approx(each.second - each.first)


def test_turning_the_question_turns_the_answer() -> None:
    one, two = toy_retrieval("one", 1.0, seed=1), toy_retrieval("two", 1.2, seed=1)
    forth, back = compare(one, two), compare(two, one)
    for a, b in zip(forth.differences, back.differences, strict=True):
        assert (a.difference, a.low, a.high) == pytest.approx((-b.difference, -b.high, -b.low))
        assert a.p_value == b.p_value


def test_a_result_does_not_differ_from_itself() -> None:
    result = toy_retrieval(decimals=1)
    for each in compare(result, result).differences:
        assert (each.difference, each.low, each.high, each.p_value) == (0, 0, 0, 1)


def test_equal_skill_is_seldom_called_different() -> None:
    p_values = [
        difference(
            compare(
                toy_retrieval(seed=2 * i, bootstrap=0),
                toy_retrieval(seed=2 * i + 1, bootstrap=0),
                bootstrap=300,
            ),
            *("text-to-audio", "R@1"),
        )[3]
        for i in range(40)
    ]
    assert sum(p < 0.05 for p in p_values) <= 7
    assert min(p_values) < 0.5 < max(p_values)


def test_pairing_is_sharper_than_two_intervals() -> None:
    scores, owner = toy_scores(100, 1.5)
    nudged = scores.copy()
    nudged[np.arange(500), owner] += np.float32(0.15)
    names = [str(i) for i in range(100)]
    one, two = (
        result_of_retrieval(
            evaluate_retrieval(s, owner, PROTOCOLS["literature"]), toy_run(m, 100), names
        )
        for m, s in (("one", scores), ("two", nudged))
    )
    a, b = (r.directions[0].numbers["R@1"] for r in (one, two))
    assert a.high is not None and b.low is not None and b.low < a.high  # the intervals overlap
    assert difference(compare(one, two), "text-to-audio", "R@1")[3] < 0.01


def test_the_same_seed_gives_the_same_numbers() -> None:
    one, two = toy_retrieval(skill=1.0), toy_retrieval(skill=1.3)
    assert compare(one, two).differences == compare(one, two).differences
    assert compare(one, two).differences != compare(one, two, seed=1).differences


def test_queries_are_aligned_by_name_not_by_place() -> None:
    scores, owner = toy_scores(40, 1.5)
    names = [f"clip {i}.wav" for i in range(40)]
    order = np.random.default_rng(0).permutation(40)
    texts = np.concatenate([5 * c + np.arange(5) for c in order])
    literature = PROTOCOLS["literature"]
    one = result_of_retrieval(evaluate_retrieval(scores, owner, literature), toy_run(), names)
    two = result_of_retrieval(
        evaluate_retrieval(scores[np.ix_(texts, order)], owner, literature),
        toy_run(),
        [names[c] for c in order],
    )
    for each in compare(one, two).differences:
        assert (each.difference, each.low, each.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_results_from_files_compare_as_those_in_memory(tmp_path: Path) -> None:
    one, two = toy_retrieval("one", decimals=1), toy_retrieval("two", 1.5, decimals=1)
    write_result(one, tmp_path / "one.json")
    write_result(two, tmp_path / "two.json")
    read = compare(read_result(tmp_path / "one.json"), read_result(tmp_path / "two.json"))
    assert read.differences == compare(one, two).differences


def test_classifications_compare_too() -> None:
    [each] = compare(toy_classification("one", 0.0), toy_classification("two", 3.0)).differences
    assert (each.direction, each.measure) == ("zero-shot", "accuracy")
    assert each.difference > 0.3
    assert each.p_value < 0.01


def test_only_like_is_compared_with_like() -> None:
    one = toy_retrieval("one")
    for other, line in (
        (toy_classification(), "different benchmarks, clotho and esc-50"),
        (
            replace(one, run=replace(one.run, split="validation")),
            "splits, evaluation and validation",
        ),
        (toy_retrieval(protocol="dcase"), "protocols, literature and dcase"),
        (toy_retrieval(n_clips=41), "clips, 40 and 41"),
        (replace(one, merged_identical=True), "rules for identical texts"),
    ):
        with pytest.raises(BenchmarkError, match=line) as caught:
            compare(one, other)
        assert "\n" not in str(caught.value)


def test_other_queries_of_the_same_number_are_refused() -> None:
    scores, owner = toy_scores(40)
    measured = evaluate_retrieval(scores, owner, PROTOCOLS["literature"], bootstrap=0)
    names = [f"clip {i}.wav" for i in range(40)]
    one = result_of_retrieval(measured, toy_run(), names)
    two = result_of_retrieval(measured, toy_run(), [*names[:-1], "other.wav"])
    with pytest.raises(BenchmarkError, match=r"different queries: text-to-audio 'clip 39\.wav#0'"):
        compare(one, two)


def test_a_result_without_its_ranks_is_refused(tmp_path: Path) -> None:
    write_result(toy_retrieval("bare"), tmp_path / "a.json")
    (tmp_path / "a.ranks.csv").unlink()
    with pytest.raises(BenchmarkError, match=r"bare comes without its \.ranks\.csv"):
        compare(toy_retrieval(), read_result(tmp_path / "a.json"))


def test_the_sheet_names_both_and_how_they_were_compared() -> None:
    out = io.StringIO()
    compared = compare(toy_retrieval("worse", 1.0), toy_retrieval("better", 2.5))
    print_sheets([comparison_sheet(compared)], Console(file=out, width=140))
    shown = out.getvalue()
    for part in (
        "clotho evaluation: 40 clips, 200 texts",
        "protocol literature (every caption is a query; best of a clip's captions); ties by expectation",
        "A: worse 1",
        "B: better 1",
        "2,000 resamplings of 40 clips, seed 0",
    ):
        assert part in shown
