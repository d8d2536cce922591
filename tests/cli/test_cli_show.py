"""`soundsearch show`: all that an index knows of one recording."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import soundfile
import xxhash

import soundsearch as package
from soundsearch.audio.recording import AudioFile
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import QueryError
from tests import program
from tests.calibrated import calibrate
from tests.conftest import Run
from tests.sounds import Array, noise, tone, write
from tests.tiny_encoder import BAND_HZ, WORDS


def write_titled(path: Path, waveform: Array, title: str) -> Path:
    """A WAV file with a title in its INFO chunk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", 8000, 1) as file:
        file.title = title
        file.write(waveform)
    return path


@pytest.fixture
def library(tmp_path: Path, soundsearch: Run) -> Path:
    """Eight tones in one folder, one of them titled and of 2.5 s, and its copy; indexed."""
    folder = tmp_path / "library"
    for word, hz in zip(WORDS[1:], BAND_HZ[1:], strict=True):
        write(folder / f"{word}.wav", tone(hz))
    write_titled(folder / "Old doors" / "DoorMetal02.wav", tone(BAND_HZ[0], 2.5), "Cellar creak")
    shutil.copyfile(folder / "Old doors" / "DoorMetal02.wav", folder / "again.wav")
    soundsearch("index", folder)
    return folder


def shown(soundsearch: Run, path: object, *options: object) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(soundsearch("show", path, "--json", *options).stdout)
    return facts


def lines(soundsearch: Run, path: object) -> dict[str, list[str]]:
    """What is printed, by label."""
    found: dict[str, list[str]] = {}
    for line in soundsearch("show", path).stdout.splitlines():
        label, text = line.split(maxsplit=1)
        found.setdefault(label, []).append(text)
    return found


def test_all_facts_of_a_recording_as_json(
    soundsearch: Run, library: Path, tiny: EncoderBundle
) -> None:
    path = library / "Old doors" / "DoorMetal02.wav"
    facts = shown(soundsearch, path)
    nearest = facts.pop("nearest")
    indexed_at = datetime.fromisoformat(facts["recording"].pop("indexed_at"))
    assert abs((datetime.now(UTC) - indexed_at).total_seconds()) < 60
    n_windows = facts["recording"].pop("n_windows")
    recording_id = facts["recording"].pop("recording_id")
    copy_id = facts["copies"][0].pop("recording_id")
    with AudioFile(path) as file:
        file.all_channels()
        assert facts["recording"].pop("sound_hash") == file.sound_hash.hex()
    assert n_windows >= 3
    with package.open_index() as index:
        assert index.show(recording_id).recording.path == path
        assert index.show(copy_id).recording.path == library / "again.wav"
        with pytest.raises(QueryError, match="1000"):
            index.show(1000)
    stat = path.stat()
    assert facts == {
        "schema": 1,
        "recording": {
            "path": str(path),
            "root": str(library),
            "state": "indexed",
            "cause": None,
            "error": None,
            "size_bytes": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "content_hash": xxhash.xxh3_128(path.read_bytes()).hexdigest(),
            "duration_s": 2.5,
            "sample_rate": 8000,
            "n_channels": 1,
            "format": "WAV",
            "metadata": {"title": "Cellar creak"},
            "ucs": None,
            "captions": {},
            "words": {
                "name": ["Door", "Metal", "02"],
                "folders": ["library", "Old", "doors"],
                "metadata": ["Cellar", "creak"],
            },
            "start_s": 0.0,
            "end_s": 2.5,
            "is_present": True,
            "has_changed": False,
        },
        "copies": [
            {
                "path": str(library / "again.wav"),
                "state": "indexed",
                "is_present": True,
                "content_hash": xxhash.xxh3_128(path.read_bytes()).hexdigest(),
                "size_bytes": path.stat().st_size,
                "duration_s": 2.5,
            }
        ],
        "encoder": {
            "name": "tiny",
            "version": "1",
            "fingerprint": tiny.fingerprint,
            "dim": 8,
        },
    }
    assert [hit["rank"] for hit in nearest] == [1, 2, 3, 4, 5]
    assert nearest[0]["path"] == str(library / "again.wav")


def test_all_facts_of_a_recording_as_lines(soundsearch: Run, library: Path) -> None:
    path = library / "Old doors" / "DoorMetal02.wav"
    found = lines(soundsearch, path)
    assert found["path"] == [str(path)] and found["root"] == [str(library)]
    assert found["state"] == ["indexed"] and "why" not in found and "note" not in found
    assert f"{path.stat().st_size:,} bytes" in found["file"][0]
    assert found["content"] == [xxhash.xxh3_128(path.read_bytes()).hexdigest()]
    for fact in ("2.500 s", "8000 Hz", "1 channel,", "WAV"):
        assert fact in found["sound"][0]
    assert found["metadata"] == ["title: Cellar creak"]
    assert found["words"] == [
        "name: Door Metal 02",
        "folders: library Old doors",
        "metadata: Cellar creak",
    ]
    assert found["windows"][0].endswith("(0:00.0-0:02.5)")
    assert found["copy"] == ["library/again.wav"]
    assert len(found["nearest"]) == 5


@pytest.mark.parametrize("is_calibrated", [False, True])
def test_the_nearest_are_those_of_similar(
    soundsearch: Run, library: Path, tmp_path: Path, is_calibrated: bool
) -> None:
    if is_calibrated:
        calibrate(EncoderBundle.read(tmp_path / "index" / "encoder"))
    for name in ("again.wav", "note.wav"):
        ask = ("similar", library / name, "-k", 5, "--passages", 0, "--no-unique")
        similar = soundsearch(*ask)
        assert lines(soundsearch, library / name)["nearest"] == [
            line.strip() for line in similar.stdout.splitlines()
        ]
        hits = json.loads(soundsearch(*ask, "--json").stdout)["hits"]
        assert shown(soundsearch, library / name)["nearest"] == hits


@pytest.mark.usefixtures("library")
def test_a_recording_without_copies_has_none(soundsearch: Run) -> None:
    assert shown(soundsearch, "library/hum.wav")["copies"] == []
    assert "copy" not in lines(soundsearch, "library/hum.wav")


def test_why_a_recording_failed(soundsearch: Run, library: Path) -> None:
    (library / "bad.wav").write_text("this is no sound")
    (library / "worse.wav").write_text("this is no sound")
    soundsearch("index", library)
    facts = shown(soundsearch, library / "bad.wav")
    assert facts["nearest"] == [] and facts["copies"] == []
    recording = facts["recording"]
    assert (recording["state"], recording["cause"]) == ("failed", "not audio")
    assert recording["error"] and recording["size_bytes"] == len("this is no sound")
    assert recording["n_windows"] == 0
    assert recording["words"] == {"name": [], "folders": [], "metadata": []}
    for name in (
        "content_hash",
        "sound_hash",
        "duration_s",
        "sample_rate",
        "format",
        "start_s",
        "end_s",
    ):
        assert recording[name] is None
    found = lines(soundsearch, library / "bad.wav")
    assert found["state"] == ["failed"]
    assert found["why"] == [f"not audio: {recording['error']}"]
    assert not {"sound", "words", "windows", "nearest", "copy"} & set(found)


def test_why_a_recording_was_read_in_part(soundsearch: Run, library: Path) -> None:
    path = write(library / "cut.flac", noise(3.0))
    os.truncate(path, path.stat().st_size // 2)
    soundsearch("index", library)
    recording = shown(soundsearch, path)["recording"]
    assert (recording["state"], recording["cause"]) == ("indexed", "damaged")
    assert lines(soundsearch, path)["note"] == [f"damaged: {recording['error']}"]
    assert recording["n_windows"] > 0


def test_a_recording_whose_disk_is_not_mounted_is_shown_from_the_index(
    soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    before = shown(soundsearch, "library/again.wav")
    library.rename(tmp_path / "away")
    facts = shown(soundsearch, "library/again.wav")
    assert facts["recording"] == {**before["recording"], "is_present": False}
    assert [copy["is_present"] for copy in facts["copies"]] == [False]
    assert [hit["cosine"] for hit in facts["nearest"]] == [
        hit["cosine"] for hit in before["nearest"]
    ]
    found = lines(soundsearch, "library/again.wav")
    assert found["path"] == [f"{library}/again.wav (not there now)"]
    assert found["copy"] == ["library/Old doors/DoorMetal02.wav (not there now)"]


def test_a_recording_that_is_missing(soundsearch: Run, library: Path) -> None:
    (library / "again.wav").unlink()
    soundsearch("index", library)
    facts = shown(soundsearch, library / "again.wav")
    assert facts["recording"]["state"] == "missing" and not facts["recording"]["is_present"]
    assert facts["recording"]["duration_s"] == 2.5 and len(facts["nearest"]) == 5
    (copy,) = shown(soundsearch, library / "Old doors" / "DoorMetal02.wav")["copies"]
    assert (copy["path"], copy["state"]) == (f"{library}/again.wav", "missing")
    assert copy["is_present"] is False


def test_a_recording_that_changed_since_is_shown_as_it_was(soundsearch: Run, library: Path) -> None:
    before = shown(soundsearch, library / "hum.wav")
    write(library / "hum.wav", tone(BAND_HZ[7], 2.0))
    facts = shown(soundsearch, library / "hum.wav")
    assert facts == {**before, "recording": {**before["recording"], "has_changed": True}}
    assert "changed since" in lines(soundsearch, library / "hum.wav")["file"][0]


def test_a_recording_is_found_by_links_and_relative_paths(
    soundsearch: Run, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(library)
    elsewhere = write(tmp_path / "elsewhere.wav", tone(2000))
    (library / "linked.wav").symlink_to(elsewhere)
    soundsearch("index", library)
    assert shown(soundsearch, "link/hum.wav")["recording"]["path"] == str(library / "hum.wav")
    linked = shown(soundsearch, "link/linked.wav")["recording"]
    assert linked["path"] == str(library / "linked.wav") and linked["n_windows"] > 0
    elsewhere.unlink()
    assert not shown(soundsearch, "link/linked.wav")["recording"]["is_present"]
    monkeypatch.chdir(library)
    assert shown(soundsearch, "hum.wav")["recording"]["path"] == str(library / "hum.wav")


def test_a_file_that_was_named_itself(soundsearch: Run, library: Path, tmp_path: Path) -> None:
    alone = write(tmp_path / "alone.wav", tone(300))
    soundsearch("index", alone)
    recording = shown(soundsearch, "alone.wav")["recording"]
    assert recording["path"] == recording["root"] == str(alone)


@pytest.mark.usefixtures("tiny")
def test_a_name_of_any_bytes_takes_one_line() -> None:
    folder = Path("library")
    path = folder / os.fsdecode(b"a\nb\xff.wav")
    folder.mkdir()
    write(folder / "plain.wav", tone(300)).rename(path)
    program.soundsearch("index", folder, "--model", "tiny", check=True)
    done = program.soundsearch("show", path, check=True)
    assert b"a\\nb\\udcff.wav\n" in done.stdout.splitlines(keepends=True)[0]
    facts = json.loads(program.soundsearch("show", path, "--json", check=True).stdout)
    assert facts["recording"]["path"] == str(path.absolute())


def test_what_is_not_indexed_is_one_line_with_a_way_out(
    soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    new = write(tmp_path / "a new one.wav", tone(300))
    for path, facts in (
        (new, [str(new), f"soundsearch index '{new}'"]),
        (library / "later.wav", ["later.wav", str(library)]),
        (library, [str(library), "folder"]),
        ("nowhere/none.wav", ["nowhere/none.wav", str(library)]),
        ("library/hum.wav/deeper.wav", ["hum.wav/deeper.wav", str(library)]),
    ):
        result = soundsearch("show", path, code=1)
        assert result.stdout == "" and result.stderr.count("\n") == 1
        assert result.stderr.startswith("error: ")
        for fact in ("not indexed", *facts):
            assert fact in result.stderr


def test_without_an_index_it_is_one_line(soundsearch: Run, tmp_path: Path) -> None:
    result = soundsearch("show", "hum.wav", "--index", tmp_path / "none", code=1)
    assert "no index at" in result.stderr and result.stderr.count("\n") == 1


def test_another_index(soundsearch: Run, library: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    soundsearch("index", library / "hum.wav", "--index", other)
    facts = shown(soundsearch, library / "hum.wav", "--index", other)
    assert facts["nearest"] == [] and facts["recording"]["root"] == str(library / "hum.wav")


def test_from_python(library: Path) -> None:
    with package.open_index() as index:
        details = index.show(library / "again.wav", top_k=2)
        assert isinstance(details, package.Details)
        assert details.recording.path == library / "again.wav"
        assert details.recording.words is not None
        assert details.recording.words.metadata == "Cellar creak"
        assert [copy.path.name for copy in details.copies] == ["DoorMetal02.wav"]
        assert list(details.nearest) == index.search(
            audio=library / "again.wav", top_k=2, passages=0, unique=False
        )
        for path in (None, b"again.wav", "", "a\0.wav"):
            with pytest.raises(QueryError, match="path"):
                index.show(path)  # type: ignore[arg-type]
        with pytest.raises(QueryError, match="top_k"):
            index.show("again.wav", top_k=0)


@pytest.mark.usefixtures("library")
def test_no_decoder_and_no_encoder_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "soundsearch", "show", "library/hum.wav"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "sqlalchemy" in loaded
    assert loaded & {"av", "soundfile", "soxr", "torch", "onnxruntime", "indexer"} == set()
