"""Results as files: nothing is lost, nothing is stated that was not counted."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soundsearch.bench.evaluation import evaluate_retrieval
from soundsearch.bench.protocols import PROTOCOLS
from soundsearch.bench.result_files import ranks_path, read_result, with_ranks, write_result
from soundsearch.bench.results import BenchmarkResult, result_from_json, result_of_retrieval
from soundsearch.errors import BenchmarkError
from tests.bench.toy import toy_classification, toy_retrieval, toy_run, toy_scores


def both() -> list[BenchmarkResult]:
    return [toy_retrieval(decimals=1), toy_retrieval(protocol="dcase"), toy_classification()]


@pytest.mark.parametrize("i", range(3))
def test_a_result_comes_back_as_it_was_written(tmp_path: Path, i: int) -> None:
    result, path = both()[i], tmp_path / "deep" / "clotho.json"
    write_result(result, path)
    assert sorted(p.name for p in path.parent.iterdir()) == ["clotho.json", "clotho.ranks.csv"]
    again = read_result(path)
    assert again.to_json() == result.to_json()
    for one, two in zip(result.directions, again.directions, strict=True):
        assert one.queries is not None and two.queries is not None
        assert one.queries.queries == two.queries.queries
        assert one.queries.clips == two.queries.clips
        for a, b in zip(one.queries.ranks, two.queries.ranks, strict=True):
            np.testing.assert_array_equal(a.positions, b.positions)
            np.testing.assert_array_equal(a.first, b.first)


def test_the_json_says_what_the_numbers_hang_on(tmp_path: Path) -> None:
    write_result(toy_retrieval(), tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["schema"] == 1
    assert data["task"] == "retrieval"
    assert (data["benchmark"], data["split"], data["protocol"]) == (
        "clotho",
        "evaluation",
        "literature",
    )
    model = {"name": "toy", "version": "1", "fingerprint": "0f" * 8, "max_tokens": 77}
    assert data["model"] == model
    assert data["counts"] == {
        "listed_clips": 40,
        "skipped_clips": 0,
        "clips": 40,
        "texts": 200,
        "truncated_texts": 0,
    }
    assert data["bootstrap"] == {"samples": 200, "seed": 0, "level": 0.95}
    assert data["ties"] == "ties by expectation"
    to_audio, to_text = data["directions"]
    assert (to_audio["name"], to_audio["n_queries"], to_audio["n_candidates"]) == (
        "text-to-audio",
        200,
        40,
    )
    assert (to_text["name"], to_text["n_queries"], to_text["n_candidates"]) == (
        "audio-to-text",
        40,
        200,
    )
    assert set(to_text["numbers"]["R@1"]) == {"value", "low", "high", "optimistic", "pessimistic"}
    assert data["command"].startswith("soundsearch benchmark run")
    assert "folds" not in data


def test_the_docs_name_every_field() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text("utf-8")
    for result in both():
        data = result.to_json()
        inner = [*data["model"], *data["counts"], *data["directions"][0], *data["bootstrap"]]
        for field in [*data, *inner, *(key for each in data.get("classes", []) for key in each)]:
            assert f"`{field}`" in docs, field


def test_the_ranks_give_the_numbers_again(tmp_path: Path) -> None:
    result = toy_retrieval()
    write_result(result, tmp_path / "a.json")
    with (tmp_path / "a.ranks.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["direction"] == "audio-to-text"]
    assert len(rows) == 40
    assert rows[3]["query"] == rows[3]["clip"] == "clip 3.wav"
    recall = np.mean([float(row["rank"]) <= 1 for row in rows])
    assert recall == result.directions[1].numbers["R@1"].value
    assert all(row["rank"] == row["positions"].split()[0] for row in rows)
    assert all(len(row["positions"].split()) == 5 for row in rows)
    assert {row["optimistic"] for row in rows} == {""}  # nothing is tied


def test_captions_are_named_after_their_clip() -> None:
    queries = toy_retrieval().directions[0].queries
    assert queries is not None
    assert queries.queries[4:7] == ("clip 0.wav#4", "clip 1.wav#0", "clip 1.wav#1")


@pytest.mark.parametrize(("n_listed", "n_skipped"), [(41, 0), (40, 1), (39, 0), (39, -1)])
def test_no_number_is_over_fewer_clips_than_it_says(n_listed: int, n_skipped: int) -> None:
    result = toy_retrieval()
    run = replace(result.run, n_listed=n_listed, n_skipped=n_skipped)
    with pytest.raises(BenchmarkError, match="skipped, but the numbers are over 40"):
        replace(result, run=run)


def test_skipped_clips_are_stated() -> None:
    scores, owner = toy_scores(40)
    measured = evaluate_retrieval(scores, owner, PROTOCOLS["literature"], bootstrap=0)
    run = replace(toy_run(), n_listed=42, n_skipped=2)
    result = result_of_retrieval(measured, run, [str(i) for i in range(40)])
    assert result.to_json()["counts"]["skipped_clips"] == 2


def test_counts_that_contradict_each_other_are_refused() -> None:
    result = toy_retrieval()
    to_audio, to_text = result.directions
    with pytest.raises(
        BenchmarkError, match="199 queries and 40 candidates do not belong to 40 clips"
    ):
        replace(result, directions=(replace(to_audio, n_queries=199), to_text))
    with pytest.raises(BenchmarkError, match="audio-to-text: 40 queries and 199 candidates"):
        replace(result, directions=(to_audio, replace(to_text, n_candidates=199)))
    with pytest.raises(BenchmarkError, match="ranks of 40 queries are given"):
        replace(result, directions=(replace(to_audio, queries=to_text.queries), to_text))
    sorted_out = toy_classification()
    with pytest.raises(BenchmarkError, match="3 classes with 30 clips in all do not belong to 40"):
        replace(sorted_out, classes=sorted_out.classes[:3])


def test_clip_names_are_one_a_clip_and_distinct() -> None:
    scores, owner = toy_scores(2)
    measured = evaluate_retrieval(scores, owner, PROTOCOLS["literature"], bootstrap=0)
    with pytest.raises(BenchmarkError, match="1 names are given for 2 clips"):
        result_of_retrieval(measured, toy_run(n_clips=2), ["a"])
    with pytest.raises(BenchmarkError, match="'a' is given to more than one clip"):
        result_of_retrieval(measured, toy_run(n_clips=2), ["a", "a"])


def test_only_the_json_will_do_for_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_result(toy_retrieval(), path)
    ranks_path(path).unlink()
    again = read_result(path)
    assert [each.queries for each in again.directions] == [None, None]
    write_result(again, tmp_path / "b.json")
    assert not ranks_path(tmp_path / "b.json").exists()


def test_the_ranks_of_another_run_are_refused(tmp_path: Path) -> None:
    write_result(toy_retrieval(), tmp_path / "a.json")
    write_result(toy_retrieval(seed=5), tmp_path / "b.json")
    with pytest.raises(BenchmarkError, match=r"b\.ranks\.csv: these are the ranks of another run"):
        with_ranks(read_result(tmp_path / "a.json"), tmp_path / "b.ranks.csv")


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda text: text.replace("positions", "places"), "column positions is missing"),
        (lambda text: text.split("\n")[0] + "\n", "holds no rows"),
        (lambda text: "\n".join(text.split("\n")[:150]) + "\n", "another run|no positions"),
        (
            lambda text: text.replace("text-to-audio,clip 0.wav#0", "text-to-audio"),
            "line 2 has 6 cells",
        ),
        (lambda text: "", "it is empty"),
        (lambda text: text.replace("clip 0.wav,1,1", "clip 0.wav,1,one"), "does not hold"),
    ],
)
def test_damaged_ranks_are_refused(tmp_path: Path, damage: object, line: str) -> None:
    path = tmp_path / "a.json"
    write_result(toy_retrieval(), path)
    ranks_path(path).write_text(damage(ranks_path(path).read_text()))  # type: ignore[operator]
    with pytest.raises(BenchmarkError, match=line):
        read_result(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("not json", "is not JSON"),
        ("[]", "not a benchmark result of schema 1"),
        ('{"schema": 2}', r"schema 1 \(its schema is 2\)"),
        ('{"schema": 1, "protocol": "x"}', "protocol 'x'"),
        ('{"schema": 1, "protocol": "dcase"}', "not a whole benchmark result"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=line) as caught:
        read_result(path)
    assert "a.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_field_of_the_json_is_needed() -> None:
    for result in both():
        for key in result.to_json():
            data = result.to_json()
            del data[key]
            if key in ("task", "confusion", "folds", "classes", "class_texts"):
                continue
            with pytest.raises(BenchmarkError):
                result_from_json(data)


def test_what_cannot_be_read_or_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"cannot read .*none\.json: No such file"):
        read_result(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchmarkError, match="cannot write"):
        write_result(toy_retrieval(), tmp_path / "file" / "a.json")
