from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from soundsearch import open_index
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.runtime import load_onnxruntime
from soundsearch.vocabulary import load_vocabulary
from tests import program
from tests.calibrated import calibrate
from tests.conftest import Run
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ, WORDS


@pytest.fixture
def library(tmp_path: Path, soundsearch: Run) -> Path:
    """One second of each of the eight words' bands, in low/ and high/, indexed."""
    folder = tmp_path / "library"
    for i, (word, hz) in enumerate(zip(WORDS, BAND_HZ, strict=True)):
        write(folder / ("low" if i < 4 else "high") / f"{word}.wav", tone(hz))
    soundsearch("index", folder)
    return folder


def asked(text: str, *, truncated: bool = False) -> dict[str, Any]:
    """A question in words as JSON has it."""
    plus = [{"weight": 1.0, "text": text}]
    facts = {"text": text, "by": "both", "plus": plus, "minus": [], "truncated": truncated}
    return {**facts, "filters": [], "unknown": [], "did_you_mean": {}}


def names(text: str) -> list[str]:
    return [Path(line).name for line in text.splitlines()]


# ---- query


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("word", WORDS)
def test_each_word_finds_its_band_first(soundsearch: Run, word: str) -> None:
    result = soundsearch("query", word, "-k", 1)
    rank, score, span, path, found_by = result.stdout.split()
    assert found_by == f"[{word}]"
    assert (rank, span, Path(path).stem) == ("1", "0:00.0-0:01.0", word)
    assert 0.9 < float(score) <= 1
    assert result.stderr == ""


@pytest.mark.usefixtures("library")
def test_all_hits_best_first_with_paths_as_seen_from_here(soundsearch: Run) -> None:
    lines = soundsearch("query", "hiss").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [str(rank) for rank in range(1, 9)]
    scores = [float(line.split()[1]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert {line.split()[3] for line in lines} == {
        f"library/{'low' if i < 4 else 'high'}/{word}.wav" for i, word in enumerate(WORDS)
    }


@pytest.mark.usefixtures("library")
def test_words_need_no_quotes(soundsearch: Run) -> None:
    assert soundsearch("query", "hum", "hiss").stdout == soundsearch("query", "hum hiss").stdout


@pytest.mark.usefixtures("library")
def test_a_dash_reads_the_words_from_stdin(soundsearch: Run) -> None:
    result = soundsearch("query", "-", "-k", 1, "--json", stdin="squeak\n")
    facts = json.loads(result.stdout)
    assert facts["query"] == asked("squeak")
    assert facts["hits"][0]["path"].endswith("squeak.wav")


def test_the_json_of_a_query(soundsearch: Run, library: Path, tiny: EncoderBundle) -> None:
    result = soundsearch("query", "beep", "-k", 1, "--json")
    facts = json.loads(result.stdout)
    (hit,) = facts.pop("hits")
    assert facts == {
        "schema": 1,
        "query": asked("beep"),
        "encoder": {
            "name": "tiny",
            "version": "1",
            "fingerprint": tiny.fingerprint,
            "dim": 8,
        },
    }
    (passage,) = hit.pop("passages")
    assert passage.pop("score") == passage.pop("cosine") == hit["score"]
    assert passage == {"start_s": 0.0, "end_s": 1.0, "relevance": None}
    assert hit.pop("why") == f'sound {hit["score"]:.2f}, words: "beep"'
    assert 0.9 < hit.pop("score") == hit.pop("cosine") <= 1
    with open_index() as index:
        recording_id = index.show(library / "high" / "beep.wav").recording.recording_id
    assert hit == {
        "relevance": None,
        "rank": 1,
        "recording_id": recording_id,
        "path": str(library / "high" / "beep.wav"),
        "start_s": 0.0,
        "end_s": 1.0,
        "duration_s": 1.0,
        "is_present": True,
        "words": ["beep"],
        "n_more_passages": 0,
        "copies": [],
    }
    assert result.stderr == ""


@pytest.mark.usefixtures("library")
def test_a_search_by_words_or_by_sound_alone(soundsearch: Run) -> None:
    assert names(soundsearch("query", "hum", "--by", "words", "--paths").stdout) == ["hum.wav"]
    by_sound = soundsearch("query", "hum", "--by", "sound").stdout.splitlines()
    assert len(by_sound) == 8 and not any("[" in line for line in by_sound)
    result = soundsearch("query", "saxophone", "--by", "words")
    assert result.stdout == "" and "--by" in result.stderr and result.stderr.count("\n") == 1
    assert "colour" in soundsearch("query", "hum", "--by", "colour", code=2).stderr


@pytest.mark.usefixtures("library")
def test_the_number_of_hits(soundsearch: Run) -> None:
    for option in (["-k", 3], ["--top-k", 3]):
        assert len(soundsearch("query", "hum", *option).stdout.splitlines()) == 3
    assert len(soundsearch("query", "hum", "-k", 10_000).stdout.splitlines()) == 8


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("k", ["0", "-1", "many", "1.5"])
@pytest.mark.parametrize("command", ["query", "similar", "describe"])
def test_an_impossible_number_of_hits_is_a_usage_error(
    soundsearch: Run, command: str, k: str
) -> None:
    result = soundsearch(command, "library/low/hum.wav", "-k", k, code=2)
    assert result.stdout == ""
    assert "-k" in result.stderr


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("text", [" ", "   ", "\n\t"])
def test_an_empty_query_is_one_error(soundsearch: Run, text: str) -> None:
    expected = "error: the query is empty; say in words what you want to hear\n"
    for result in (
        soundsearch("query", text, code=1),
        soundsearch("query", "-", code=1, stdin=text),
    ):
        assert (result.stdout, result.stderr) == ("", expected)


@pytest.mark.usefixtures("library")
def test_a_word_the_encoder_never_heard_is_no_error(soundsearch: Run) -> None:
    assert len(soundsearch("query", "дождь 雨 🌧").stdout.splitlines()) == 8


@pytest.mark.usefixtures("library")
def test_text_that_is_no_utf8_is_no_bug() -> None:
    for result in (
        program.soundsearch("query", "-", input=b"hiss \xff"),
        program.soundsearch("query", os.fsdecode(b"hiss \xff")),
    ):
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[0].endswith(b"hiss.wav  [hiss]")


@pytest.mark.usefixtures("library")
def test_min_score(soundsearch: Run) -> None:
    assert names(soundsearch("query", "hum", "--min-score", 0.5, "--paths").stdout) == ["hum.wav"]
    result = soundsearch("query", "hum", "--min-score", 1, "--in", "library/high")
    assert result.stdout == ""
    assert result.stderr == (
        "no recording fits; try other words, a lower --min-score or a wider --in\n"
    )


@pytest.mark.parametrize("command", ["query", "similar"])
@pytest.mark.parametrize("score", ["nan", "inf", "-inf", "1e999", "2", "-1.1"])
def test_what_is_no_score_is_a_usage_error(soundsearch: Run, command: str, score: str) -> None:
    result = soundsearch(command, "hum", f"--min-score={score}", code=2)
    assert result.stdout == ""
    assert f"{float(score)} is no score, expected a number from -1 to 1" in result.stderr


# ---- texts that begin with a dash, are long, or are no text


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("command", [["query"], ["similar"], ["describe", "--model", "tiny"]])
def test_what_begins_with_a_dash_comes_after_two(
    soundsearch: Run, tmp_path: Path, command: list[str]
) -> None:
    write(tmp_path / "-5 dB.wav", tone(100))
    result = soundsearch(*command, "-5 dB.wav", code=2)
    assert result.stdout == ""
    assert "-5" in result.stderr and "comes last, after --" in result.stderr
    assert soundsearch(*command, "-k", 1, "--", "-5 dB.wav").stdout.count("\n") == 1


def test_the_hint_at_two_dashes_is_for_commands_that_take_something(soundsearch: Run) -> None:
    result = soundsearch("status", "-5", code=2)
    assert "No such option: -5" in result.stderr and "after --" not in result.stderr


@pytest.mark.usefixtures("library")
def test_a_text_longer_than_the_encoder_reads_is_named() -> None:
    long = "hum " * 17
    result = program.soundsearch("query", long, "-k", 1, "--json")
    assert json.loads(result.stdout)["query"] == asked(long, truncated=True)
    assert result.stderr.startswith(b"note: the query is longer than the 16 tokens that encoder ")
    assert result.stderr.count(b"\n") == 1
    assert program.soundsearch("query", "hum " * 16, "-k", 1).stderr == b""


@pytest.mark.usefixtures("tiny")
def test_captions_longer_than_the_encoder_reads_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(100))
    lines = ["hum " * 17, "hiss", "rumble " * 40]
    (tmp_path / "captions.txt").write_text("\n".join(lines))
    command = ["describe", "a.wav", "--captions", "captions.txt", "--model", "tiny", "--json"]
    result = program.soundsearch(*command)
    assert result.stderr.startswith(b"note: 2 of 3 texts are longer than the 16 tokens")
    labels = json.loads(result.stdout)["labels"]
    assert {label["text"]: label["truncated"] for label in labels} == {
        line.strip(): line != "hiss" for line in lines
    }


@pytest.mark.usefixtures("library")
def test_endless_input_is_refused() -> None:
    with open("/dev/zero", "rb") as endless:
        result = program.soundsearch("query", "-", stdin=endless)
    assert result.returncode == 1
    assert result.stderr.startswith(b"error: standard input is longer than 1,000,000 bytes")
    assert program.soundsearch("query", "-", "-k", 1, input=b"hum " * 250_000).returncode == 0


# ---- the encoder of the index


def test_model_must_be_the_encoder_of_the_index(
    soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    query = library / "low" / "hum.wav"
    for command in (["query", "hum"], ["similar", query]):
        plain = soundsearch(*command).stdout
        assert soundsearch(*command, "--model", "tiny").stdout == plain
        result = soundsearch(*command, "--model", "starter", code=1)
        assert result.stdout == "" and result.stderr.count("\n") == 1
        for fact in ("built with tiny 1", "you asked for starter", "leave out --model"):
            assert fact in result.stderr
        assert (
            "no encoder named 'larger'" in soundsearch(*command, "--model", "larger", code=1).stderr
        )


def test_model_stands_in_for_a_lost_copy(soundsearch: Run, library: Path, tmp_path: Path) -> None:
    (tmp_path / "models" / "tiny").rename(tmp_path / "elsewhere")
    (tmp_path / "index" / "encoder" / "text.onnx").unlink()
    assert "not at hand" in soundsearch("query", "hum", code=1).stderr
    result = soundsearch("query", "hum", "-k", 1, "--paths", "--model", tmp_path / "elsewhere")
    assert names(result.stdout) == ["hum.wav"]


# ---- relevance

NOTE = "nothing fits well, no score reaches 0.5; the nearest are shown\n"


def test_a_calibrated_encoder_says_when_nothing_fits_well(
    soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    calibrate(EncoderBundle.read(tmp_path / "index" / "encoder"))
    result = soundsearch("query", "hum", "--json")
    hits = json.loads(result.stdout)["hits"]
    assert [hit["score"] for hit in hits] == [hit["relevance"] for hit in hits]
    assert hits[0]["score"] > 0.5 > hits[1]["score"]
    assert hits[0]["cosine"] > 0.9
    assert result.stderr == ""
    assert soundsearch("query", "hum", "-k", 1).stdout.split()[1] == f"{hits[0]['score']:.3f}"
    assert names(soundsearch("query", "hum", "--min-score", 0.5, "--paths").stdout) == ["hum.wav"]

    result = soundsearch("query", "hum", "--in", library / "high", "--paths")
    assert len(names(result.stdout)) == 4 and result.stderr == NOTE
    result = soundsearch("query", "hum", "--in", library / "high", "--min-score", 0.5)
    assert result.stdout == "" and result.stderr.startswith("no recording fits; ")

    write(tmp_path / "mine.wav", tone(BAND_HZ[1]))
    assert soundsearch("similar", "mine.wav").stderr == ""
    assert soundsearch("similar", "mine.wav", "--in", library / "high").stderr == NOTE


def test_a_note_stands_above_the_hits_that_it_warns_of(
    soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    calibrate(EncoderBundle.read(tmp_path / "index" / "encoder"))
    command = ["query", "hum", "--in", library / "high"]
    result = program.soundsearch(*command, stderr=subprocess.STDOUT)
    first, *hits = result.stdout.decode().splitlines(keepends=True)
    assert first == NOTE and len(hits) == 4


def test_paths_are_shown_whole_from_the_top_of_the_tree(
    soundsearch: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert soundsearch("query", "hum", "-k", 1).stdout.endswith(f" {library}/low/hum.wav  [hum]\n")


# ---- lines on a terminal, and passages


def on_terminal(*arguments: object, columns: int = 60, **variables: str) -> list[str]:
    """Run a command whose standard output is a terminal of so many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    dropped = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM")
    environment = {k: v for k, v in program.environment().items() if k not in dropped}
    with open(master, "rb", closefd=True, buffering=0) as output:
        done = program.soundsearch(
            *arguments, stdout=slave, env={**environment, "TERM": "xterm", **variables}
        )
        os.close(slave)
        assert done.returncode == 0, done.stderr
        return output.read(100_000).decode().splitlines()


@pytest.mark.usefixtures("library")
def test_on_a_terminal_lines_fit_and_have_colours(tmp_path: Path) -> None:
    (tmp_path / "library/high/hiss.wav").rename(tmp_path / "library/high/雨 and a hiss, long.wav")
    program.soundsearch("index", "library", check=True)
    command = ("query", "hiss", "-k", 2)
    first, second = on_terminal(*command)
    assert "\x1b[" in first and "\x1b[" in second
    plain = re.sub(r"\x1b\[[0-9;]*m", "", first)
    assert cell_len(plain) <= 60
    assert plain.index("雨") < plain.index("long.wav") < plain.index('words: "hi')
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}):
        assert on_terminal(*command, **variables)[0] == plain
    assert cell_len(on_terminal(*command, columns=45, NO_COLOR="1")[0]) <= 45
    unknown = on_terminal(*command, columns=0, NO_COLOR="1")[0]
    assert 60 < cell_len(unknown) <= 80 and "雨 and a hiss, long.wav" in unknown


@pytest.mark.usefixtures("library")
def test_in_a_pipe_there_are_no_colours_unless_they_are_forced() -> None:
    command = ("query", "hiss", "-k", 1)
    plain = program.soundsearch(*command, check=True).stdout
    assert plain.endswith(b"  library/high/hiss.wav  [hiss]\n") and b"\x1b" not in plain
    forced = {**program.environment(), "FORCE_COLOR": "1"}
    coloured = program.soundsearch(*command, check=True, env=forced).stdout
    assert b"\x1b[36m" in coloured and re.sub(rb"\x1b\[[0-9;]*m", b"", coloured) == plain
    no = {**forced, "NO_COLOR": "1"}
    assert program.soundsearch(*command, check=True, env=no).stdout == plain


@pytest.fixture
def dogs(tmp_path: Path, soundsearch: Run) -> Path:
    """A recording with four such sounds among others, indexed."""
    hum, hiss = tone(BAND_HZ[1], 2.0), tone(BAND_HZ[7], 6.0)
    path = write(tmp_path / "field" / "long.wav", np.concatenate([hiss, hum] * 4 + [hiss]))
    soundsearch("index", path.parent)
    return path


@pytest.mark.usefixtures("dogs")
@pytest.mark.parametrize("ask", [["query", "hum"], ["similar", "hum.wav"]])
def test_passages_of_a_recording(soundsearch: Run, tmp_path: Path, ask: list[str]) -> None:
    write(tmp_path / "hum.wav", tone(BAND_HZ[1]))
    first, *below, more = soundsearch(*ask).stdout.splitlines()
    assert first.split()[3] == "field/long.wav"
    assert len(below) == 2 and more == "   +1 more passage"
    assert len(soundsearch(*ask, "--passages", 4).stdout.splitlines()) == 4
    assert soundsearch(*ask, "--passages", 0).stdout == f"{first}\n"
    for n, n_more in ((0, 0), (1, 3), (3, 1), (9, 0)):
        (hit,) = json.loads(soundsearch(*ask, "--passages", n, "--json").stdout)["hits"]
        assert (len(hit["passages"]), hit["n_more_passages"]) == (min(n, 4), n_more)
        starts = [passage["start_s"] for passage in hit["passages"]]
        assert starts == sorted(starts)
    assert [round(start) // 8 for start in starts] == [0, 1, 2, 3]
    assert "--passages" in soundsearch(*ask, "--passages", -1, code=2).stderr


def test_root(soundsearch: Run, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    high = {f"{word}.wav" for word in WORDS[4:]}
    assert set(names(soundsearch("query", "hum", "--in", library / "high", "--paths").stdout)) == (
        high
    )
    monkeypatch.chdir(library)
    assert set(names(soundsearch("query", "hum", "--in", "high", "--paths").stdout)) == high
    assert len(soundsearch("query", "hum", "--in", ".").stdout.splitlines()) == 8
    assert len(soundsearch("query", "hum", "--in", library.parent).stdout.splitlines()) == 8
    assert names(soundsearch("query", "hum", "--in", "low/drone.wav", "--paths").stdout) == [
        "drone.wav"
    ]


def test_several_folders(soundsearch: Run, library: Path) -> None:
    for folders, n in ((["low", "high"], 8), (["low", "low/hum.wav"], 4), (["high"], 4)):
        options = [part for folder in folders for part in ("--in", library / folder)]
        result = soundsearch("query", "hum", *options, "--paths")
        assert len(set(names(result.stdout))) == len(result.stdout.splitlines()) == n
        by_example = soundsearch("similar", library / "high" / "hiss.wav", *options, "--paths")
        assert len(names(by_example.stdout)) == n - ("high" in folders)


@pytest.mark.parametrize("command", [["query", "hum"], ["similar", "library/low/hum.wav"]])
def test_a_folder_that_is_not_indexed_is_an_error(
    soundsearch: Run, library: Path, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "beside").mkdir()
    for folder in ("nowhere", "library/hi", "beside", tmp_path / "library2"):
        result = soundsearch(*command, "--in", library, "--in", folder, code=1)
        assert result.stdout == ""
        assert result.stderr.startswith("error: ") and str(library) in result.stderr
        assert result.stderr.count("\n") == 1
        assert repr(str(folder)) in result.stderr


def test_the_option_root_is_gone(soundsearch: Run, library: Path) -> None:
    assert "--root" in soundsearch("query", "hum", "--root", library, code=2).stderr


def test_a_folder_in_which_nothing_is_indexed_yet_has_no_hits(
    soundsearch: Run, library: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (library / "new").mkdir()
    result = soundsearch("query", "hum", "--in", library / "new", "--json")
    assert json.loads(result.stdout)["hits"] == []
    assert f"nothing is indexed now in {library / 'new'}" in caplog.text


# ---- files that are not there now


def test_hits_that_are_not_there_are_marked_and_left_out_of_paths(
    soundsearch: Run, library: Path
) -> None:
    (library / "low" / "hum.wav").unlink()
    lines = soundsearch("query", "hum").stdout.splitlines()
    assert [line for line in lines if "not there" in line] == [lines[0]]
    assert lines[0].endswith("library/low/hum.wav  [hum] (not there now)")
    hits = json.loads(soundsearch("query", "hum", "--json").stdout)["hits"]
    assert [hit["is_present"] for hit in hits] == [False, *[True] * 7]
    for option, end in (("--paths", "\n"), ("--null", "\0")):
        result = soundsearch("query", "hum", option)
        assert result.stdout.count(end) == 7 and "hum.wav" not in result.stdout
        assert result.stderr == "left out, not there now: 1\n"


def test_a_root_that_is_not_there_is_still_searched_and_may_be_named(
    soundsearch: Run, library: Path
) -> None:
    library.rename(library.with_name("unplugged"))
    for folder in (library, library / "high", library / "high" / "hiss.wav"):
        lines = soundsearch("query", "hum", "--in", folder).stdout.splitlines()
        assert lines and all(line.endswith(" (not there now)") for line in lines)
    result = soundsearch("query", "hum", "--paths")
    assert (result.stdout, result.stderr) == ("", "left out, not there now: 8\n")


def test_the_json_without_hits_is_still_json(soundsearch: Run, library: Path) -> None:
    result = soundsearch("query", "hum", "--min-score", 1, "--json")
    assert json.loads(result.stdout)["hits"] == []
    assert "no recording fits" in result.stderr


def test_an_empty_index_says_what_to_do(soundsearch: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    soundsearch("index", tmp_path / "empty")
    result = soundsearch("query", "hum")
    assert result.stdout == ""
    assert result.stderr == "nothing is indexed yet; add a folder with: soundsearch index FOLDER\n"


@pytest.mark.parametrize("command", [["query", "hum"], ["similar", "x.wav"]])
def test_without_an_index_it_says_how_to_make_one(
    soundsearch: Run, tmp_path: Path, command: list[str]
) -> None:
    result = soundsearch(*command, code=1)
    assert result.stderr == (
        f"error: no index at {tmp_path}/index; make one with: soundsearch index FOLDER\n"
    )
    assert not (tmp_path / "index").exists()


@pytest.mark.usefixtures("library")
def test_index_option_and_environment(
    soundsearch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index").rename(tmp_path / "other")
    assert soundsearch("query", "hum", "--index", "other", "-k", 1).stdout
    soundsearch("query", "hum", code=1)
    monkeypatch.setenv("SOUNDSEARCH_INDEX", str(tmp_path / "other"))
    assert soundsearch("query", "hum", "-k", 1).stdout
    assert soundsearch("query", "hum", "--index", tmp_path / "index", code=1).stdout == ""


# ---- paths for pipes


@pytest.fixture
def odd_names(tmp_path: Path, soundsearch: Run) -> list[Path]:
    """Names with a newline, bytes that are no UTF-8, blanks, quotes; indexed in this order."""
    raw = [b"two\nlines.wav", b"latin-\xe9.wav", b" blank \"quote' .wav", "雨 ä.wav".encode()]
    paths = sorted(tmp_path / "library" / os.fsdecode(name) for name in raw)
    for i, path in enumerate(paths):  # alike, so that they stand in the order of indexing
        sound = tone(3200)
        sound[0] = i / 2**15  # and no copies
        write(tmp_path / "aside.wav", sound)
        path.parent.mkdir(exist_ok=True)
        (tmp_path / "aside.wav").rename(path)
    soundsearch("index", tmp_path / "library", "-j", 1)
    return paths


def test_paths_are_byte_for_byte(soundsearch: Run, odd_names: list[Path]) -> None:
    result = soundsearch("query", "hiss", "--paths")
    assert result.stdout_bytes == b"".join(os.fsencode(path) + b"\n" for path in odd_names)
    assert result.stderr == ""


@pytest.mark.parametrize("option", ["--null", "-0"])
def test_null_ends_each_path_with_a_zero_byte(
    soundsearch: Run, odd_names: list[Path], option: str
) -> None:
    result = soundsearch("query", "hiss", option)
    assert result.stdout_bytes == b"".join(os.fsencode(path) + b"\0" for path in odd_names)


def test_xargs_opens_every_path(odd_names: list[Path]) -> None:
    command = f"{sys.executable} -m soundsearch query hiss -0 | xargs -0 cat | wc -c"
    result = subprocess.run(
        command, shell=True, capture_output=True, env=program.environment(), check=True
    )
    assert int(result.stdout) == sum(path.stat().st_size for path in odd_names)
    assert result.stderr == b""


@pytest.mark.usefixtures("odd_names")
def test_lines_for_people_hold_no_control_characters(soundsearch: Run) -> None:
    lines = soundsearch("query", "hiss").stdout.splitlines()
    assert [line.split("  ")[-1] for line in lines] == [
        "library/ blank \"quote' .wav",
        "library/latin-\\udce9.wav",
        "library/two\\nlines.wav",
        "library/雨 ä.wav",
    ]


def test_json_holds_any_path(soundsearch: Run, odd_names: list[Path]) -> None:
    result = soundsearch("query", "hiss", "--json")
    assert result.stdout.isascii()
    assert [Path(hit["path"]) for hit in json.loads(result.stdout)["hits"]] == odd_names


@pytest.mark.usefixtures("library")
def test_no_hits_are_no_bytes(soundsearch: Run) -> None:
    assert soundsearch("query", "hum", "--min-score", 1, "--null").stdout_bytes == b""


# ---- pipes that close early


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("options", ["", "--json", "--paths", "--null"])
def test_a_pipe_that_closes_early_is_quiet(options: str) -> None:
    command = f"{sys.executable} -m soundsearch query hum {options} | head -c 1"
    result = subprocess.run(
        command, shell=True, capture_output=True, env=program.environment(), check=False
    )
    assert len(result.stdout) == 1
    assert result.stderr == b""
    closed = subprocess.run(
        f"{sys.executable} -m soundsearch query hum {options} | true",
        shell=True,
        capture_output=True,
        env=program.environment(),
        check=False,
    )
    assert closed.stderr == b""


# ---- similar


def test_similar_to_an_indexed_recording_leaves_itself_out(soundsearch: Run, library: Path) -> None:
    result = soundsearch("similar", library / "low" / "hum.wav", "--json")
    facts = json.loads(result.stdout)
    path = str(library / "low" / "hum.wav")
    whole = {"weight": 1.0, "audio": path, "start_s": 0.0, "end_s": None}
    assert facts["query"] == {"audio": path, "plus": [whole], "minus": [], "filters": []}
    assert set(facts) == {"schema", "query", "encoder", "hits"}
    assert len(facts["hits"]) == 7
    assert str(library / "low" / "hum.wav") not in {hit["path"] for hit in facts["hits"]}


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("command", [["similar"], ["describe", "--model", "tiny"]])
def test_a_question_heard_in_part_is_told_on_stderr(tmp_path: Path, command: list[str]) -> None:
    query = write(tmp_path / "query.wav", tone(BAND_HZ[7], 2.0))
    os.truncate(query, query.stat().st_size // 2)
    result = program.soundsearch(*command, query, "-k", 1, "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout)
    note = f"note: partly read {query}: only 1.0 s of 2.0 s could be decoded\n"
    assert result.stderr.decode() == note


@pytest.mark.usefixtures("library")
def test_similar_to_any_other_recording(soundsearch: Run, tmp_path: Path) -> None:
    write(tmp_path / "mine.wav", tone(3200, 3))
    result = soundsearch("similar", "mine.wav", "-k", 1, "--paths")
    assert names(result.stdout) == ["hiss.wav"]
    assert len(soundsearch("similar", "mine.wav").stdout.splitlines()) == 8


def test_similar_with_root_and_min_score(soundsearch: Run, library: Path) -> None:
    path = library / "low" / "hum.wav"
    low = names(soundsearch("similar", path, "--in", library / "low", "--paths").stdout)
    assert sorted(low) == ["drone.wav", "note.wav", "rumble.wav"]
    assert "no recording fits" in soundsearch("similar", path, "--min-score", 1).stderr
    assert soundsearch("similar", path, "-0").stdout_bytes.count(b"\0") == 7


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("command", ["similar", "describe"])
def test_a_recording_that_cannot_be_used_is_one_line(
    soundsearch: Run, tmp_path: Path, command: str
) -> None:
    (tmp_path / "text.wav").write_text("this is no sound")
    write(tmp_path / "silent.wav", tone(100, level=0))
    more = ["--model", "tiny"] if command == "describe" else []
    for name, reason in (
        ("nowhere.wav", "no such file"),
        ("library", "it is a folder, not a regular file"),
        ("text.wav", "neither libsndfile nor FFmpeg knows this format"),
        ("silent.wav", "it is silent from beginning to end"),
    ):
        result = soundsearch(command, name, *more, code=1)
        assert (result.stdout, result.stderr) == ("", f"error: {name}: {reason}\n")


# ---- a recording from standard input


@pytest.mark.usefixtures("library")
def test_a_dash_reads_the_recording_from_stdin(tmp_path: Path) -> None:
    content = write(tmp_path / "mine.wav", tone(3200, 3)).read_bytes()
    for command in (["similar"], ["describe", "--model", "tiny"]):
        named = program.soundsearch(*command, "mine.wav", "--json", "-k", 1)
        piped = program.soundsearch(*command, "-", "--json", "-k", 1, input=content)
        assert (piped.returncode, piped.stderr) == (0, b"")
        found, expected = json.loads(piped.stdout), json.loads(named.stdout)
        assert found.pop("query")["audio"] == "-"
        assert expected.pop("query")["audio"] == str(tmp_path / "mine.wav")
        assert found == expected


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("command", [["similar", "-"], ["describe", "-", "--model", "tiny"]])
def test_what_is_no_recording_on_stdin_is_one_line(tmp_path: Path, command: list[str]) -> None:
    whole = write(tmp_path / "mine.wav", tone(3200, 3)).read_bytes()
    for content, code, reason in (
        (b"", 1, b"error: standard input: the file is empty (0 bytes)\n"),
        (b"no sound at all", 1, b"error: standard input: neither libsndfile nor FFmpeg knows"),
        (whole[: len(whole) // 2], 0, b"note: partly read standard input: only "),
    ):
        result = program.soundsearch(*command, input=content)
        assert result.returncode == code
        assert result.stderr.startswith(reason) and result.stderr.count(b"\n") == 1


@pytest.mark.usefixtures("library")
def test_paths_that_lead_nowhere_are_one_line(soundsearch: Run, library: Path) -> None:
    (library / "loop").symlink_to("loop")
    for name in (library / "loop", library / ("x" * 300)):
        result = soundsearch("similar", name, code=1)
        assert result.stderr.startswith(f"error: {name}: it cannot be read (")
        result = soundsearch("query", "hum", "--in", name, code=1)
        assert result.stderr.startswith("error: ") and str(name) in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["similar", "-"], ["describe", "-", "--model", "tiny"]])
def test_a_terminal_is_no_recording(library: Path, command: list[str]) -> None:
    ours, theirs = pty.openpty()
    result = program.soundsearch(*command, stdin=theirs)
    os.close(ours)
    os.close(theirs)
    assert result.returncode == 2
    assert b"terminal" in result.stderr and result.stdout == b""


# ---- describe


@pytest.mark.usefixtures("library")
def test_describe_with_captions_of_ones_own(soundsearch: Run, tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("\n".join(WORDS) + "\n\n")
    result = soundsearch(
        "describe",
        "library/high/whine.wav",
        "--captions",
        "captions.txt",
        "--model",
        "tiny",
        "-k",
        2,
    )
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["1", "2"]
    assert result.stdout.splitlines()[0].split()[2:] == ["0:00.0-0:01.0", "whine"]
    assert result.stderr == ""


def test_describe_tells_where(soundsearch: Run, tmp_path: Path) -> None:
    write(tmp_path / "two.wav", np.concatenate([tone(100, 2), tone(3200, 2)]))
    (tmp_path / "captions.txt").write_text("hiss\nrumble\n")
    result = soundsearch(
        "describe", "two.wav", "--captions", "captions.txt", "--model", "tiny", "--json"
    )
    facts = json.loads(result.stdout)
    labels = {label["text"]: label for label in facts["labels"]}
    assert set(facts) == {"schema", "query", "encoder", "labels"}
    assert facts["schema"] == 1
    assert facts["query"] == {"audio": str(tmp_path / "two.wav")}
    assert set(facts["encoder"]) == {"name", "version", "fingerprint", "dim"}
    assert set(labels["hiss"]) == {
        "rank",
        "text",
        "start_s",
        "end_s",
        "score",
        "cosine",
        "relevance",
        "truncated",
    }
    assert labels["rumble"]["start_s"] < 1.5 <= labels["hiss"]["start_s"]


def test_describe_needs_no_index_and_has_words_of_its_own(soundsearch: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(100))
    result = soundsearch("describe", "a.wav", "--model", "tiny", "-k", 5, "--json")
    labels = json.loads(result.stdout)["labels"]
    assert len(labels) == 5
    assert {label["text"] for label in labels} <= set(load_vocabulary())
    assert not (tmp_path / "index").exists()


def test_describe_without_captions_in_the_file(soundsearch: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(100))
    (tmp_path / "none.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for name, reason in (
        ("none.txt", "the vocabulary has no lines"),
        ("nowhere.txt", "no such vocabulary file"),
        ("latin.txt", "is not UTF-8 text"),
    ):
        result = soundsearch("describe", "a.wav", "--model", "tiny", "--captions", name, code=1)
        assert result.stdout == ""
        assert result.stderr.startswith(f"error: {name}: ") and reason in result.stderr
        assert result.stderr.count("\n") == 1


def test_describe_with_an_unknown_encoder(soundsearch: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(100))
    result = soundsearch("describe", "a.wav", "--model", "larger", code=1)
    assert result.stderr.startswith("error: no encoder named 'larger'; there is: ")


# ---- devices


@pytest.mark.usefixtures("library")
def test_devices(soundsearch: Run) -> None:
    onnxruntime = load_onnxruntime()

    assert soundsearch("query", "hum", "--device", "cpu", "-k", 1).stdout
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        result = soundsearch("query", "hum", "--device", "cuda", code=1)
        assert result.stderr.startswith("error: --device cuda: this onnxruntime has no CUDA")
        assert result.stderr.count("\n") == 1
    assert "abacus" in soundsearch("query", "hum", "--device", "abacus", code=2).stderr
