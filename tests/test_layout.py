"""Hits as lines: in a pipe, and fitted to terminals of any width."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from soundsearch.layout import Look, elided, hit_lines
from soundsearch.search.hits import Hit, Passage

CODES = re.compile(r"\x1b\[[0-9;]*m")


def hit(path: str, rank: int = 1, *, score: float = 0.5, **more: object) -> Hit:
    facts = {
        "recording_id": 1,
        "duration_s": 9.0,
        "is_present": True,
        "relevance": score,
        "cosine": 0.3,
        **more,
    }
    return Hit(rank=rank, path=Path(path), start_s=2.0, end_s=5.0, **facts)  # type: ignore[arg-type]


def passage(start_s: float, end_s: float, score: float = 0.5) -> Passage:
    return Passage(start_s=start_s, end_s=end_s, cosine=0.3, relevance=score)


DOOR = hit("/sounds/Doors/Metal/door_03.wav", words=("door", "metal"))


def test_in_a_pipe_the_path_is_whole() -> None:
    long = hit(f"/{'folder/' * 40}name.wav", words=("name",), is_present=False)
    assert hit_lines([DOOR, long]) == [
        "1   0.500  0:02.0-0:05.0  /sounds/Doors/Metal/door_03.wav  [door, metal]",
        f"1   0.500  0:02.0-0:05.0  {long.path}  [name] (not there now)",
    ]


def test_on_a_terminal_the_name_comes_first() -> None:
    assert hit_lines([DOOR, hit("/sounds/rain.wav", 2)], Look(width=90)) == [
        '1   0.500  0:02.0-0:05.0  door_03.wav  /sounds/Doors/Metal  words: "door", "metal"',
        "2   0.500  0:02.0-0:05.0  rain.wav     /sounds",
    ]


def test_what_has_no_room_is_elided_in_the_middle() -> None:
    long = hit("/sounds/Library of a studio/Vehicles/Old cars/engine start and idle 0123.wav")
    start = "1   0.500  0:02.0-0:05.0"
    for width, place in (
        (120, "engine start and idle 0123.wav  /sounds/Library of a studio/Vehicles/Old cars"),
        (80, "engine start and idle 0123.wav  /sounds/Li…es/Old cars"),
        (60, "engine sta… 0123.wav  /soun…d cars"),
        (45, "engine st… 0123.wav"),
    ):
        (found,) = hit_lines([long], Look(width=width))
        assert found == f"{start}  {place}" and len(found) <= width


def test_the_folder_goes_before_the_words() -> None:
    (line,) = hit_lines([DOOR], Look(width=62))
    assert line == '1   0.500  0:02.0-0:05.0  door_03.wav  words: "door", "metal"'
    (line,) = hit_lines([DOOR], Look(width=52))
    assert line == '1   0.500  0:02.0-0:05.0  door_03.wav  words: "door…'


@given(
    st.text("abc 雨é🌧\u0301", min_size=1, max_size=40),
    st.text("abc/ 雨é🌧\u0301", max_size=60),
    st.integers(40, 120),
    st.booleans(),
)
def test_no_line_is_wider_than_the_terminal(
    name: str, folder: str, width: int, is_present: bool
) -> None:
    found = hit(f"/{folder}/{name}.wav", is_present=is_present)
    for line in hit_lines([found], Look(width=width)):
        assert cell_len(line) <= width


@given(st.text("abc 雨é🌧\u0301", max_size=40), st.integers(0, 50))
def test_an_elided_text_has_its_beginning_and_its_end(text: str, n_columns: int) -> None:
    found = elided(text, n_columns)
    assert cell_len(found) <= n_columns
    if "…" in found:
        head, tail = found.split("…")
        assert text.startswith(head) and text.endswith(tail)
    else:
        assert found in (text, "")


def test_wide_characters_take_two_columns() -> None:
    assert elided("雨が降る音.wav", 9) == "雨が….wav"
    lines = hit_lines([hit("/a/雨.wav"), hit("/a/ab.wav")], Look(width=80))
    assert [line.split("wav")[1] for line in lines] == ["  /a", "  /a"]


def test_passages_stand_below_but_for_the_best_which_is_the_hit() -> None:
    found = hit(
        "/a/dogs.wav",
        passages=(passage(0, 1, 0.4), passage(1.5, 6), passage(725, 3726, 0.45)),
        n_more_passages=2,
    )
    for look in (Look(), Look(width=80)):
        assert [line.rstrip() for line in hit_lines([found], look)[1:]] == [
            "    0.400      0:00.0-0:01.0",
            "    0.450  12:05.0-1:02:06.0",
            "   +2 more passages",
        ]
    assert len(hit_lines([hit("/a/b.wav", passages=(passage(0, 9),))])) == 1


def test_colours_mark_what_fits_the_folder_and_the_words() -> None:
    (line,) = hit_lines([DOOR], Look(width=90, colour=True))
    assert CODES.sub("", line) == hit_lines([DOOR], Look(width=90))[0]
    for part in ("\x1b[32m 0.500\x1b[0m", "\x1b[2m  /sounds/Doors/Metal\x1b[0m", "\x1b[36m"):
        assert part in line
    (low,) = hit_lines([hit("/a/b.wav", score=0.49)], Look(width=90, colour=True))
    assert "\x1b[32m" not in low


@pytest.mark.parametrize("width", [1, 20, 39])
def test_a_narrow_terminal_still_shows_something_of_the_name(width: int) -> None:
    (line,) = hit_lines([DOOR], Look(width=width))
    assert line.startswith("1   0.500  0:02.0-0:05.0  d") and line.endswith("wav")
