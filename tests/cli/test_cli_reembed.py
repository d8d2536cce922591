"""`soundsearch reembed`: what it prints, and what other commands say of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from soundsearch.encoder.bundle import EncoderBundle
from tests.conftest import Run
from tests.index_contents import searchable
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for i in (0, 3, 7):
        write(tmp_path / "library" / f"{i}.wav", tone(BAND_HZ[i], 2.0))
    return tmp_path / "library"


@pytest.fixture
def index(soundsearch: Run, library: Path, tmp_path: Path, other: EncoderBundle) -> Path:
    soundsearch("index", library)
    return tmp_path / "index"


def stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("indexer.embedding.Run.read", stopped)


def test_it_says_what_it_needs_and_what_it_did(soundsearch: Run, index: Path) -> None:
    result = soundsearch("reembed", "--model", "other")
    assert result.stdout == ""
    room, summary = result.stderr.splitlines()
    assert room.startswith("disk room needed: about ")
    assert summary.startswith("switched to other 1 (12-d, ")
    assert "3 recordings; 3 embedded, 0 failed; " in summary
    assert "encoder     other 1 (12-d, " in soundsearch("status").stdout


def test_as_json(soundsearch: Run, index: Path, other: EncoderBundle) -> None:
    done = json.loads(soundsearch("reembed", "--model", "other", "--json").stdout)
    assert done["elapsed_s"] > 0
    assert done == {
        "schema": 1,
        "encoder": {
            "name": "other",
            "version": "1",
            "fingerprint": other.fingerprint,
            "dim": 12,
        },
        "switched": True,
        "interrupted": False,
        "embedded": 3,
        "ready": 3,
        "left_out": 0,
        "windows": 3,
        "audio_s": 6.0,
        "elapsed_s": done["elapsed_s"],
        "failures": [],
        "absent": [],
    }


def test_stopped_shown_by_status_and_resumed_by_the_same_command(
    soundsearch: Run, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(soundsearch("status", "--json").stdout)["reembedding"] is None
    with monkeypatch.context() as patched:
        stop(patched)
        result = soundsearch("reembed", "--model", "other", code=130)
    assert "stopped; what was finished is kept" in result.stderr
    assert "reembedding other 1 (12-d, " in soundsearch("status").stdout
    begun = json.loads(soundsearch("status", "--json").stdout)["reembedding"]
    assert (begun["encoder"]["name"], begun["n_ready"]) == ("other", 0)
    assert "switched to other" in soundsearch("reembed", "--model", "other").stderr
    assert "reembedding" not in soundsearch("status").stdout


def test_dropped(soundsearch: Run, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        stop(patched)
        soundsearch("reembed", "--model", "other", code=130)
    assert "keeps its encoder" in soundsearch("reembed", "--cancel").stderr
    assert not (index / "next").exists()
    assert "no reembedding was begun" in soundsearch("reembed", "--cancel").stderr
    assert "--model" in soundsearch("reembed", code=1).stderr
    soundsearch("reembed", "--cancel", "--model", "other", code=2)


def test_a_folder_that_is_away_is_an_error_until_it_is_left_out(
    soundsearch: Run, index: Path, library: Path, tmp_path: Path
) -> None:
    library.rename(tmp_path / "away")
    result = soundsearch("reembed", "--model", "other", code=1)
    assert (
        f"error: {library}: not there; recordings of it that are not embedded yet: 3; "
        in result.stderr
    )
    assert "--without-absent" in result.stderr.splitlines()[-1]
    assert len(searchable(index)) == 3
    result = soundsearch("reembed", "--model", "other", "--without-absent")
    assert "3 not embedded" in result.stderr
    assert "note        not embedded yet: 3" in soundsearch("status").stdout
    assert "not embedded yet" in soundsearch("show", library / "0.wav").stdout
    (tmp_path / "away").rename(library)
    assert "3 read again" in soundsearch("index", "--model", "other").stderr
    assert len(searchable(index)) == 3


@pytest.mark.parametrize("command", [("index",), ("query", "hiss")])
def test_other_commands_name_the_way_to_another_encoder(
    soundsearch: Run, index: Path, command: tuple[str, ...]
) -> None:
    result = soundsearch(*command, "--model", "other", code=1)
    assert len(result.stderr.splitlines()) == 1
    assert "soundsearch reembed --model other" in result.stderr


def test_an_encoder_without_a_name_is_named_by_its_folder(
    soundsearch: Run, index: Path, tmp_path: Path, other: EncoderBundle
) -> None:
    mine = other.folder.rename(tmp_path / "my own")
    result = soundsearch("query", "hiss", "--model", "./my own", code=1)
    assert f"soundsearch reembed --model '{mine}'" in result.stderr
    soundsearch("reembed", "--model", mine)
