"""`soundsearch duplicates`: recordings with the same content."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile
import xxhash

from soundsearch.audio.recording import AudioFile
from soundsearch.store import Store
from tests import program
from tests.conftest import Run
from tests.index_contents import rows_of
from tests.sounds import tone, write


@pytest.fixture
def library(tmp_path: Path, soundsearch: Run) -> Path:
    """Two contents that several files have, in two roots, and one that one file has; indexed."""
    folder, other = tmp_path / "library", tmp_path / "other"
    for name, hz in (("hum", 392), ("beep", 1342), ("alone", 3116)):
        write(folder / f"{name}.wav", tone(hz))
    shutil.copyfile(folder / "hum.wav", folder / "a copy of hum.wav")
    other.mkdir()
    shutil.copyfile(folder / "hum.wav", other / "hum too.wav")
    shutil.copyfile(folder / "beep.wav", other / "beep.wav")
    for name in ("bad", "worse"):
        (folder / f"{name}.wav").write_text("this is no sound")
    soundsearch("index", folder, "-j", 1)
    soundsearch("index", other, "-j", 1)
    return folder


def groups(text: str) -> list[list[str]]:
    return [group.splitlines() for group in text.split("\n\n")]


@pytest.mark.usefixtures("library")
def test_copies_are_listed_in_groups_apart_by_an_empty_line(soundsearch: Run) -> None:
    result = soundsearch("duplicates")
    assert sorted(groups(result.stdout)) == [
        ["library/a copy of hum.wav", "library/hum.wav", "other/hum too.wav"],
        ["library/beep.wav", "other/beep.wav"],
    ]
    assert "groups: 2" in result.stderr and result.stderr.count("\n") == 1


def test_the_json_of_copies(soundsearch: Run, library: Path) -> None:
    facts = json.loads(soundsearch("duplicates", "--json").stdout)
    assert facts["schema"] == 1
    by_hash = {group.pop("content_hash"): group for group in facts.pop("groups")}
    copies = [copy for group in by_hash.values() for copy in group["copies"]]
    assert len({copy.pop("recording_id") for copy in copies}) == 5
    assert facts == {"schema": 1}
    hum, beep = library / "hum.wav", library / "beep.wav"
    other = library.parent / "other"

    def content(path: Path) -> str:
        return xxhash.xxh3_128(path.read_bytes()).hexdigest()

    def group(like: Path, *paths: Path) -> dict[str, Any]:
        facts = {"content_hash": content(like), "size_bytes": like.stat().st_size}
        known = {**facts, "state": "indexed", "is_present": True, "duration_s": 1.0}
        with AudioFile(like) as file:
            file.all_channels()
            sound_hash = file.sound_hash.hex()
        return {
            "sound_hash": sound_hash,
            "size_bytes": like.stat().st_size,
            "copies": [{"path": str(path), **known} for path in paths],
        }

    assert by_hash == {
        content(hum): group(hum, library / "a copy of hum.wav", hum, other / "hum too.wav"),
        content(beep): group(beep, beep, other / "beep.wav"),
    }


def test_copies_may_have_other_formats_and_tags(soundsearch: Run, tmp_path: Path) -> None:
    wav = write(tmp_path / "a" / "hum.wav", tone(392), subtype="PCM_16")
    samples, rate = soundfile.read(wav, dtype="int16")
    soundfile.write(tmp_path / "a" / "hum.flac", samples, rate)
    tagged = tmp_path / "a" / "tagged.wav"
    tagged.write_bytes(wav.read_bytes())
    with soundfile.SoundFile(tagged, "r+") as file:
        file.title = "A fridge"
    write(tmp_path / "a" / "louder.wav", tone(392, level=0.6), subtype="PCM_16")
    soundsearch("index", "a")
    assert groups(soundsearch("duplicates").stdout) == [["a/hum.flac", "a/hum.wav", "a/tagged.wav"]]
    (group,) = json.loads(soundsearch("duplicates", "--json").stdout)["groups"]
    assert group["content_hash"] is None and group["size_bytes"] is None
    assert len({copy["content_hash"] for copy in group["copies"]}) == 3
    sizes = [copy["size_bytes"] for copy in group["copies"]]
    assert sizes == [Path(copy["path"]).stat().st_size for copy in group["copies"]]


def test_files_that_are_not_there_are_marked_and_left_out_of_paths(
    soundsearch: Run, library: Path
) -> None:
    (library / "a copy of hum.wav").unlink()
    soundsearch("index", library)
    (library.parent / "other").rename(library.parent / "away")
    assert sorted(groups(soundsearch("duplicates").stdout)) == [
        [
            "library/a copy of hum.wav (not there now)",
            "library/hum.wav",
            "other/hum too.wav (not there now)",
        ],
        ["library/beep.wav", "other/beep.wav (not there now)"],
    ]
    states = {
        Path(copy["path"]).name: (copy["state"], copy["is_present"])
        for group in json.loads(soundsearch("duplicates", "--json").stdout)["groups"]
        for copy in group["copies"]
    }
    assert states["a copy of hum.wav"] == ("missing", False)
    assert states["hum too.wav"] == ("indexed", False)
    result = soundsearch("duplicates", "--paths")
    assert result.stdout == "" and "left out" in result.stderr
    shutil.copyfile(library / "hum.wav", library / "a copy of hum.wav")
    assert soundsearch("duplicates", "--paths").stdout == (
        f"{library}/a copy of hum.wav\n{library}/hum.wav\n"
    )


@pytest.mark.usefixtures("tiny")
def test_paths_are_the_bytes_of_the_file_system(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    names = [b"\xff.wav", b"a\nb.wav", b"b.wav", b"c.wav"]
    for hz, pair in ((392, names[:2]), (1342, names[2:])):
        made = write(folder / "made.wav", tone(hz))
        for name in pair:
            shutil.copyfile(made, folder / os.fsdecode(name))
        made.unlink()
    program.soundsearch("index", folder, "--model", "tiny", "-j", 1, check=True)
    start = os.fsencode(folder) + b"/"
    done = program.soundsearch("duplicates", "--null", check=True)
    found = [group.split(b"\0") for group in done.stdout.removesuffix(b"\0\0").split(b"\0\0")]
    expected = [[start + b"a\nb.wav", start + b"\xff.wav"], [start + b"b.wav", start + b"c.wav"]]
    assert sorted(found) == expected and done.stderr == b""
    done = program.soundsearch("duplicates", "--paths", check=True)
    both = [b"".join(path + b"\n" for path in group) for group in expected]
    assert done.stdout in (b"\n".join(both), b"\n".join(reversed(both)))
    lines = program.soundsearch("duplicates", check=True).stdout.splitlines()
    assert len(lines) == 5 and b"library/a\\nb.wav" in lines


def test_without_copies_nothing_is_printed(soundsearch: Run, tmp_path: Path) -> None:
    write(tmp_path / "library" / "hum.wav", tone(392))
    soundsearch("index", "library")
    for option in ([], ["--paths"], ["-0"]):
        assert soundsearch("duplicates", *option).stdout == ""
    assert json.loads(soundsearch("duplicates", "--json").stdout) == {"schema": 1, "groups": []}
    assert "no two recordings" in soundsearch("duplicates").stderr


def test_nothing_is_changed(soundsearch: Run, library: Path, tmp_path: Path) -> None:
    def state() -> tuple[object, str]:
        index = tmp_path / "index"
        with Store.open(index).snapshot() as reader:
            return rows_of(index), reader.revision()

    before, files = state(), {path: path.stat().st_mtime_ns for path in library.iterdir()}
    soundsearch("duplicates")
    soundsearch("show", library / "hum.wav")
    assert state() == before
    assert {path: path.stat().st_mtime_ns for path in library.iterdir()} == files


def test_without_an_index_it_is_one_line(soundsearch: Run) -> None:
    result = soundsearch("duplicates", code=1)
    assert result.stderr.startswith("error: no index at ") and result.stderr.count("\n") == 1
