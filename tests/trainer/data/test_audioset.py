"""AudioSet as it is published: names of classes, lists of segments, sounds and videos of them."""

from __future__ import annotations

import json
import os
import tomllib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from soundsearch.bench.datasets import DataSetError
from soundsearch.bench.datasets.audioset import parse_segment
from soundsearch.errors import SoundsearchError
from soundsearch.vocabulary.audioset_classes import NAMES, class_names, display_name
from tests.conftest import ROOT
from tests.sounds import noise, write
from tests.trainer.data.made_examples import picture
from tests.videos import two_noises, write_video
from trainer.data.cutting import ExtractConfig, extract
from trainer.data.example import ExampleFacts
from trainer.data.manifest_examples import Manifest, pack_manifest
from trainer.data.pack import read_problems
from trainer.data.shard_folder import ShardFolder

RATE = 8000
HEAD = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=3, num_segs=3, num_unique_labels=3, num_positive_labels=4
# YTID, start_seconds, end_seconds, positive_labels
"""
ROWS = """--aaaaaaaaa, 1.000, 2.500, "/m/09x0r,/t/dd00088"
-bbbbbbbbbb, 30.000, 31.000, "/m/0dgw9r"
gone_______, 0.000, 10.000, "/m/04rlf"
"""
SHARED = Path(os.environ.get("SOUNDSEARCH_DATA", Path(__file__).parents[4] / "shared" / "data"))


def segments(path: Path, rows: str = ROWS, head: str = HEAD) -> Path:
    path.write_text(head + rows, encoding="utf-8")
    return path


def all_facts(out: Path) -> list[ExampleFacts]:
    folder = ShardFolder(out)
    opened = [folder.open(n) for n in range(len(folder.shards))]
    return [shard.facts(i) for shard in opened for i in range(len(shard))]


def test_ids_have_the_names_of_the_ontology() -> None:
    names = class_names()
    assert len(names) == 632
    assert names["/m/09x0r"] == "Speech"
    assert names["/m/0912c9"] == "Vehicle horn, car horn, honking"
    assert display_name("/m/09x0r") == display_name(" /m/09x0r ") == "Speech"
    assert display_name("dog bark") == "dog bark"
    assert display_name("/m/nobody_has_this") is None
    shipped = json.loads(
        resources.files("soundsearch.vocabulary").joinpath(NAMES).read_text(encoding="utf-8")
    )
    assert "github.com/audioset/ontology" in shipped["source"]
    assert "CC BY-SA 4.0" in shipped["licence"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "vocabulary/*.json" in project["tool"]["setuptools"]["package-data"]["soundsearch"]


@pytest.mark.data
def test_the_shipped_names_are_those_of_the_published_ontology() -> None:
    published = json.loads((SHARED / "captions" / "audioset_ontology.json").read_text("utf-8"))
    assert class_names() == {item["id"]: item["name"] for item in published}


@pytest.mark.parametrize("head", [HEAD, "YTID,start_seconds,end_seconds,positive_labels\n"])
def test_a_published_list_names_recordings_by_their_video(tmp_path: Path, head: str) -> None:
    whole = noise(4.0, RATE)
    write(tmp_path / "sub" / "--aaaaaaaaa.wav", whole, RATE)  # the sound of the whole video
    write(tmp_path / "Y-bbbbbbbbbb_30000_31000.flac", noise(1.0, RATE, seed=3), RATE)  # cut before
    manifest = segments(tmp_path / "eval_segments.csv", head=head)
    report = pack_manifest(manifest, tmp_path / "out")
    assert (report.n_examples, report.n_sources, report.n_problems) == (2, 3, 1)
    assert all_facts(tmp_path / "out") == [
        ExampleFacts("--aaaaaaaaa", 1.0, 2.5, RATE, (), (), ("/m/09x0r", "/t/dd00088")),
        ExampleFacts("-bbbbbbbbbb", 30.0, 31.0, RATE, (), (), ("/m/0dgw9r",)),
    ]
    shard = ShardFolder(tmp_path / "out").open(0)
    np.testing.assert_allclose(shard.audio(0)[0][0], whole[RATE : RATE + 12000], atol=2**-15)
    assert shard.audio(1)[0].shape == (1, RATE)
    (problem,) = read_problems(tmp_path / "out")
    assert problem.file == "gone_______"
    assert f"no recording called gone_______ or gone________0 below {tmp_path}" in problem.reason


def test_a_segment_beyond_the_end_of_its_recording_is_one_row(tmp_path: Path) -> None:
    write(tmp_path / "-bbbbbbbbbb.wav", noise(4.0, RATE), RATE)
    write(tmp_path / "--aaaaaaaaa.wav", noise(4.0, RATE), RATE)
    pack_manifest(segments(tmp_path / "x.csv"), tmp_path / "out")
    reasons = {p.file: p.reason for p in read_problems(tmp_path / "out")}
    assert "from 30 s on lies beyond its end (4.0 s)" in reasons["-bbbbbbbbbb.wav"]


def test_videos_are_cut_by_a_published_list(tmp_path: Path) -> None:
    sound = two_noises(4.0)
    write_video(tmp_path / "videos" / "a" / "--aaaaaaaaa.mov", sound, seconds=4.0)
    cut_before = two_noises(1.0)
    write_video(tmp_path / "videos" / "-bbbbbbbbbb_30.mov", cut_before, seconds=1.0)
    listed = segments(tmp_path / "train.csv")
    report = extract(tmp_path / "videos", tmp_path / "out", ExtractConfig(), segments=listed)
    assert (report.n_examples, report.n_sources, report.n_problems) == (2, 3, 1)
    one, two = all_facts(tmp_path / "out")
    assert (one.source, one.begin_s, one.end_s) == ("--aaaaaaaaa", 1.0, 2.5)
    assert one.labels == ("/m/09x0r", "/t/dd00088")
    assert (two.source, two.begin_s, two.labels) == ("-bbbbbbbbbb", 0.0, ("/m/0dgw9r",))
    shard = ShardFolder(tmp_path / "out").open(0)
    np.testing.assert_array_equal(shard.audio(0)[0], sound[:, RATE : RATE + 12000])
    np.testing.assert_array_equal(shard.audio(1)[0], cut_before)
    (problem,) = read_problems(tmp_path / "out")
    assert problem.file == "gone_______"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("abc, 0.0, 10.0\n", "line 4: 3 cells, expected YTID, start_seconds"),
        (
            "abc, 10.0, 10.0, /m/09x0r\n",
            "line 4: need 0 <= start_seconds < end_seconds, not '10.0'",
        ),
        (
            "abc, then, 10.0, /m/09x0r\n",
            "line 4: need 0 <= start_seconds < end_seconds, not 'then'",
        ),
        (", 0.0, 10.0, /m/09x0r\n", "line 4: no YTID, expected YTID"),
        ('abc, 0.0, 10.0, "/m/09x0r\n', "line 4: not a line of CSV"),
        ("", "holds no rows"),
    ],
)
def test_a_bad_line_of_a_list_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(SoundsearchError, match=message) as caught:
        Manifest(segments(tmp_path / "x.csv", rows=row))
    assert "\n" not in str(caught.value)


def test_a_line_without_labels_is_a_segment_all_the_same() -> None:
    segment = parse_segment(b'abc, 0, 10, ""\n', "x")
    assert segment is not None and segment.labels == ()
    with pytest.raises(DataSetError, match="UTF-8"):
        parse_segment(b"\xe9, 0, 10, x\n", "x")


def test_audiocaps_as_it_is_published(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_text(
        "audiocap_id,youtube_id,start_time,caption\n"
        "1,--aaaaaaaaa,2,a dog barks\n2,-bbbbbbbbbb,30,rain\n3,--aaaaaaaaa,2,barking\n"
        "4,gone_______,0,nothing to hear\n",
        encoding="utf-8",
    )
    write(tmp_path / "--aaaaaaaaa_2_12.wav", noise(10.0, RATE), RATE)
    write(tmp_path / "2.wav", noise(9.0, RATE), RATE)
    pack_manifest(table, tmp_path / "out")
    assert all_facts(tmp_path / "out") == [
        ExampleFacts("--aaaaaaaaa", 2.0, 12.0, RATE, (), ("a dog barks", "barking"), ()),
        ExampleFacts("-bbbbbbbbbb", 30.0, 40.0, RATE, (), ("rain",), ()),
    ]
    (problem,) = read_problems(tmp_path / "out")  # a caption without sound is one row
    assert problem.file == "gone_______" and "no recording called" in problem.reason
    table.write_text("youtube_id,start_time,caption\nx,soon,rain\n", encoding="utf-8")
    with pytest.raises(SoundsearchError, match="line 2: start_time must be a number of seconds"):
        Manifest(table)


@pytest.mark.parametrize("folder", ["", "all_0_35000", "/all_0_35000"])
def test_an_index_without_a_folder_begins_at_the_root_of_the_data(
    tmp_path: Path, folder: str
) -> None:
    root = tmp_path / "data"
    at = root / folder.lstrip("/")
    write(at / "aclip" / "abc.p0.wav", noise(0.5, RATE), RATE)
    (at / "frame").mkdir()
    (at / "frame" / "abc.p0.4_01.jpg").write_bytes(picture(9))
    line = {"dir": folder, "aclip": ["p0.wav"], "frame": "p0.4_01.jpg", "id": "abc"}
    (root / "src_audiocaps_train.csv").write_text(json.dumps(line) + "\n")
    report = pack_manifest(root / "src_audiocaps_train.csv", tmp_path / "out")
    assert (report.n_examples, report.n_problems) == (1, 0)
    assert ShardFolder(tmp_path / "out").open(0).n_frames(0) == 1
