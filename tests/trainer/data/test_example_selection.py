"""Which examples take part: the authors' filters and weights, and what they are held to."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.sounds import tone
from tests.trainer.made_shards import DIM, RATE, TINY, flac, store
from trainer.data.example import Example, ExampleFacts
from trainer.data.example_selection import (
    clip_id,
    filtered,
    label_weights,
    read_filter,
    read_weights,
    weighted,
)
from trainer.data.lines import ManifestError
from trainer.data.shard_folder import ShardFolder
from trainer.data.shard_writer import write_shards
from trainer.loop import TrainingError
from trainer.stage import train_stage

SOURCES = ["-aaa", "sub/bbb.mp4", "ccc", "ddd", "eee", "fff", "ggg"]


@pytest.fixture
def data(tmp_path: Path) -> ShardFolder:
    """Seven examples in three shards; the first has a rare label, the others a common one."""
    sound = flac(tone(440, 0.5, RATE))
    clips = [
        Example(ExampleFacts(source, 0.0, 0.5, RATE, labels=("a",) if i else ("rare",)), sound)
        for i, source in enumerate(SOURCES)
    ]
    write_shards(clips, tmp_path / "shards", examples_per_shard=3)
    folder = ShardFolder(tmp_path / "shards")
    for number, shard in enumerate(folder.shards):
        rows = [np.ones((1, DIM), np.float32)] * int(folder.counts[number])
        store(shard, "images", rows, folder.digest(number))
    return folder


def everything(data: ShardFolder) -> list[np.ndarray]:
    return [np.arange(n) for n in data.counts]


@pytest.mark.parametrize(
    ("content", "top_k", "expected"),
    [
        ("-aaa\n\nccc\n", None, {"-aaa", "ccc"}),
        (
            json.dumps({"/m/1": ["ccc", "ddd"], "/m/2": ["ddd", "eee"]}, indent=2),
            None,
            "ccc ddd eee",
        ),
        (json.dumps({"/m/1": ["ccc"]}), None, "ccc"),
        (
            '{"-aaa": [["ccc", 0.9], ["ddd", 0.8]]}\n{"eee": [["fff", 0.7]]}\n',
            None,
            "-aaa ccc ddd eee fff",
        ),
        (
            '{"-aaa": [["ccc", 0.9], ["ddd", 0.8]]}\n{"eee": [["fff", 0.7]]}\n',
            1,
            "-aaa ccc eee fff",
        ),
    ],
)
def test_each_kind_of_filter_is_read(
    tmp_path: Path, content: str, top_k: int | None, expected: set[str] | str
) -> None:
    (tmp_path / "filter").write_text(content)
    wanted = set(expected.split()) if isinstance(expected, str) else expected
    assert read_filter(tmp_path / "filter", top_k) == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no ids; expected one id a line"),
        (b'{"a": 3}', "no lists by id"),
        (b'{"a": [3]}', "a has no list of ids"),
        (b'{"a": ["b"]}\nno json', "line 2: not JSON"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_what_is_no_filter_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "filter").write_bytes(content)
    with pytest.raises(ManifestError, match=message) as caught:
        read_filter(tmp_path / "filter")
    assert "\n" not in str(caught.value)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_filter(tmp_path / "gone")


def test_sources_are_known_by_their_ids(data: ShardFolder) -> None:
    assert [clip_id(source) for source in SOURCES[:2]] == ["-aaa", "bbb"]
    found = filtered(data, everything(data), frozenset(["bbb", "ggg", "none"]))
    assert [some.tolist() for some in found] == [[1], [], [0]]


def test_a_run_learns_from_the_clips_of_its_filter(data: ShardFolder, tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("\n".join(["bbb", "ccc", "ddd", "ggg"]))
    config = dataclasses.replace(TINY, only=str(tmp_path / "ids.csv"), batch_size=2, epochs=1.0)
    run = train_stage(data.folder, tmp_path / "run", config)
    assert json.loads((run / "config.json").read_text())["data"]["n_clips"] == 4
    (tmp_path / "ids.csv").write_text("nobody\n")
    with pytest.raises(TrainingError, match="0 clips have vectors"):
        train_stage(data.folder, tmp_path / "other", config)
    with pytest.raises(ValueError, match="only_top_k"):
        dataclasses.replace(TINY, only_top_k=3)


def test_weights_by_labels_are_the_authors() -> None:
    """1,000 over one more than the examples of a label, summed over the labels of an example."""
    found = label_weights([["a"], ["a", "b"], ["a", "b", "c"], []])
    assert found == pytest.approx([250, 250 + 1000 / 3, 250 + 1000 / 3 + 500, 0])


def test_examples_are_drawn_by_weight_with_replacement(data: ShardFolder) -> None:
    drawn = weighted(data, everything(data), None, 7000, 5)
    counts = np.concatenate(
        [np.bincount(s, minlength=n) for s, n in zip(drawn, data.counts, strict=True)]
    )
    assert counts.sum() == 7000
    shares = np.array([500.0, *[1000 / 7] * 6])
    np.testing.assert_allclose(counts / 7000, shares / shares.sum(), atol=0.02)
    again = weighted(data, everything(data), None, 7000, 5)
    assert all((a == b).all() for a, b in zip(drawn, again, strict=True))
    given = weighted(data, everything(data), {"bbb": 1.0, "ccc": 0.0}, 9, 0)
    assert [some.tolist() for some in given] == [[1] * 9, [], []]
    with pytest.raises(ManifestError, match="no example has a weight"):
        weighted(data, everything(data), {"zzz": 1.0}, 9, 0)


def test_the_authors_weights_belong_to_the_lines_of_their_index(tmp_path: Path) -> None:
    index, weights = tmp_path / "src_train.csv", tmp_path / "src_train_weight.csv"
    index.write_text('{"id": "-aaa", "dir": ""}\n{"id": "ccc", "dir": ""}\n')
    weights.write_text("0.5\n2e-1\n")
    assert read_weights(weights) == {"-aaa": 0.5, "ccc": 0.2}
    for content, message in (
        ("0.5\n", r"holds 1 weights, .*src_train\.csv 2 clips"),
        ("0.5\n-1\n", "line 2: a weight must be a number of 0 or more, not '-1'"),
        ("0.5\nmuch\n", "line 2: a weight must be a number of 0 or more, not 'much'"),
    ):
        weights.write_text(content)
        with pytest.raises(ManifestError, match=message):
            read_weights(weights)
    with pytest.raises(ManifestError, match=r"expected a name that ends in _weight\.csv"):
        read_weights(index)
    index.unlink()
    with pytest.raises(ManifestError, match=r"src_train\.csv: cannot be read"):
        read_weights(weights)


def test_a_weighted_run_draws_its_examples(data: ShardFolder, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, weights="labels", batch_size=3, epochs=2.0)
    run = train_stage(data.folder, tmp_path / "run", config)
    assert json.loads((run / "config.json").read_text())["weights"] == "labels"
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps[-1] == round(2 * 7 / 3)
