"""Play, open and reveal a hit, by programs made for the test that write their arguments down."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundsearch import desktop
from soundsearch.cli import hit_actions
from tests import program
from tests.conftest import Run
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ, WORDS

Made = Callable[..., Path]
WORD = WORDS[5]


@pytest.fixture
def library(tmp_path: Path, soundsearch: Run) -> Path:
    """Two recordings, with what a shell or an option would make something of in their names."""
    folder = tmp_path / "-my; $(touch hacked) library"
    for i in (5, 2):
        write(folder / f"-{WORDS[i]}, 'a' & \"b\".wav", tone(BAND_HZ[i], 3))
    soundsearch("index", folder)
    return folder


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Make a program, the only ones on PATH; returns the file into which it writes its arguments."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))

    def make(name: str, body: str = "", code: int = 0) -> Path:
        log = tmp_path / f"{name}.json"
        script = (
            f"#!{sys.executable}\n"
            "import json, pathlib, sys\n"
            f"pathlib.Path({str(log)!r}).write_text(json.dumps(sys.argv[1:]))\n"
            f"print('noise of the program')\n{body}\nsys.exit({code})\n"
        )
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
        return log

    return make


def first_hit(soundsearch: Run) -> dict[str, object]:
    hit: dict[str, object] = json.loads(soundsearch("query", WORD, "--json").stdout)["hits"][0]
    return hit


# ---- play


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("player", hit_actions.PLAYERS)
def test_a_player_gets_the_path_and_the_second(soundsearch: Run, made: Made, player: str) -> None:
    log = made(player)
    hit = first_hit(soundsearch)
    result = soundsearch("query", WORD, "--play", 1)
    assert result.stdout == soundsearch("query", WORD).stdout
    assert result.stderr == ""
    arguments = json.loads(log.read_text())
    assert arguments.count(hit["path"]) == 1
    seconds = [word.rsplit("=")[-1] for word in arguments if word != hit["path"]]
    assert f"{hit['start_s']:.3f}" in seconds


@pytest.mark.usefixtures("library")
def test_the_second_is_that_of_the_hit(soundsearch: Run, made: Made, tmp_path: Path) -> None:
    quiet = tone(BAND_HZ[7], 10, level=0.01)
    write(tmp_path / "more" / "late.wav", np.concatenate([quiet, tone(BAND_HZ[0], 2)]))
    soundsearch("index", tmp_path / "more")
    log = made("mpv")
    soundsearch("query", WORDS[0], "--in", "more", "--play", 1)
    (start,) = [word for word in json.loads(log.read_text()) if word.startswith("--start=")]
    assert 9.0 <= float(start.removeprefix("--start=")) <= 11.0


@pytest.mark.usefixtures("library")
def test_hit_two_is_played_by_number(soundsearch: Run, made: Made) -> None:
    log = made("ffplay")
    hits = json.loads(soundsearch("query", WORD, "--json").stdout)["hits"]
    soundsearch("query", WORD, "--play", 2)
    assert json.loads(log.read_text())[-1] == hits[1]["path"]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("player", hit_actions.WAV_PLAYERS)
def test_a_player_without_a_start_gets_the_passage(
    soundsearch: Run, made: Made, tmp_path: Path, player: str
) -> None:
    saved = tmp_path / "played.wav"
    body = f"pathlib.Path({str(saved)!r}).write_bytes(pathlib.Path(sys.argv[1]).read_bytes())"
    log = made(player, body)
    hit = first_hit(soundsearch)
    soundsearch("query", WORD, "--play", 1)
    samples, rate = soundfile.read(io.BytesIO(saved.read_bytes()))
    assert len(samples) / rate == pytest.approx(
        float(str(hit["end_s"])) - float(str(hit["start_s"])), abs=0.01
    )
    (passage,) = json.loads(log.read_text())
    assert not Path(passage).exists()


@pytest.mark.usefixtures("library")
def test_a_player_that_starts_at_the_second_comes_first(soundsearch: Run, made: Made) -> None:
    logs = {name: made(name) for name in ("aplay", "mpv", "ffplay")}
    soundsearch("query", WORD, "--play", 1)
    assert [name for name, log in logs.items() if log.exists()] == ["ffplay"]


@pytest.mark.usefixtures("library", "made")
def test_no_player_is_one_line_with_those_looked_for(soundsearch: Run) -> None:
    result = soundsearch("query", WORD, "--play", 1, code=1)
    assert result.stdout.count("\n") == 2
    assert result.stderr.count("\n") == 1
    assert all(name in result.stderr for name in (*hit_actions.PLAYERS, *hit_actions.WAV_PLAYERS))


@pytest.mark.usefixtures("library")
def test_a_player_that_fails_is_one_line(soundsearch: Run, made: Made) -> None:
    made("ffplay", code=3)
    result = soundsearch("query", WORD, "--play", 1, code=1)
    assert result.stderr.count("\n") == 1
    assert "ffplay" in result.stderr and "3" in result.stderr


def test_similar_plays_too_and_standard_output_has_the_list_alone(
    library: Path, made: Made
) -> None:
    log = made("ffplay")
    asked = next(library.glob(f"-{WORD}*"))
    result = program.soundsearch("similar", asked, "--paths", "--play", 1)
    assert result.returncode == 0, result.stderr
    (found,) = result.stdout.decode().splitlines()  # the one asked with is left out
    assert json.loads(log.read_text())[-1] == found


# ---- open and reveal


@pytest.mark.usefixtures("library")
def test_open_by_xdg_open(soundsearch: Run, made: Made, tmp_path: Path) -> None:
    log = made("xdg-open")
    soundsearch("query", WORD, "--open", 1)
    assert json.loads(log.read_text()) == [first_hit(soundsearch)["path"]]
    assert not (tmp_path / "hacked").exists()


@pytest.mark.usefixtures("library")
def test_a_program_that_stays_open_is_left_running(
    soundsearch: Run, made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(desktop, "PATIENCE_S", 0.05)
    go = tmp_path / "go"
    made("xdg-open", f"import time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)")
    try:
        soundsearch("query", WORD, "--open", 1)
    finally:
        go.touch()


@pytest.mark.usefixtures("library")
def test_reveal_selects_the_file_where_the_desktop_can(soundsearch: Run, made: Made) -> None:
    log, fallback = made("dbus-send"), made("xdg-open")
    soundsearch("query", WORD, "--reveal", 1)
    address = json.loads(log.read_text())[-2].removeprefix("array:string:")
    assert address == Path(str(first_hit(soundsearch)["path"])).as_uri().replace(",", "%2C")
    assert "," not in address
    assert not fallback.exists()


@pytest.mark.parametrize("has_dbus", [True, False])
def test_reveal_opens_the_folder_where_it_cannot(
    soundsearch: Run, library: Path, made: Made, has_dbus: bool
) -> None:
    if has_dbus:
        made("dbus-send", code=1)
    log = made("xdg-open")
    soundsearch("query", WORD, "--reveal", 1)
    assert json.loads(log.read_text()) == [str(library)]


@pytest.mark.usefixtures("library")
def test_open_and_reveal_on_macos(
    soundsearch: Run, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desktop, "_system", lambda: "darwin")
    path = first_hit(soundsearch)["path"]
    for option, expected in (("--open", [path]), ("--reveal", ["-R", path])):
        log = made("open")
        soundsearch("query", WORD, option, 1)
        assert json.loads(log.read_text()) == expected


@pytest.mark.usefixtures("library")
def test_open_and_reveal_on_windows(
    soundsearch: Run, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desktop, "_system", lambda: "win32")
    opened: list[Path] = []
    monkeypatch.setattr("os.startfile", opened.append, raising=False)
    log = made("explorer", code=1)
    path = first_hit(soundsearch)["path"]
    soundsearch("query", WORD, "--open", 1, "--reveal", 1)
    assert opened == [Path(str(path))]
    assert json.loads(log.read_text()) == ["/select,", path]


@pytest.mark.usefixtures("library", "made")
@pytest.mark.parametrize("option", ["--open", "--reveal"])
def test_no_program_is_one_line_that_names_it(soundsearch: Run, option: str) -> None:
    result = soundsearch("query", WORD, option, 1, code=1)
    assert result.stderr.count("\n") == 1
    assert option in result.stderr and "xdg-open" in result.stderr


# ---- numbers and files that are not there


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("option", ["--play", "--open", "--reveal"])
def test_a_number_beyond_the_hits_is_one_line(soundsearch: Run, made: Made, option: str) -> None:
    logs = [made(name) for name in ("ffplay", "xdg-open", "dbus-send")]
    result = soundsearch("query", WORD, option, 3, code=1)
    assert result.stdout == soundsearch("query", WORD).stdout
    assert result.stderr.count("\n") == 1 and f"{option} 3" in result.stderr
    assert "2 hits" in result.stderr
    for number in ("0", "-1", "x"):
        assert option in soundsearch("query", WORD, f"{option}={number}", code=2).stderr
    assert "1 hit;" in soundsearch("query", WORD, "-k", 1, option, 2, code=1).stderr
    nothing = soundsearch("query", "saxophone", "--by", "words", option, 1, code=1)
    assert option in nothing.stderr.splitlines()[-1]
    assert not any(log.exists() for log in logs)


@pytest.mark.parametrize("option", ["--play", "--open", "--reveal"])
def test_a_hit_that_is_not_there_now_is_one_line(
    soundsearch: Run, library: Path, made: Made, option: str
) -> None:
    logs = [made(name) for name in ("ffplay", "xdg-open", "dbus-send")]
    gone = next(library.glob(f"-{WORD}*"))
    gone.unlink()
    result = soundsearch("query", WORD, option, 1, code=1)
    assert result.stderr.count("\n") == 1 and str(gone) in result.stderr
    assert not any(log.exists() for log in logs)


@pytest.mark.usefixtures("library")
def test_files_are_written_before_a_hit_is_played(
    soundsearch: Run, made: Made, tmp_path: Path
) -> None:
    made("ffplay", f"assert pathlib.Path({str(tmp_path / 'a.csv')!r}).exists()")
    soundsearch("query", WORD, "--play", 1, "--csv", "a.csv")


@pytest.mark.usefixtures("library")
def test_a_program_that_cannot_be_started_is_one_line(
    soundsearch: Run, made: Made, tmp_path: Path
) -> None:
    made("ffplay")
    (tmp_path / "programs" / "ffplay").write_text("#!/nowhere/at/all\n")
    result = soundsearch("query", WORD, "--play", 1, code=1)
    assert result.stderr.count("\n") == 1 and "ffplay" in result.stderr
