"""`train features`, and what it shares with other commands: parts, several folders, URLs."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import json
import threading
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.trainer.made_shards import TINY, made_shards
from trainer.data.log_mels import find_log_mels, log_mels_path
from trainer.data.shard_folder import ShardFolder
from trainer.front_ends import STARTER, VIP_ANT


def test_features_are_stored_once(tmp_path: Path, soundsearch: Run) -> None:
    data = made_shards(tmp_path / "shards", n_clips=6, examples_per_shard=3)
    command = ("train", "features", data.folder, "--workers", "2")
    done = soundsearch(*command)
    assert done.stdout == f"{VIP_ANT.slug}\n"
    assert "2 shards done, 0 ready before, 6 clips" in done.stderr
    assert "0 shards done, 2 ready before" in soundsearch(*command).stderr
    assert find_log_mels(data, VIP_ANT) is not None
    assert soundsearch(*command, "--front-end", "starter").stdout == f"{STARTER.slug}\n"


def test_the_front_end_of_a_run_can_be_taken(tmp_path: Path, soundsearch: Run) -> None:
    data = made_shards(tmp_path / "shards", n_clips=1)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"front_end": {"name": "starter", "time_mask": 3}, "epochs": 1}))
    done = soundsearch("train", "features", data.folder, "--config", config)
    assert done.stdout == f"{STARTER.slug}\n"
    failed = soundsearch("train", "features", data.folder, "--front-end", "clap", code=1)
    assert "must be one of vip-ant, starter, " in failed.stderr and "not 'clap'" in failed.stderr


def test_parts_and_several_folders(tmp_path: Path, soundsearch: Run) -> None:
    folders = [
        made_shards(tmp_path / name, n_clips=4, examples_per_shard=2).folder for name in "ab"
    ]
    for part, n_done in (("1/3", 2), ("2/3", 1), ("3/3", 1)):
        done = soundsearch("train", "features", *folders, "--part", part)
        assert f"{n_done} shards done" in done.stderr
    assert find_log_mels(ShardFolder(folders), VIP_ANT) is not None


@pytest.mark.parametrize("command", ["features", "embed-images", "embed-captions"])
@pytest.mark.parametrize("part", ["0/3", "4/3", "three"])
def test_a_part_out_of_range_is_a_usage_error(
    command: str, part: str, tmp_path: Path, soundsearch: Run
) -> None:
    failed = soundsearch("train", command, tmp_path, "--part", part, code=2)
    assert "--part" in failed.stderr
    assert repr(part) in failed.stderr


@pytest.mark.parametrize("command", ["extract", "shards"])
def test_a_part_out_of_range_of_sources_is_a_usage_error(
    command: str, tmp_path: Path, soundsearch: Run
) -> None:
    failed = soundsearch("train", command, tmp_path, tmp_path / "out", "--part", "17/16", code=2)
    assert "'17/16'" in failed.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_takes_several_folders_and_log_mels_where_they_are(
    tmp_path: Path, soundsearch: Run
) -> None:
    folders = [made_shards(tmp_path / name, n_clips=6).folder for name in "ab"]
    plain = dataclasses.asdict(TINY)
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps({key: plain[key] for key in ("vit", "front_end", "init")}))
    soundsearch("train", "features", *folders, "--config", config)
    small = ("--config", config, "--batch-size", "6", "--epochs", "1", "--precision", "fp32")
    for run, read, more in (
        ("one", f"log-mels {TINY.front_end.slug}", ()),
        ("other", "sound", ("--from-sound",)),
    ):
        done = soundsearch("train", "pivot", *folders, "--run", run, *small, *more)
        assert done.stdout == f"{run}\n"
        data = json.loads(Path(run, "config.json").read_text())["data"]
        assert (data["read"], data["n_clips"]) == (read, 12)
    failed = soundsearch("train", "pivot", *folders, "--run", "no", "--batch-size", "6", code=1)
    assert VIP_ANT.slug in failed.stderr and TINY.front_end.slug in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_a_sound_left_out_is_named_and_a_shard_cut_off_fails(
    tmp_path: Path, soundsearch: Run
) -> None:
    data = made_shards(tmp_path / "shards", n_clips=4, examples_per_shard=2)
    data.shards[1].write_bytes(data.shards[1].read_bytes()[:3000])
    done = soundsearch("train", "features", data.folder, code=1)
    assert "shard-000001.tar: the tar file is cut off" in done.stderr
    assert log_mels_path(data.shards[0], VIP_ANT).exists()
    assert "1 shards failed" in done.stderr


def test_shards_by_url(tmp_path: Path, soundsearch: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOUNDSEARCH_CACHE", str(tmp_path / "cache"))
    data = made_shards(tmp_path / "web", n_clips=2)
    (data.folder / "list.txt").write_text("shard-000000.tar\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(data.folder))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/list.txt"
        soundsearch("train", "features", url)
        server.shutdown()
        thread.join()
    (stored,) = (tmp_path / "cache").rglob("*.log-mel.*.safetensors")
    assert len(ShardFolder(stored.parent)) == 2
