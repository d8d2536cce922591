"""The captions that the authors found: their files, and a stage that learns from them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.recorded import Recorded
from tests.sounds import tone
from tests.trainer.made_shards import RATE, TINY, flac
from tests.trainer.tiny_clip import jpeg, write_tiny_clip
from trainer.authors_captions import AuthorsCaptionsError, read_choice, read_map
from trainer.curate import CuratedCaptions, CurateError, curate, curated_path, read_pool
from trainer.data.example import Example, ExampleFacts
from trainer.data.shard_folder import ShardFolder
from trainer.data.shard_writer import write_shards
from trainer.embed_shards import embed_images
from trainer.stage import train_stage
from trainer.towers.clip_model import load_clip

MAP = [[7, "a dog barks"], [2, "rain"], [30, "a  dog barks"], [4, "wind"]]
CAP = [
    ["---1_cCGK4M.p0.4_01", [2, 7]],
    ["---1_cCGK4M.p0.4_02", [30, 4]],
    ["xyz.p0.4_01", [4]],
    ["no_sound_of.p0.4_01", [2]],
]
SOURCES = ["xyz", "---1_cCGK4M", "other", "dir/xyz.mp4"]


def lines(path: Path, records: list[object]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_captions_of_a_clip_are_the_union_over_its_images(tmp_path: Path) -> None:
    texts, numbers = read_map(lines(tmp_path / "map.csv", MAP))
    assert texts == ["a dog barks", "rain", "wind"]
    assert numbers == {7: 0, 2: 1, 30: 0, 4: 2}
    by_image = read_choice(lines(tmp_path / "cap.csv", CAP), numbers)
    assert {clip: ids.tolist() for clip, ids in by_image.items()} == {
        "---1_cCGK4M": [1, 0, 2],
        "xyz": [2],
        "no_sound_of": [1],
    }
    (tmp_path / "dict.csv").write_text(json.dumps({"---1_cCGK4M": [2, 7, 30, 4], "xyz": [4]}))
    by_clip = read_choice(tmp_path / "dict.csv", numbers)
    np.testing.assert_array_equal(by_clip["---1_cCGK4M"], by_image["---1_cCGK4M"])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([["x.p0.4_01", [2, 99]]], "line 1: x has caption 99, which the map does not have"),
        ([["x.p0.4_01", 2]], r"line 1: expected \[\"image\", \[numbers\]\]"),
        ([3], "line 1: expected"),
        ([], "holds no clips"),
    ],
)
def test_bad_choices_are_one_line(tmp_path: Path, records: list[object], message: str) -> None:
    with pytest.raises(AuthorsCaptionsError, match=message) as caught:
        read_choice(lines(tmp_path / "cap.csv", records), {2: 0})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[1, "x"]\n[2]\n', "line 2: expected \\[number"),
        (b"rain\n", "line 1: not JSON"),
        (b"", "holds no captions"),
        (b'[1, "\xe9"]\n', "line 1: not JSON"),
    ],
)
def test_a_bad_map_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "map.csv").write_bytes(content)
    with pytest.raises(AuthorsCaptionsError, match=message) as caught:
        read_map(tmp_path / "map.csv")
    assert "\n" not in str(caught.value)


@pytest.fixture
def data(tmp_path: Path) -> tuple[ShardFolder, str]:
    clips = [
        Example(
            ExampleFacts(source, 0.0, 0.5, RATE), flac(tone(200.0 + 90 * i, 0.5, RATE)), (jpeg(i),)
        )
        for i, source in enumerate(SOURCES)
    ]
    write_shards(clips, tmp_path / "shards", examples_per_shard=3)
    clip = load_clip(write_tiny_clip(tmp_path / "clip"))
    embed_images(tmp_path / "shards", clip)
    return ShardFolder(tmp_path / "shards"), clip.encoder


def test_a_stage_learns_from_the_authors_captions(
    data: tuple[ShardFolder, str], tmp_path: Path
) -> None:
    folder, encoder = data
    captions, choice = lines(tmp_path / "m_map.csv", MAP), lines(tmp_path / "m_cap.csv", CAP)
    progress = Recorded()
    name, report = curate(folder.folder, captions, chosen=choice, name="free", progress=progress)
    assert (name, report.n_examples, report.n_rows, report.n_empty) == ("free", 4, 5, 1)
    assert f"{choice}: 1 of 3 clips have no sound in {folder.folder}" in progress.notes
    assert read_pool(folder.folder, "free", encoder)[0] == ["a dog barks", "rain", "wind"]
    rows = []
    for number, path in enumerate(folder.shards):
        found = CuratedCaptions(curated_path(path, "free"), folder.digest(number))
        rows += [found.of(i).tolist() for i in range(len(found))]
    assert rows == [[2], [1, 0, 2], [], [2]]
    assert curate(folder.folder, captions, chosen=choice, name="free")[1].n_ready == 2
    config = dataclasses.replace(
        TINY, stage="captions", texts="curated:free", batch_size=3, epochs=2.0
    )
    run = train_stage(folder.folder, tmp_path / "run", config)
    assert json.loads((run / "config.json").read_text())["data"]["n_clips"] == 3


def test_captions_for_clips_without_sound_here_are_one_line(
    data: tuple[ShardFolder, str], tmp_path: Path
) -> None:
    choice = lines(tmp_path / "cap.csv", CAP[-1:])
    with pytest.raises(CurateError, match=r"captions of 1 clips, none of which is in .*shards"):
        curate(data[0].folder, lines(tmp_path / "map.csv", MAP), chosen=choice)
    assert not list(data[0].folder.glob("*.curated.*"))
