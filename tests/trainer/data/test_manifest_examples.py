"""Manifests: every kind is told by its content, and a missing file costs one row."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.errors import SoundsearchError
from soundsearch.tables import Table
from tests.recorded import Recorded
from tests.sounds import noise, tone, write
from tests.trainer.data.made_examples import picture
from trainer.data.example import ExampleFacts
from trainer.data.manifest_examples import Entry, GroupedRows, Manifest, pack_manifest
from trainer.data.pack import read_problems
from trainer.data.shard_folder import ShardFolder


def write_rows(path: Path, rows: list[list[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def write_objects(path: Path, objects: list[Any]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in objects), encoding="utf-8")
    return path


def facts_of(out: Path) -> list[ExampleFacts]:
    folder = ShardFolder(out)
    opened = [folder.open(n) for n in range(len(folder.shards))]
    return [shard.facts(i) for shard in opened for i in range(len(shard))]


# Tables.

field = st.text(st.sampled_from('ab ,";\n\ré'), max_size=4).map(str.strip)


@given(rows=st.lists(st.tuples(st.sampled_from("xyz"), field), min_size=1, max_size=12))
def test_rows_are_grouped_in_the_order_of_the_first(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "x.csv"
    write_rows(path, [["key", "text"], *map(list, rows)])
    groups = GroupedRows(Table(path), ["key"])
    expected: dict[str, list[str]] = {}
    for key, text in rows:
        expected.setdefault(key, []).append(text)
    found = {
        group[0]["key"]: [row["text"] for row in group]
        for group in map(groups.__getitem__, range(len(groups)))
    }
    assert found == expected
    assert list(found) == list(expected)


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\ufeffkey, text\r\n\r\nx,one\r\n\r\ny,\r\nx,two\r\n", encoding="utf-8")
    groups = GroupedRows(Table(path), ["key"])
    assert [groups[i] for i in range(2)] == [
        [{"key": "x", "text": "one"}, {"key": "x", "text": "two"}],
        [{"key": "y", "text": ""}],
    ]
    with pytest.raises(IndexError):
        groups[2]


def test_a_large_table_takes_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "x.csv"
    n_rows = 20_000
    path.write_text("key,text\n" + "".join(f"{i % 9000},{'t' * 200}\n" for i in range(n_rows)))
    tracemalloc.start()
    groups = GroupedRows(Table(path), ["key"])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(groups) == 9000
    assert [row["key"] for row in groups[8999]] == ["8999", "8999"]
    assert held < 25 * n_rows


# CSV manifests.


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with two sounds and three pictures."""
    root = tmp_path / "files"
    write(root / "rain.wav", np.stack([noise(0.5), noise(0.5, seed=1)], axis=1))
    write(root / "sub" / "bell.flac", tone(440, 0.25, 16000), 16000)
    for i, (name, kind) in enumerate((("a.jpg", "JPEG"), ("b.png", "PNG"), ("c.webp", "WEBP"))):
        (root / name).write_bytes(picture(i, kind))
    return root


def test_pictures_of_the_same_sound_are_frames_of_one_clip(files: Path, tmp_path: Path) -> None:
    rows = [
        ["image", "audio", "image_caption", "audio_caption", "labels"],
        ["a.jpg", "rain.wav", "not of the sound", "rain falls", "water;weather"],
        ["b.png", "sub/bell.flac", "", "a bell", ""],
        ["c.webp", "rain.wav", "", "rain falls", "water"],
    ]
    report = pack_manifest(write_rows(files / "pairs.csv", rows), tmp_path / "out")
    assert (report.n_examples, report.n_sources, report.n_problems) == (2, 2, 0)
    shard = ShardFolder(tmp_path / "out").open(0)
    assert facts_of(tmp_path / "out") == [
        ExampleFacts("rain.wav", 0.0, 0.5, 8000, (), ("rain falls",), ("water", "weather")),
        ExampleFacts("sub/bell.flac", 0.0, 0.25, 16000, (), ("a bell",), ()),
    ]
    assert shard.frames(0) == [(files / name).read_bytes() for name in ("a.jpg", "c.webp")]
    assert shard.frames(1) == [(files / "b.png").read_bytes()]
    assert shard.audio(0)[0].shape == (2, 4000)
    assert shard.audio(1)[1] == 16000


def test_captions_of_the_same_sound_belong_to_one_clip(files: Path, tmp_path: Path) -> None:
    rows = [["audio", "caption"], ["rain.wav", "one"], ["rain.wav", "two"], ["rain.wav", "one"]]
    pack_manifest(write_rows(files / "captions.csv", rows), tmp_path / "out")
    (facts,) = facts_of(tmp_path / "out")
    assert facts.captions == ("one", "two")
    assert ShardFolder(tmp_path / "out").open(0).n_frames(0) == 0


def test_clotho_as_it_is_published(files: Path, tmp_path: Path) -> None:
    rows = [
        ["file_name", *(f"caption_{i}" for i in range(1, 6))],
        ["rain.wav", "one", "two", "three, with a comma", "four", "five"],
        ["not here.wav", *"12345"],
    ]
    manifest = write_rows(tmp_path / "clotho_captions_development.csv", rows)
    report = pack_manifest(manifest, tmp_path / "out", root=files)
    (facts,) = facts_of(tmp_path / "out")
    assert facts.captions == ("one", "two", "three, with a comma", "four", "five")
    assert report.n_problems == 1


def test_each_missing_or_bad_file_is_one_row(files: Path, tmp_path: Path) -> None:
    (files / "text.wav").write_text("no sound\n" * 100)
    (files / "text.jpg").write_text("no picture")
    (files / "cut.jpg").write_bytes((files / "a.jpg").read_bytes()[:-6])
    (files / "empty.jpg").touch()
    write(files / "blip.wav", tone(440)[:9])
    rows = [
        ["audio", "image"],
        *(["rain.wav", name] for name in ("gone.jpg", "a.jpg", "text.jpg", "cut.jpg")),
        ["gone.wav", "a.jpg"],
        ["text.wav", "a.jpg"],
        ["sub/bell.flac", "empty.jpg"],
        ["blip.wav", "a.jpg"],
    ]
    progress = Recorded()
    report = pack_manifest(
        write_rows(files / "x.csv", rows), tmp_path / "out", progress=progress, n_workers=2
    )
    assert [stage.what for stage in progress.stages] == ["reading x.csv", "sources"]
    told = list(read_problems(tmp_path / "out"))
    assert [facts.source for facts in facts_of(tmp_path / "out")] == ["rain.wav"]
    assert ShardFolder(tmp_path / "out").open(0).frames(0) == [(files / "a.jpg").read_bytes()]
    assert report.n_problems == len(told) == len(progress.notes) == 8
    assert {problem.file: problem.reason.split(" (")[0] for problem in told} == {
        "gone.jpg": "the file is not there any more",
        "text.jpg": "no JPEG, PNG or WebP picture",
        "cut.jpg": "a damaged picture",
        "gone.wav": "the file is not there any more",
        "text.wav": "neither libsndfile nor FFmpeg knows this format",
        "empty.jpg": "the file is empty",
        "sub/bell.flac": "none of its pictures can be used",
        "blip.wav": "it lasts 1.1 ms",
    }


def test_pipes_keep_nobody_waiting(files: Path, tmp_path: Path) -> None:
    for name in ("pipe.wav", "pipe.jpg", "pipe.csv"):
        os.mkfifo(files / name)
    rows = [
        ["audio", "image", "caption"],
        ["rain.wav", "pipe.jpg", "rain"],
        ["pipe.wav", "a.jpg", "x"],
    ]
    pack_manifest(write_rows(files / "x.csv", rows), tmp_path / "out")
    reason = "it is a named pipe, not a regular file"
    assert {problem.file: problem.reason for problem in read_problems(tmp_path / "out")} == {
        "pipe.jpg": reason,
        "pipe.wav": reason,
    }
    with pytest.raises(SoundsearchError, match=r"pipe\.csv: cannot be read \(a named pipe"):
        pack_manifest(files / "pipe.csv", tmp_path / "out2")


def test_a_clip_with_captions_can_do_without_pictures(files: Path, tmp_path: Path) -> None:
    rows = [["audio", "image", "caption"], ["rain.wav", "gone.jpg", "rain"]]
    report = pack_manifest(write_rows(files / "x.csv", rows), tmp_path / "out")
    assert (report.n_examples, report.n_problems) == (1, 1)


def test_sound_that_is_partly_damaged_is_kept_with_a_note(files: Path, tmp_path: Path) -> None:
    write(files / "cut.flac", noise(3, 44100), 44100)
    content = (files / "cut.flac").read_bytes()
    (files / "cut.flac").write_bytes(content[: len(content) // 2])
    rows = [["audio", "caption"], ["cut.flac", "hiss"]]
    pack_manifest(write_rows(files / "x.csv", rows), tmp_path / "out")
    (problem,) = read_problems(tmp_path / "out")
    assert (problem.file, problem.n_examples) == ("cut.flac", 1)
    assert problem.reason.startswith("only 1.5 s of 3.0 s")


def test_a_manifest_of_which_nothing_can_be_used_is_an_error(files: Path, tmp_path: Path) -> None:
    rows = [["audio", "image"], ["one.wav", "a.jpg"], ["two.wav", "a.jpg"]]
    with pytest.raises(SoundsearchError, match=r"none of 2 sources .* \(one\.wav: the file is not"):
        pack_manifest(write_rows(files / "x.csv", rows), tmp_path / "out")


def test_a_changed_manifest_is_refused(files: Path, tmp_path: Path) -> None:
    rows = [["audio", "caption"], ["rain.wav", "one"]]
    manifest = write_rows(files / "x.csv", rows)
    pack_manifest(manifest, tmp_path / "out")
    assert pack_manifest(manifest, tmp_path / "out").n_new == 0
    write_rows(manifest, [*rows, ["rain.wav", "two"]])
    with pytest.raises(SoundsearchError, match=r"manifest was .*, is now"):
        pack_manifest(manifest, tmp_path / "out")


# VIP-ANT's index files.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips in the layout of VIP-ANT's data folder."""
    root = tmp_path / "audioset"
    for name in ("-aB3", "xyz"):
        write(root / "all_0_35000" / "aclip" / f"{name}.p0.wav", noise(0.5))
        for i in range(1, 5):
            frame = root / "all_0_35000" / "frame" / f"{name}.p0.4_0{i}.jpg"
            frame.parent.mkdir(parents=True, exist_ok=True)
            frame.write_bytes(picture(i))
    return root


def _index_line(name: str, **more: object) -> dict[str, object]:
    return {
        "dir": "all_0_35000",
        "aclip": ["p0.wav", "n0.wav"],
        "frame": [f"p0.4_0{i}.jpg" for i in range(1, 5)],
        "id": name,
        "bos": 30.0,
        "eos": 40.0,
        "labels": ["/m/09x0r", "/m/04rlf"],
        **more,
    }


def test_the_index_of_vip_ant(folder: Path, tmp_path: Path) -> None:
    lines = [
        _index_line("-aB3", frame_224="obsolete", aclip_128="obsolete"),
        _index_line("xyz", captions=["a man speaks", "someone talks"], bos="0.000", eos=None),
    ]
    manifest = write_objects(folder / "src_unbalanced_train_segments.csv", lines)
    report = pack_manifest(manifest, tmp_path / "out")
    assert (report.n_examples, report.n_problems) == (2, 0)
    assert facts_of(tmp_path / "out") == [
        ExampleFacts("-aB3", 30.0, 40.0, 8000, (), (), ("/m/09x0r", "/m/04rlf")),
        ExampleFacts(
            "xyz", 0.0, 0.5, 8000, (), ("a man speaks", "someone talks"), ("/m/09x0r", "/m/04rlf")
        ),
    ]
    shard = ShardFolder(tmp_path / "out").open(0)
    assert shard.frames(0) == [picture(i) for i in range(1, 5)]


def test_the_key_may_be_clip_and_its_folder_either(folder: Path, tmp_path: Path) -> None:
    line = _index_line("xyz")
    line["clip"] = line.pop("aclip")
    manifest = write_objects(tmp_path / "index.csv", [line])
    assert Manifest(manifest)[0].audio == (
        "all_0_35000/clip/xyz.p0.wav",
        "all_0_35000/aclip/xyz.p0.wav",
    )
    pack_manifest(manifest, tmp_path / "one", root=folder)
    (folder / "all_0_35000" / "aclip").rename(folder / "all_0_35000" / "clip")
    pack_manifest(manifest, tmp_path / "two", root=folder)
    assert facts_of(tmp_path / "one") == facts_of(tmp_path / "two")


def test_only_the_files_of_the_index_are_missed(folder: Path, tmp_path: Path) -> None:
    (folder / "all_0_35000" / "frame" / "xyz.p0.4_02.jpg").unlink()
    lines = [_index_line("xyz"), _index_line("gone", labels=[])]
    report = pack_manifest(write_objects(folder / "index.csv", lines), tmp_path / "out")
    files = [problem.file for problem in read_problems(tmp_path / "out")]
    assert (report.n_examples, ShardFolder(tmp_path / "out").open(0).n_frames(0)) == (1, 3)
    assert files == [
        "all_0_35000/frame/xyz.p0.4_02.jpg",
        *(f"all_0_35000/frame/gone.p0.4_0{i}.jpg" for i in range(1, 5)),
        "all_0_35000/aclip/gone.p0.wav",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "x"', r"line 2: not JSON"),
        ('["x"]', r"line 2: must be a JSON object, not list"),
        ('{"id": "x", "dir": "d"}', r"line 2: lacks aclip \(or clip\); it has id, dir"),
        ('{"dir": "d", "aclip": ["a"]}', "line 2: id must be a text, not None"),
        ('{"id": "x", "dir": 3, "aclip": ["a"]}', "line 2: dir must be a text, not 3"),
        ('{"id": "x", "dir": "d", "aclip": []}', "line 2: aclip names no file"),
        ('{"id": "x", "dir": "d", "aclip": "a"}', "line 2: aclip must be a list of texts"),
        ('{"id": "x", "dir": "d", "aclip": ["a"], "frame": 4}', "line 2: frame must be a list"),
        (
            '{"id": "x", "dir": "d", "aclip": ["a"], "bos": "then"}',
            "line 2: bos must be a number of seconds, not 'then'",
        ),
    ],
)
def test_a_bad_line_of_the_index_is_named(tmp_path: Path, line: str, message: str) -> None:
    good = json.dumps(_index_line("x"))
    (tmp_path / "index.csv").write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(SoundsearchError, match=message):
        pack_manifest(tmp_path / "index.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# What is no manifest.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (
            b"youtube_id,start_time,title\nx,0,rain\n",
            r"its columns are youtube_id, start_time, title; expected audio,image .* JSON object",
        ),
        (b"audio,title\nx,y\n", "its columns are audio, title"),
        (b"audio,image\n", "holds no rows"),
        (b"audio,image\n,a.jpg\n", "line 2: audio is empty"),
        (b"\xff\xfea\x00u", "not UTF-16"),
        (b"audio,image\n\xe9.wav,a.jpg\n", "not UTF-8 .line 2 holds byte 0xe9"),
    ],
)
def test_what_is_no_manifest_is_told_what_one_is(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(SoundsearchError, match=message) as caught:
        pack_manifest(tmp_path / "x.csv", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SoundsearchError, match=r"x\.csv: cannot be read \(No such file"):
        Manifest(tmp_path / "x.csv")


def test_entries_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    rows = [["audio", "caption"], *([f"{i}.wav", f"caption {i}"] for i in range(5))]
    manifest = Manifest(write_rows(tmp_path / "x.csv", rows))
    assert len(manifest) == 5
    assert manifest[3] == Entry(("3.wav",), "3.wav", captions=("caption 3",))


@pytest.mark.data
def test_the_real_pairs(tmp_path: Path, data_folder: Path) -> None:
    table = data_folder / "pairs" / "pairs.csv"
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    n_sounds = len({row["audio"] for row in rows})
    report = pack_manifest(table, tmp_path, root=data_folder, examples_per_shard=400)
    assert (report.n_examples, report.n_sources, report.n_problems) == (n_sounds, n_sounds, 0)
    folder = ShardFolder(tmp_path)
    assert sum(folder.counts) == n_sounds and max(folder.counts) == min(400, n_sounds)
    n_frames = 0
    for n in range(len(folder.counts)):
        shard = folder.open(n)
        for i in range(len(shard)):
            n_frames += shard.n_frames(i)
            if i % 20 == 0:
                facts, (channels, sample_rate) = shard.facts(i), shard.audio(i)
                assert facts.end_s == channels.shape[1] / sample_rate
                assert facts.captions
    assert n_frames == len({(row["audio"], row["image"]) for row in rows})
