"""Tagging on AudioSet: its list of segments, recordings by their names, mean average precision."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.bench.datasets import DataSetError, read_audioset
from soundsearch.bench.evaluation import evaluate_tagging
from soundsearch.bench.result_files import read_result
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import BenchmarkError
from soundsearch.vocabulary import audioset_classes
from tests import made_benchmarks as made
from tests.bench.test_run import encoder, measured, number  # noqa: F401
from tests.conftest import Run
from tests.made_benchmarks import classes_of_the_tiny_encoder, small_is_whole  # noqa: F401

pytestmark = pytest.mark.usefixtures("classes_of_the_tiny_encoder")


# ---- the number


def plain_average_precision(scores: list[float], right: list[bool]) -> float:
    """Written out: the mean, over the right ones, of the share of right ones down to there."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    shares, n_right = [], 0
    for place, i in enumerate(order, start=1):
        if right[i]:
            n_right += 1
            shares.append(n_right / place)
    return sum(shares) / len(shares)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 30))
def test_it_is_the_mean_of_average_precision_over_classes(
    seed: int, n_classes: int, n_clips: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(n_classes * n_clips).reshape(n_classes, n_clips).astype(np.float32)
    tagged = rng.random((n_clips, n_classes)) < 0.3
    tagged[rng.integers(n_clips, size=n_classes), np.arange(n_classes)] = True
    names = [str(i) for i in range(n_classes)]
    found = evaluate_tagging(scores, tagged, names, bootstrap=10)
    expected = [
        plain_average_precision(row.tolist(), right.tolist())
        for row, right in zip(scores, tagged.T, strict=True)
    ]
    assert found.tagging.numbers["mAP"].value == pytest.approx(np.mean(expected))
    assert [each.average_precision for each in found.classes] == pytest.approx(expected)
    assert [each.n_clips for each in found.classes] == tagged.sum(0).tolist()


def test_it_is_that_of_scikit_learn() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(20, 300)).astype(np.float32)
    tagged = rng.random((300, 20)) < 0.05
    tagged[np.arange(20), np.arange(20)] = True
    found = evaluate_tagging(scores, tagged, [str(i) for i in range(20)], bootstrap=0)
    macro = sklearn_metrics.average_precision_score(tagged, scores.T, average="macro")
    assert found.tagging.numbers["mAP"].value == pytest.approx(macro, abs=1e-9)


def test_scores_without_difference_are_worth_the_share_of_right_clips() -> None:
    tagged = np.zeros((100, 1), bool)
    tagged[:50] = True
    found = evaluate_tagging(np.zeros((1, 100), np.float32), tagged, ["a"], bootstrap=0)
    assert found.tagging.numbers["mAP"].value == pytest.approx(0.5, abs=0.02)


def test_a_class_without_clips_has_no_number() -> None:
    with pytest.raises(BenchmarkError, match="no clip is of class 'b'"):
        evaluate_tagging(np.zeros((2, 1), np.float32), np.array([[True, False]]), ["a", "b"])


# ---- the data set


@pytest.mark.parametrize(
    "stem", ["{id}", "Y{id}", "{id}_{start}", "Y{id}_{start}.000_{end}.000", "{id}_{start}000"]
)
@pytest.mark.usefixtures("small_is_whole")
def test_clips_are_found_by_the_names_of_the_field(tmp_path: Path, stem: str) -> None:
    data = read_audioset(made.audioset(tmp_path, stem=stem))
    assert (data.name, data.split, data.n_missing) == ("audioset", "eval", 0)
    assert data.classes == tuple(made.CLASS_IDS.values())  # only those that the list names
    assert data.tagged.sum() == 9 and data.tagged[7, [0, 7]].all()
    assert data.names[0] == "-___rumbleY"


@pytest.mark.usefixtures("small_is_whole")
def test_two_segments_of_one_video_have_names_with_a_start(tmp_path: Path) -> None:
    rows = 'abc, 0, 10, "/m/00001"\nabc, 30, 40, "/m/00002"\n'
    (tmp_path / "eval_segments.csv").write_text(made.SEGMENTS_HEAD + rows)
    made.clip(tmp_path / "audio" / "abc.wav", "hum")  # of which of them?
    made.clip(tmp_path / "audio" / "Yabc_30.wav", "drone")
    data = read_audioset(tmp_path)
    assert data.names == ("abc_30",)
    assert [each.name for each in data.missing] == ["abc_0"]


def test_less_than_was_published_is_missing(tmp_path: Path) -> None:
    data = read_audioset(made.audioset(tmp_path))
    assert (data.n_expected, data.n_missing) == (20371, 20363)
    mine = tmp_path / "mine.csv"
    mine.write_text((tmp_path / "eval_segments.csv").read_text())
    other = read_audioset(tmp_path, table=mine, audio=tmp_path / "audio")
    assert (other.split, other.n_expected) == ("mine", 8)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('abc, 0, 10, "/m/00001,/m/nobody"\n', "line 4: '/m/nobody' is no class of AudioSet"),
        ("abc, 0, 10, Dog\n", "line 4: 'Dog' is no class"),
        ("abc, 0, 10\n", "line 4: 3 cells, expected YTID"),
        ('abc, 0, 10, "/m/00001"\nabc, 0, 10, "/m/00002"\n', "abc from 0 s is listed 2 times"),
        ("", "holds no rows"),
    ],
)
def test_a_list_that_is_not_right(tmp_path: Path, row: str, message: str) -> None:
    made.audioset(tmp_path)
    path = tmp_path / "eval_segments.csv"
    path.write_text(made.SEGMENTS_HEAD + row)
    with pytest.raises(DataSetError, match=message) as caught:
        read_audioset(tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# ---- a run


@pytest.mark.usefixtures("small_is_whole")
def test_classes_are_asked_for_in_lower_case(encoder: Encoder, tmp_path: Path) -> None:  # noqa: F811
    result = measured(encoder, read_audioset(made.audioset(tmp_path)), "vip-ant")
    # All classes put their own clip first; the rumble's second one is the hiss, the last of all.
    low = (1 + 2 / 8) / 2
    assert number(result, "tagging", "mAP") == pytest.approx((7 + low) / 8, abs=0.02)
    assert (result.task, result.n_clips, result.n_texts) == ("tagging", 8, 8)
    assert result.run.prompt == "the sound of {}"
    assert result.classes[0]["name"] == "Rumble" and result.classes[0]["n_clips"] == 2
    assert result.classes[1]["average_precision"] == 1


@pytest.mark.usefixtures("small_is_whole")
def test_typed(
    soundsearch: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("SOUNDSEARCH_CACHE", str(tmp_path / "cache"))
    root = made.audioset(tmp_path / "data")
    (root / "audio" / "-______humY.wav").unlink()
    quick = ("--model", "tiny", "--bootstrap", "20", "--device", "cpu")
    refused = soundsearch("bench", "audioset", root, *quick, code=1)
    assert "audioset eval: 1 of 8 clips cannot be measured" in refused.stderr
    with caplog.at_level(logging.WARNING):
        done = soundsearch(
            *("bench", "audioset", root, *quick, "--allow-missing", "--json", "r.json"),
            *("--markdown", "r.md"),
        )
    assert "audioset eval, tagging: 7 queries, 7 candidates" in done.stdout
    assert "1 of 8 clips skipped" in done.stdout and "interval over classes" in done.stdout
    assert "1 of 8 classes have no clip here" in caplog.text + done.stderr
    assert "| class | clips | average precision |" in Path("r.md").read_text()
    assert json.loads(Path("r.json").read_text())["task"] == "tagging"
    again = read_result(Path("r.json"))  # with the ranks, which give the same number
    assert again.directions[0].queries is not None
    soundsearch("bench", "compare", "r.json", "r.json")


def test_the_names_are_there() -> None:
    assert len(audioset_classes.class_names()) == 632
