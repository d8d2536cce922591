"""Filters on the command line, and what a question is told before its hits."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.search.filters import KEYS, parse_filters
from tests.conftest import ROOT, Run
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ

PAGE = (ROOT / "docs" / "how-to" / "ask.md").read_text(encoding="utf-8")


@pytest.fixture
def library(tmp_path: Path, soundsearch: Run) -> Path:
    """Real files of other lengths and formats, indexed."""
    folder = tmp_path / "Sounds"
    write(folder / "Doors" / "metal door.wav", tone(BAND_HZ[0], 1.0))
    write(folder / "Doors" / "metal doors.flac", tone(BAND_HZ[1], 2.0))
    write(folder / "Animals" / "dog.wav", tone(BAND_HZ[2], 4.0))
    soundsearch("index", folder)
    return folder


def names(text: str) -> list[str]:
    return [Path(line).name for line in text.splitlines()]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("duration:<3", {"metal door.wav", "metal doors.flac"}),
        ("format:wav -door", {"dog.wav"}),
        ("in:doors rate:8k channels:mono", {"metal door.wav", "metal doors.flac"}),
        ('"metal door"', {"metal door.wav"}),
        ("modified:>=2020 duration:4", {"dog.wav"}),
    ],
)
def test_filters_in_a_question_and_as_options_are_alike(
    soundsearch: Run, filters: str, expected: set[str]
) -> None:
    in_text = soundsearch("query", f"hum {filters}", "--by", "sound", "--paths")
    as_option = soundsearch("query", "hum", "--filter", filters, "--by", "sound", "--paths")
    assert set(names(in_text.stdout)) == set(names(as_option.stdout)) == expected
    alike = soundsearch("similar", "Sounds/Animals/dog.wav", "--filter", filters, "--paths")
    assert set(names(alike.stdout)) == expected - {"dog.wav"}


def test_several_options_all_hold(soundsearch: Run, library: Path) -> None:
    options = ["--filter", "format:wav", "--filter", "-dog", "--in", library]
    assert names(soundsearch("query", "hum", *options, "--paths").stdout) == ["metal door.wav"]
    assert names(soundsearch("query", *options, "--paths").stdout) == ["metal door.wav"]


@pytest.mark.usefixtures("library")
def test_filters_alone_are_a_list_by_path_that_says_how_many_there_are(soundsearch: Run) -> None:
    result = soundsearch("query", "duration:>0", "-k", 2)
    assert [line.split(maxsplit=3) for line in result.stdout.splitlines()] == [
        ["1", "-", "0:00.0-0:04.0", "Sounds/Animals/dog.wav"],
        ["2", "-", "0:00.0-0:01.0", "Sounds/Doors/metal door.wav"],
    ]
    assert "2 of 3" in result.stderr and "-k 3" in result.stderr
    assert soundsearch("query", "--filter", "duration:>0").stderr == ""


def test_filters_alone_as_json_and_files(soundsearch: Run, library: Path, tmp_path: Path) -> None:
    lists = ["--csv", "a.csv", "--labels", "a.txt"]
    facts = json.loads(soundsearch("query", "--filter", "format:flac", "--json", *lists).stdout)
    assert facts["query"]["text"] is None and facts["query"]["filters"] == ["format:flac"]
    (hit,) = facts["hits"]
    assert hit["path"] == str(library / "Doors" / "metal doors.flac")
    assert hit["score"] is hit["relevance"] is hit["cosine"] is None
    assert (hit["start_s"], hit["end_s"]) == (0.0, 2.0)
    assert (tmp_path / "a.csv").read_text().splitlines()[1].startswith("1,,0.0,2.0,")
    assert (tmp_path / "a.txt").read_text() == "0.000000\t2.000000\t1 (-)\n"


def test_the_json_of_a_question_with_filters(soundsearch: Run, library: Path) -> None:
    question = "dooor duration:<3 -flute"
    result = soundsearch("query", question, "--filter", "channels:1", "--json")
    facts = json.loads(result.stdout)["query"]
    assert facts["text"] == question
    assert facts["filters"] == ["duration:<3", "-flute", "channels:1"]
    assert facts["unknown"] == ["dooor"] and facts["did_you_mean"] == {"dooor": "door"}
    assert result.stderr.splitlines() == ["did you mean door for dooor?"]


@pytest.mark.usefixtures("library")
def test_what_stands_in_quotes_is_no_filter(soundsearch: Run) -> None:
    for question in ('"duration:x" hum', '"durration:<3"', 'hum "-door"'):
        assert soundsearch("query", question, "--json").stdout


# ---- what is refused


@pytest.mark.usefixtures("library")
def test_a_filter_that_does_not_parse_is_one_line_with_its_place(soundsearch: Run) -> None:
    result = soundsearch("query", "hum duration:<x", code=1)
    assert result.stdout == "" and result.stderr.count("\n") == 1
    assert "'duration:<x' (at character 5)" in result.stderr
    for command in (["query", "hum"], ["similar", "Sounds/Animals/dog.wav"]):
        for wrong in ("duration:<x", "rain"):
            result = soundsearch(*command, "--filter", wrong, code=2)
            assert result.stdout == ""
            assert "--filter" in result.stderr and f"'{wrong}' (at character 1)" in result.stderr


@pytest.mark.usefixtures("library")
def test_a_question_of_nothing_is_a_usage_error(soundsearch: Run) -> None:
    assert "--filter" in soundsearch("query", code=2).stderr


@pytest.mark.usefixtures("library")
def test_what_nothing_fits_says_so(soundsearch: Run) -> None:
    for question in ("hum channels:7", "channels:7"):
        result = soundsearch("query", question)
        assert result.stdout == "" and "fewer" in result.stderr and result.stderr.count("\n") == 1


# ---- languages


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("text", ["дождь", "knarrende xylofonklänge"])
def test_another_language_gets_one_line_that_names_what_the_card_says(
    soundsearch: Run, tmp_path: Path, text: str
) -> None:
    result = soundsearch("query", text, "-k", 1)
    assert result.stdout.count("\n") == 1 and result.stderr.count("\n") == 1
    assert "tiny" in result.stderr and "English" not in result.stderr
    bundle = EncoderBundle.read(tmp_path / "index" / "encoder")
    (bundle.folder / "model_card.md").write_text("---\nlanguage: en\n---\n")
    assert "English" in soundsearch("query", text, "-k", 1).stderr
    assert "English" not in soundsearch("query", text, "--by", "words").stderr


# ---- the page


def test_the_table_of_the_page_holds_filters_and_all_keys() -> None:
    rows = re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE)
    found = parse_filters(rows)
    assert len(found) == len(rows) > len(KEYS)
    assert {key for key in KEYS if any(row.startswith(f"{key}:") for row in rows)} == set(KEYS)


def test_the_commands_of_the_page_run_and_its_errors_are_those_that_are_printed(
    soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    write(tmp_path / "door.wav", tone(BAND_HZ[0]))
    blocks = "\n".join(re.findall(r"```(?:sh|console)\n(.*?)```", PAGE, re.DOTALL)).splitlines()
    n_errors = 0
    for line, after in zip(blocks, [*blocks[1:], ""], strict=True):
        if "soundsearch " in line:
            is_error = after.startswith("error: ")
            result = soundsearch(*shlex.split(line.removeprefix("$ "))[1:], code=int(is_error))
            if is_error:
                assert result.stderr.splitlines() == [after]
                n_errors += 1
    assert n_errors == 2
