"""--plus, --minus, several files, --from and --to: what their values mean, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.cli.compound_options import CompoundOptions, seconds_of
from soundsearch.render import timestamp
from soundsearch.search.question import MINUS_STRENGTH
from tests import program
from tests.conftest import Run
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ, WORDS


@pytest.fixture
def library(tmp_path: Path, soundsearch: Run) -> Path:
    """A tone of each word, and a mixture of hum and hiss, indexed."""
    folder = tmp_path / "library"
    for i, hz in enumerate(BAND_HZ):
        write(folder / f"{i}.wav", tone(hz))
    write(folder / "both.wav", tone(BAND_HZ[1], level=0.3) + tone(BAND_HZ[7], level=0.05))
    soundsearch("index", folder)
    return folder


HUM, HISS = f"{WORDS.index('hum')}.wav", f"{WORDS.index('hiss')}.wav"


def names(text: str) -> list[str]:
    return [Path(line).name for line in text.splitlines()]


@pytest.mark.usefixtures("library")
def test_a_text_with_an_example_and_without_another(soundsearch: Run) -> None:
    plain = names(soundsearch("query", "hum", "--paths").stdout)
    assert plain[:2] == [HUM, "both.wav"]
    for what in ("hiss", f"library/{HISS}"):
        found = names(soundsearch("query", "hum", "--plus", what, "--paths").stdout)
        assert found[0] == "both.wav" and (HISS in found) == (what != f"library/{HISS}")
        found = names(soundsearch("query", "hum", "--minus", f"3:{what}", "--paths").stdout)
        assert found[0] == HUM and found.index("both.wav") > 1
    for option in ("--plus", "--minus"):
        found = names(soundsearch("query", "hum", option, "0.01:hiss", "--paths").stdout)
        assert found[:2] == plain[:2]


@pytest.mark.usefixtures("library")
def test_several_examples(soundsearch: Run) -> None:
    files = [f"library/{HUM}", f"library/{HISS}"]
    found = names(soundsearch("similar", *files, "-k", 20, "--paths").stdout)
    assert found[0] == "both.wav" and len(found) == 7 and not {HUM, HISS} & set(found)
    with_text = soundsearch("similar", files[0], "--plus", "hiss", "--minus", "beep", "--paths")
    assert names(with_text.stdout)[0] == "both.wav"


def test_one_example_of_several_from_standard_input(library: Path) -> None:
    content = (library / HISS).read_bytes()
    command = ["similar", f"library/{HUM}", "-", "--json"]
    result = program.soundsearch(*command, input=content)
    facts = json.loads(result.stdout)
    assert facts["hits"][0]["path"].endswith("both.wav")
    assert [part["audio"] for part in facts["query"]["plus"]] == [str(library / HUM), "-"]
    twice = program.soundsearch("similar", "-", "-", input=content)
    assert twice.returncode == 2 and b"twice" in twice.stderr


@pytest.mark.usefixtures("library")
def test_a_minus_in_the_text_is_named_in_one_line() -> None:
    plain = program.soundsearch("query", "hum", "--minus", "hiss", "--paths")
    said = program.soundsearch("query", "hum without hiss", "--paths")
    assert said.stdout == plain.stdout and plain.stderr == b""
    assert said.stderr.startswith(b"note: 'without hiss' ") and said.stderr.count(b"\n") == 1
    kept = program.soundsearch("query", "hum", "--plus", "without hiss", "--paths")
    assert kept.stdout != plain.stdout and kept.stderr == b""
    assert program.soundsearch("query", "no man's hum").stderr == b""


def test_the_json_carries_the_parts(soundsearch: Run, library: Path) -> None:
    path = library / HISS
    result = soundsearch(
        *("query", "hum without rumble", "--minus", "0.5:beep", "--plus", f"2:{path}", "--json")
    )
    assert json.loads(result.stdout)["query"] == {
        "text": "hum without rumble",
        "by": "both",
        "truncated": False,
        "plus": [
            {"weight": 1.0, "text": "hum"},
            {"weight": 2.0, "audio": str(path), "start_s": 0.0, "end_s": None},
        ],
        "minus": [{"weight": 1.0, "text": "rumble"}, {"weight": 0.5, "text": "beep"}],
        "filters": [],
        "unknown": [],
        "did_you_mean": {},
    }
    result = soundsearch("similar", path, "--from", "0:00.25", "--to", 0.75, "--json")
    (part,) = json.loads(result.stdout)["query"]["plus"]
    assert part == {"weight": 1.0, "audio": str(path), "start_s": 0.25, "end_s": 0.75}


# ---- what a value means


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ("rain", "rain"),
        ("2:rain", (2.0, "rain")),
        ("0.5:take.wav", (0.5, Path("take.wav"))),
        ("take.wav", Path("take.wav")),  # there is none, and it is no text
        ("TAKE.AIFF", Path("TAKE.AIFF")),
        ("named", Path("named")),
        ("2:named", (2.0, Path("named"))),
        ("3:there", Path("3:there")),
        ("folder", "folder"),
        ("door: metal", "door: metal"),
        ("a door: metal", "a door: metal"),
        (": x", ": x"),
        ("14:33", (14.0, "33")),
        ("1e1:rain", (10.0, "rain")),
        ("2:3:rain", (2.0, "3:rain")),
    ],
)
def test_a_value_is_a_text_or_a_file_with_a_weight(
    tmp_path: Path, value: str, meaning: object
) -> None:
    for name in ("named", "3:there"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    options = CompoundOptions(plus=[value], minus=[value])
    assert options.arguments == {"plus": [meaning], "minus": [meaning]}


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "-inf", "1e999", "two", "2x", "0x2"])
@pytest.mark.parametrize("option", ["--plus", "--minus"])
def test_what_is_no_weight_is_a_usage_error(soundsearch: Run, option: str, weight: str) -> None:
    result = soundsearch("query", "hum", f"{option}={weight}:rain", code=2)
    assert result.stdout == ""
    assert f"{option} {weight}:rain" in result.stderr and "above 0" in result.stderr


@pytest.mark.usefixtures("library")
def test_what_cannot_be_asked(soundsearch: Run) -> None:
    for command in ("query", "similar"):
        result = soundsearch(command, "--minus", "rain", code=2)
        assert result.stdout == "" and ("TEXT" in result.stderr or "file" in result.stderr)
    assert "standard input" in soundsearch("query", "hum", "--plus", "-", code=2).stderr
    for command, said in (
        (["query", "hum", "--plus", "none.wav"], "none.wav: no such file"),
        (["query", "hum", "--minus", "2:none.flac"], "none.flac: no such file"),
        (["query", "hum", "--minus", " "], "minus[0] is empty"),
        (["query", "without rain"], "'without rain' says only what not to find"),
        (["query", "hum", "--minus", f"{1 / MINUS_STRENGTH}:hum"], "cancel"),
    ):
        result = soundsearch(*command, code=1)
        assert result.stdout == "" and result.stderr.startswith("error: ")
        assert said in result.stderr and result.stderr.count("\n") == 1


# ---- passages


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("0", 0), ("90", 90), ("1.5", 1.5), ("14:33", 873), ("0:03.5", 3.5), ("1:02:03", 3723),
     ("100:00", 6000), ("007", 7)],
)  # fmt: skip
def test_times(time: str, seconds: float) -> None:
    assert seconds_of(time) == seconds


@given(st.floats(0, 1e6))
def test_a_time_as_it_is_printed_can_be_typed(seconds: float) -> None:
    assert seconds_of(timestamp(seconds)) == pytest.approx(seconds, abs=0.051)


@pytest.mark.parametrize(
    "time",
    ["", "x", "-1", "1:60", "1:60:00", "1:2:3:4", ":5", "5:", "1e3", "nan", "inf", "1,5", "٣"],
)
def test_what_is_no_time(time: str) -> None:
    with pytest.raises(typer.BadParameter, match="no time, expected s, m:ss or h:mm:ss"):
        seconds_of(time)


def test_a_passage_of_the_example(soundsearch: Run, library: Path) -> None:
    parts = [tone(BAND_HZ[1], 70.0), tone(BAND_HZ[7], 0.5), tone(BAND_HZ[3], 1.0)]
    path = write(library.parent / "long.wav", np.concatenate(parts))
    options = ["-k", 1, "--paths"]
    assert names(soundsearch("similar", path, *options).stdout) == [HUM]
    found = soundsearch("similar", path, "--from", "1:10", "--to", "1:10.5", *options)
    assert (names(found.stdout), found.stderr) == ([HISS], "")
    assert names(soundsearch("similar", path, "--from", "70.6", *options).stdout) == ["3.wav"]
    assert names(soundsearch("similar", path, "--to", "1:00", *options).stdout) == [HUM]

    result = soundsearch("similar", path, "--from", "14:33", "--to", "14:36", code=1)
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert result.stderr == f"error: {path}: it ends at 71.5 s, before the passage\n"


@pytest.mark.usefixtures("library")
def test_passages_that_are_usage_errors(soundsearch: Run) -> None:
    file = f"library/{HUM}"
    for options, said in (
        ([file, "--from", "5", "--to", "3"], "--from"),
        ([file, "--from", "5", "--to", "5"], "--from"),
        ([file, "--to", "0"], "--to"),
        ([file, "--from", "soon"], "'soon' is no time"),
        ([file, f"library/{HISS}", "--from", "1"], "one FILE"),
    ):
        result = soundsearch("similar", *options, code=2)
        assert result.stdout == "" and said in result.stderr
