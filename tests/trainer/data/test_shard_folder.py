"""Shards: what is written comes back, here and in WebDataset; damage is one clear line."""

from __future__ import annotations

import gc
import gzip
import io
import json
import os
import pickle
import tarfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset

from tests.sounds import tone
from tests.trainer.data.made_examples import RATE, clip, picture, waveform
from trainer.data import shard_index
from trainer.data.example import Example, ExampleFacts, ShardError
from trainer.data.shard_folder import Shard, ShardFolder
from trainer.data.shard_index import index_path
from trainer.data.shard_writer import write_shards


def test_clips_come_back_as_they_were(tmp_path: Path) -> None:
    written = [clip(n, n_frames=n % 3, captions=("rain", "Régen")) for n in range(5)]
    paths = write_shards(iter(written), tmp_path, examples_per_shard=2)
    assert [path.name for path in paths] == [f"shard-00000{n}.tar" for n in range(3)]
    folder = ShardFolder(tmp_path)
    assert (folder.shards, folder.counts.tolist(), len(folder)) == (paths, [2, 2, 1], 5)
    for n, expected in enumerate(written):
        shard, i = folder.open(n // 2), n % 2
        assert shard.facts(i) == expected.facts
        assert shard.frames(i) == list(expected.frames)
        assert shard.n_frames(i) == n % 3
        assert shard.audio_bytes(i) == expected.audio
        channels, sample_rate = shard.audio(i)
        assert (channels.dtype, sample_rate) == (np.float32, RATE)
        np.testing.assert_array_equal(channels, waveform(n))


def test_webdataset_reads_them(tmp_path: Path) -> None:
    written = [
        clip(0),
        Example(
            ExampleFacts("x", 0.0, 1.0, RATE),
            clip(1).audio,
            (picture(3, "PNG"), picture(4, "WEBP")),
        ),
    ]
    (path,) = write_shards(written, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its file open
        first, second = webdataset.WebDataset(str(path), shardshuffle=False)
        gc.collect()
    assert [first["__key__"], second["__key__"]] == Shard(path).keys
    assert first["flac"] == written[0].audio
    assert [first["0.jpg"], first["1.jpg"]] == list(written[0].frames)
    assert [second["0.png"], second["1.webp"]] == list(written[1].frames)
    assert json.loads(first["json"])["source"] == "video 0.mp4"


def test_keys_differ_over_a_folder_and_hold_no_dot(tmp_path: Path) -> None:
    write_shards(map(clip, range(5)), tmp_path, examples_per_shard=2)
    folder = ShardFolder(tmp_path)
    keys = [key for n in range(3) for key in folder.open(n).keys]
    assert len(set(keys)) == 5
    assert not any("." in key for key in keys)
    assert keys == sorted(keys)


def test_the_same_clips_give_the_same_bytes(tmp_path: Path) -> None:
    (one,) = write_shards([clip(1)], tmp_path / "one")
    (two,) = write_shards([clip(1)], tmp_path / "two")
    assert one.read_bytes() == two.read_bytes()
    assert Shard(one).digest == Shard(two).digest


def test_the_digest_tells_other_clips_and_other_facts(tmp_path: Path) -> None:
    same_size = [("rain",), ("hail",)]
    digests = [
        Shard(write_shards([clip(1, captions=captions)], tmp_path / captions[0])[0]).digest
        for captions in same_size
    ]
    digests.append(Shard(write_shards([clip(1), clip(2)], tmp_path / "two")[0]).digest)
    assert len(set(digests)) == 3
    folder = ShardFolder(tmp_path / "two")
    assert folder.digest(0) == digests[2]


def test_counts_come_from_the_index_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_shards(map(clip, range(3)), tmp_path, examples_per_shard=2)

    def no_scan(path: Path) -> None:
        raise AssertionError(f"{path} was scanned")

    monkeypatch.setattr(shard_index, "make_index", no_scan)
    assert ShardFolder(tmp_path).counts.tolist() == [2, 1]
    assert Shard(paths[0]).frames(1) == list(clip(1).frames)


def _remove(index: Path) -> None:
    index.unlink()


def _cut_a_line(index: Path) -> None:
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:-1]))


def _junk(index: Path) -> None:
    index.write_bytes(b"\xff\x00junk")


def _other_format(index: Path) -> None:
    index.write_text(index.read_text().replace('"format": 1', '"format": 0', 1))


@pytest.mark.parametrize("spoil", [_remove, _cut_a_line, _junk, _other_format])
def test_a_spoilt_index_is_made_again(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    (path,) = write_shards(map(clip, range(3)), tmp_path)
    good = index_path(path).read_bytes()
    spoil(index_path(path))
    shard = Shard(path)
    assert [shard.facts(i).source for i in range(3)] == [f"video {i}.mp4" for i in range(3)]
    assert index_path(path).read_bytes() == good
    assert ShardFolder(tmp_path).counts.tolist() == [3]


def test_a_replaced_shard_is_gone_through_again(tmp_path: Path) -> None:
    (path,) = write_shards([clip(1), clip(2)], tmp_path)
    stale = index_path(path).read_bytes()
    write_shards([clip(3)], tmp_path)
    index_path(path).write_bytes(stale)
    assert ShardFolder(tmp_path).counts.tolist() == [1]
    assert Shard(path).facts(0).source == "video 3.mp4"


def test_a_folder_that_cannot_be_written_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_shards([clip(1)], tmp_path)
    index_path(path).unlink()

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    assert len(Shard(path)) == 1
    assert not index_path(path).exists()


def test_a_run_that_dies_leaves_no_shard_under_its_name(tmp_path: Path) -> None:
    def dying() -> Iterator[Example]:
        yield from map(clip, range(3))
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_shards(dying(), tmp_path, examples_per_shard=2)
    assert [path.name for path in sorted(tmp_path.glob("*.tar*"))] == [
        "shard-000000.tar",
        "shard-000001.tar.part",
    ]
    assert ShardFolder(tmp_path).counts.tolist() == [2]


def test_only_a_few_shards_stay_open(tmp_path: Path) -> None:
    write_shards(map(clip, range(4)), tmp_path, examples_per_shard=1)
    folder = ShardFolder(tmp_path, n_open=2)
    zero, one = folder.open(0), folder.open(1)
    assert folder.open(0) is zero  # now 1 is the one used longest ago
    folder.open(2)
    assert folder.open(0) is zero
    assert folder.open(1) is not one


def test_a_folder_can_be_handed_to_another_process(tmp_path: Path) -> None:
    write_shards(map(clip, range(2)), tmp_path)
    folder = ShardFolder(tmp_path)
    folder.open(0)
    other = pickle.loads(pickle.dumps(folder))
    assert other.open(0).facts(1) == clip(1).facts
    assert len(other) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            Example(ExampleFacts("a", 0, 1, RATE, (0.0,)), b"", (picture(1), picture(2))),
            "a: 2 frames and 1 frame times",
        ),
        (Example(ExampleFacts("a", 0, 1, RATE), b"", (b"GIF89a",)), "frame 0 is no JPEG"),
    ],
)
def test_what_no_reader_would_accept_is_not_written(
    tmp_path: Path, wrong: Example, message: str
) -> None:
    with pytest.raises(ShardError, match=message):
        write_shards([wrong], tmp_path)


# Shards of others, and damaged ones.


def _wav() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(440, 0.1), 8000, format="WAV")
    return file.getvalue()


def _write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("suffix", "kind"), [("wav", "WAV"), ("mp3", "MP3"), ("ogg", "OGG")])
def test_shards_of_other_programs_are_read(tmp_path: Path, suffix: str, kind: str) -> None:
    file = io.BytesIO()
    sound = np.stack([tone(440, 0.5, 16000), tone(880, 0.5, 16000)], axis=1)
    soundfile.write(file, sound, 16000, format=kind)
    members = {
        f"a/b.{suffix}": file.getvalue(),
        "a/b.jpg": picture(1),
        "a/b.json": b'{"captions": ["a tone"], "whatever": 1}',
        "readme": b"no member of a clip",
    }
    shard = Shard(_write_tar(tmp_path / "other.tar", members))
    channels, sample_rate = shard.audio(0)
    assert (shard.keys, shard.frames(0)) == (["a/b"], [members["a/b.jpg"]])
    assert (sample_rate, len(channels)) == (16000, 2)
    facts = shard.facts(0)
    assert facts == ExampleFacts("a/b", 0.0, channels.shape[1] / 16000, 16000, captions=("a tone",))
    assert facts.end_s == pytest.approx(0.5, abs=0.1)
    n = min(channels.shape[1], len(sound))
    if suffix == "wav":
        np.testing.assert_allclose(channels[:, :n], sound[:n].T, atol=1e-4)


def test_members_need_not_lie_in_order(tmp_path: Path) -> None:
    members = {"k.1.png": picture(1, "PNG"), "k.json": b"{}", "k.0.jpg": picture(0)}
    shard = Shard(_write_tar(tmp_path / "x.tar", {**members, "k.wav": _wav()}))
    assert shard.frames(0) == [members["k.0.jpg"], members["k.1.png"]]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"k.json": b"{}", "k.0.jpg": b""}, r"an example lacks k\.flac \(it has 0\.jpg, json\)"),
        ({"k.flac": b""}, r"an example lacks k\.json \(it has flac\)"),
        (
            {"k.flac": b"", "k.json": b"{}", "k.0.jpg": b"", "k.2.jpg": b""},
            r"an example lacks one of its frames \(it has \[0, 2\]\)",
        ),
        (
            {"k.flac": b"", "k.json": b'{"frame_times_s": [0, 1]}', "k.0.jpg": b""},
            r"lacks one of its frames \(k has 1 frames and 2 frame times\)",
        ),
        ({"k.flac": b"", "k.json": b"{"}, r"k\.json is not JSON"),
        ({"k.flac": b"", "k.json": b"[]"}, r"k\.json must be an object, not list"),
        ({"k.flac": b"", "k.json": b'{"end_s": NaN}'}, r"end_s in k\.json must be a number"),
        ({"k.flac": b"", "k.json": b'{"begin_s": "1"}'}, "begin_s in k.json must be a number"),
        ({"k.flac": b"", "k.json": b'{"captions": "x"}'}, "captions .* must be a list of texts"),
        ({"k.flac": b"", "k.json": b'{"source": 1}'}, "source in k.json must be a text, not 1"),
        ({"readme": b""}, "holds no examples"),
    ],
)
def test_a_clip_that_lacks_something_is_refused(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    path = _write_tar(tmp_path / "x.tar", members)
    with pytest.raises(ShardError, match=message) as caught:
        Shard(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_shard_that_was_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    (path,) = write_shards(map(clip, range(4)), tmp_path)
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(ShardError, match="cut off; delete it and run"):
        Shard(path)


def test_a_shard_that_ends_between_two_clips_is_refused(tmp_path: Path) -> None:
    (path,) = write_shards(map(clip, range(2)), tmp_path)
    with tarfile.open(path) as tar:
        second = tar.getmember("000000-00001.flac").offset
    os.truncate(path, second)
    with pytest.raises(ShardError, match="cut off; delete it and run"):
        ShardFolder(tmp_path).open(0)


def test_a_shard_cut_off_behind_our_back_is_told_when_it_is_read(tmp_path: Path) -> None:
    (path,) = write_shards(map(clip, range(2)), tmp_path)
    shard = Shard(path)
    os.truncate(path, 600)
    with pytest.raises(ShardError, match="cut off"):
        shard.facts(1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an uncompressed tar file"),
        (b"Dear library, this is no tar file.\n" * 100, "not an uncompressed tar file"),
        (gzip.compress(np.random.default_rng(0).bytes(20_000)), "unpack it if it is compressed"),
    ],
)
def test_what_is_no_tar_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(ShardError, match=message):
        Shard(tmp_path / "x.tar")


def test_sound_that_cannot_be_decoded_names_its_clip(tmp_path: Path) -> None:
    path = _write_tar(tmp_path / "x.tar", {"k.flac": b"nothing", "k.json": b'{"end_s": 1}'})
    with pytest.raises(ShardError, match=r"the sound of example k cannot be decoded \(neither"):
        Shard(path).audio(0)


def test_no_shards_is_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no shards \(\*\.tar\); make shards with"):
        ShardFolder(tmp_path)
    with pytest.raises(ShardError, match="no such folder"):
        ShardFolder(tmp_path / "nowhere")
    with pytest.raises(ShardError, match="cannot be read"):
        Shard(tmp_path / "x.tar")
