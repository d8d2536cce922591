"""The demo library: what is in it, and that writing it never harms a file of the user's."""

from __future__ import annotations

import csv
import errno
import fnmatch
import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from soundsearch.audio.recording import AudioFile
from soundsearch.demo import MIXTURES, library, shipped_recordings, write_library
from soundsearch.demo.library import CREDITS, DATA, RECORDINGS, SAMPLE_RATE, mix
from soundsearch.errors import SoundsearchError
from tests import program
from tests.conftest import ROOT, Run
from tests.ordinary_user import open_folder, ordinary_user

DOG_IN_RAIN = MIXTURES[0]
FIELD = MIXTURES[-1]
#: What `make demo` asks, and the first hit.
QUESTIONS = {
    "dog barking in rain": DOG_IN_RAIN.path,
    "thunder": "Nature/thunder roll far.opus",
    "people talking": "City/restaurant_walla.opus",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, library.Written]:
    """Write the whole library, once for this module; tests only read it."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "library"
    return folder, write_library(folder)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Shrink the library to three recordings and a mixture: their paths in it."""
    recordings = shipped_recordings()[:3]
    monkeypatch.setattr(library, "shipped_recordings", lambda: recordings)
    monkeypatch.setattr(library, "MIXTURES", MIXTURES[:1])
    return [*(name_of(path) for path in recordings), DOG_IN_RAIN.path]


def name_of(path: Path, folder: Path = RECORDINGS) -> str:
    return path.relative_to(folder).as_posix()


def contents(folder: Path) -> dict[str, bytes]:
    return {name_of(p, folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def credited() -> dict[str, dict[str, str]]:
    with open(DATA / CREDITS, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    by_file = {row["file"]: row for row in rows}
    assert len(by_file) == len(rows)
    return by_file


# ---- what ships


def test_every_recording_can_be_read_whole() -> None:
    recordings = shipped_recordings()
    assert len(recordings) == 42
    assert sum(path.stat().st_size for path in recordings) < 700_000
    for path in recordings:
        with AudioFile(path) as file:
            waveform = np.concatenate(list(file.blocks()))
            assert file.damage is None, path
        assert np.abs(waveform).max() > 0.01, path


def test_every_sound_is_credited_and_free() -> None:
    rows = credited()
    recordings = [name_of(path) for path in shipped_recordings()]
    assert set(rows) == {*recordings, *(mixture.path for mixture in MIXTURES)}
    for row in rows.values():
        assert all(row[column].strip() for column in ("description", "author", "source", "licence"))
        assert row["licence"] == "CC0-1.0" or row["licence"].startswith("public domain")


def test_a_mixture_credits_all_that_is_in_it() -> None:
    rows = credited()
    for mixture in MIXTURES:
        for part in mixture.parts:
            assert part.recording in rows[mixture.path]["source"]
            assert rows[part.recording]["author"] in rows[mixture.path]["author"]
            assert rows[part.recording]["licence"] == rows[mixture.path]["licence"] == "CC0-1.0"


def test_the_package_names_every_data_file_that_ships() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = config["tool"]["setuptools"]["package-data"]["soundsearch"]
    package = ROOT / "soundsearch"
    for path in (path for path in DATA.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        parts = path.relative_to(package).parts
        assert path.suffix == ".py" or any(
            len(pattern.split("/")) == len(parts)
            and all(map(fnmatch.fnmatchcase, parts, pattern.split("/")))
            for pattern in patterns
        ), path


# ---- mixtures


def test_a_mixture_is_the_sum_of_its_parts_at_their_seconds() -> None:
    rain_alone = replace(DOG_IN_RAIN, parts=DOG_IN_RAIN.parts[:1])
    dog = mix(DOG_IN_RAIN) - mix(rain_alone)
    barks = [part for part in DOG_IN_RAIN.parts if "puppy" in part.recording]
    with AudioFile(RECORDINGS / barks[0].recording) as file:
        bark = np.concatenate(list(file.blocks()))
    fade = round(library.FADE_S * SAMPLE_RATE)
    assert len(barks) == 2
    for part in barks:
        start = round(part.start_s * SAMPLE_RATE)
        inside = slice(start + fade, start + bark.size - fade)
        np.testing.assert_allclose(dog[inside], bark[fade:-fade], atol=1e-6)
        dog[start : start + bark.size] = 0
    np.testing.assert_array_equal(dog, 0)


@pytest.mark.parametrize("mixture", MIXTURES, ids=lambda mixture: mixture.path)
def test_mixtures_lose_nothing_but_what_is_faded(mixture: library.Mixture) -> None:
    waveform = mix(mixture)
    assert waveform.dtype == np.float32 and waveform.shape == (mixture.n_samples,)
    assert 0.1 < np.abs(waveform).max() <= np.float32(library.PEAK)
    for part in mixture.parts:
        with AudioFile(RECORDINGS / part.recording) as file:
            assert file.sample_rate == SAMPLE_RATE
        assert 0 <= part.start_s < mixture.duration_s
    per_second = np.abs(waveform[: SAMPLE_RATE * int(mixture.duration_s)].reshape(-1, SAMPLE_RATE))
    assert per_second.max(axis=1).min() > 1e-3, "no second is silent"


def test_a_loud_mixture_is_turned_down() -> None:
    loud = replace(DOG_IN_RAIN, parts=(library.Placed("Animals/puppy_bark.opus", 1.0, 20.0),))
    assert np.abs(mix(loud)).max() == pytest.approx(library.PEAK)


def test_a_part_that_outlasts_the_mixture_is_cut() -> None:
    short = replace(DOG_IN_RAIN, duration_s=3.0)
    short = replace(short, parts=short.parts[:2])
    np.testing.assert_array_equal(
        mix(short)[: 2 * SAMPLE_RATE], mix(DOG_IN_RAIN)[: 2 * SAMPLE_RATE]
    )
    assert mix(short)[-1] == 0


# ---- writing


def test_the_library_holds_recordings_mixtures_and_credits(
    whole: tuple[Path, library.Written],
) -> None:
    folder, written = whole
    found = contents(folder)
    assert found.pop(CREDITS) == (DATA / CREDITS).read_bytes()
    assert written.unchanged == [] and {name_of(p, folder) for p in written.new} == set(found)
    for path in shipped_recordings():
        assert found.pop(name_of(path)) == path.read_bytes()
    assert set(found) == {mixture.path for mixture in MIXTURES}
    for mixture in MIXTURES:
        waveform, rate = soundfile.read(folder / mixture.path, dtype="float32")
        assert rate == SAMPLE_RATE
        np.testing.assert_allclose(waveform, mix(mixture), atol=1 / 32768)


def test_writing_again_changes_nothing(few: list[str], tmp_path: Path) -> None:
    first = write_library(tmp_path)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")}
    second = write_library(tmp_path)
    assert (second.new, second.unchanged) == ([], first.new)
    after = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")}
    assert after == before


def test_writing_again_restores_what_is_missing(few: list[str], tmp_path: Path) -> None:
    write_library(tmp_path)
    whole = contents(tmp_path)
    (tmp_path / few[0]).unlink()
    (tmp_path / few[-1]).unlink()
    (tmp_path / "Animals" / "my own.wav").write_bytes(b"somebody's")
    written = write_library(tmp_path)
    assert [name_of(path, tmp_path) for path in written.new] == [few[0], few[-1]]
    assert [name_of(path, tmp_path) for path in written.unchanged] == few[1:-1]
    assert contents(tmp_path) == {**whole, "Animals/my own.wav": b"somebody's"}


def test_a_mixture_that_another_decoder_rounded_is_still_the_demos(
    few: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "mix", lambda mixture: mix(mixture) * np.float32(0.9999))
    write_library(tmp_path)
    before = contents(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(library, "MIXTURES", MIXTURES[:1])
    written = write_library(tmp_path)
    assert tmp_path / few[-1] in written.unchanged
    assert (tmp_path / few[-1]).read_bytes() == before[few[-1]]


@pytest.mark.parametrize("place", [0, -1, CREDITS], ids=["recording", "mixture", "credits"])
def test_a_file_of_the_users_is_never_overwritten(
    few: list[str], tmp_path: Path, place: int | str
) -> None:
    taken = tmp_path / (place if isinstance(place, str) else few[place])
    taken.parent.mkdir(parents=True, exist_ok=True)
    taken.write_bytes(b"somebody's only copy")
    with pytest.raises(SoundsearchError) as caught:
        write_library(tmp_path)
    message = str(caught.value)
    assert str(taken) in message and "empty folder" in message and "\n" not in message
    assert contents(tmp_path) == {name_of(taken, tmp_path): b"somebody's only copy"}


@pytest.mark.parametrize(
    ("comment", "n_samples"),
    [("my take", DOG_IN_RAIN.n_samples), (DOG_IN_RAIN.comment, DOG_IN_RAIN.n_samples - 1)],
    ids=["another origin", "cut by the user"],
)
def test_a_sound_of_the_users_with_the_name_of_a_mixture_is_refused(
    few: list[str], tmp_path: Path, comment: str, n_samples: int
) -> None:
    taken = tmp_path / DOG_IN_RAIN.path
    taken.parent.mkdir()
    with soundfile.SoundFile(taken, "w", SAMPLE_RATE, 1) as file:
        file.comment = comment
        file.write(np.zeros(n_samples))
    before = taken.read_bytes()
    with pytest.raises(SoundsearchError, match=r"dog barking in rain\.wav"):
        write_library(tmp_path)
    assert contents(tmp_path) == {DOG_IN_RAIN.path: before}


def test_a_folder_or_a_dangling_link_in_the_way_is_refused(few: list[str], tmp_path: Path) -> None:
    taken = tmp_path / few[0]
    taken.mkdir(parents=True)
    with pytest.raises(SoundsearchError, match="empty folder"):
        write_library(tmp_path)
    taken.rmdir()
    taken.symlink_to(tmp_path / "elsewhere.opus")
    with pytest.raises(SoundsearchError, match="empty folder"):
        write_library(tmp_path)
    assert contents(tmp_path) == {} and not (tmp_path / "elsewhere.opus").exists()


@pytest.mark.parametrize("taken", ["library", "library/Animals", "library/Mixes"])
def test_a_file_in_place_of_a_folder_is_one_clear_line(
    few: list[str], tmp_path: Path, taken: str
) -> None:
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_bytes(b"not a folder")
    with pytest.raises(SoundsearchError, match="a folder is needed") as caught:
        write_library(tmp_path / "library")
    assert str(tmp_path / taken) in str(caught.value) and "\n" not in str(caught.value)
    assert contents(tmp_path) == {taken: b"not a folder"}


def test_a_folder_that_cannot_be_written_to_is_one_clear_line(few: list[str]) -> None:
    with open_folder() as folder:
        for inside in (folder / "read-only", folder / "closed"):
            inside.mkdir()
            inside.chmod(0o555 if inside.name == "read-only" else 0o000)
            with ordinary_user(), pytest.raises(SoundsearchError) as caught:
                write_library(inside)
            assert str(inside) in str(caught.value)
            assert os.strerror(errno.EACCES) in str(caught.value)


def test_a_full_disk_leaves_no_half_file_and_the_next_run_goes_on(
    few: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_done = 0

    def rename(source: Path, target: Path) -> None:
        nonlocal n_done
        if n_done == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n_done += 1
        os.rename(source, target)

    monkeypatch.setattr(library.os, "replace", rename)
    with pytest.raises(SoundsearchError, match=os.strerror(errno.ENOSPC)):
        write_library(tmp_path)
    assert set(contents(tmp_path)) == {CREDITS, few[0]}
    n_done = -10
    assert [name_of(path, tmp_path) for path in write_library(tmp_path).new] == few[1:]


def test_what_is_written_belongs_to_the_user_even_from_a_read_only_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, folder = tmp_path / "package", tmp_path / "library"
    (package / "Animals").mkdir(parents=True)
    for path in shipped_recordings()[:2]:
        copied = package / name_of(path)
        copied.write_bytes(path.read_bytes())
        copied.chmod(0o444)
    monkeypatch.setattr(library, "RECORDINGS", package)
    monkeypatch.setattr(library, "MIXTURES", ())
    written = write_library(folder)
    umask = os.umask(0)
    os.umask(umask)
    assert [path.stat().st_mode & 0o777 for path in written.new] == 2 * [0o666 & ~umask]


def test_writing_needs_neither_torch_nor_an_encoder(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from soundsearch.demo import write_library; "
        f"write_library(Path({str(tmp_path)!r})); "
        "print([m for m in ('torch', 'faiss', 'onnxruntime') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=program.environment(),
    )
    assert found.stdout.strip() == "[]"


# ---- the command, and what the shipped encoder finds


def test_the_command_says_what_it_wrote(few: list[str], soundsearch: Run, tmp_path: Path) -> None:
    result = soundsearch("demo", "library")
    assert result.stdout == "" and result.stderr.startswith("Recordings written to library: 4")
    assert "already" not in result.stderr and CREDITS in result.stderr
    (tmp_path / "library" / few[0]).unlink()
    again = soundsearch("demo", "library")
    assert "written to library: 1" in again.stderr and "already: 3" in again.stderr
    (tmp_path / "library" / few[0]).write_bytes(b"mine")
    assert few[0] in soundsearch("demo", "library", code=1).stderr
    assert "FOLDER" in soundsearch("demo", code=2).stderr.upper()


def test_the_shipped_encoder_finds_what_make_demo_asks_for(
    whole: tuple[Path, library.Written], soundsearch: Run
) -> None:
    folder, written = whole
    report = soundsearch("index", folder, "--model", "starter").stderr
    assert f"{len(written.new)} new" in report and "0 failed" in report

    def hits(*arguments: str) -> list[dict[str, Any]]:
        found = json.loads(soundsearch(*arguments, "-k", 3, "--json").stdout)["hits"]
        return [{**hit, "path": name_of(Path(hit["path"]), folder)} for hit in found]

    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    for question, path in QUESTIONS.items():
        assert f'"{question}"' in recipe
        assert hits("query", question)[0]["path"] == path
    similar = hits("similar", str(folder / "Animals" / "crow_4.opus"))
    assert "Animals/crow_4.opus" in recipe and similar[0]["path"] == "Animals/crow_2.opus"
    # The long recording is found too, at its thunder.
    (thunder,) = [part for part in FIELD.parts if "thunder" in part.recording]
    (passage,) = [hit for hit in hits("query", "thunder") if hit["path"] == FIELD.path]
    # A window begins every 1.5 s: the nearest one may begin a little before it.
    assert thunder.start_s - 0.75 < passage["start_s"] < passage["end_s"] < thunder.start_s + 6
