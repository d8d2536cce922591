"""The shipped list of sound words, and how a person's own list is read."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from soundsearch.errors import SoundsearchError
from soundsearch.vocabulary import load_vocabulary


def test_shipped_list_is_distinct_lower_case_and_large() -> None:
    words = load_vocabulary()
    assert len(words) >= 650
    assert len(set(words)) == len(words)
    assert [word for word in words if word != word.lower()] == []
    assert [word for word in words if word != " ".join(word.split())] == []
    assert [word for word in words if word.startswith("#")] == []


def test_shipped_list_repeats_nothing_in_the_file_itself() -> None:
    text = resources.files("soundsearch.vocabulary").joinpath("sounds.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines == load_vocabulary()


def test_shipped_lines_are_short_plain_phrases() -> None:
    words = load_vocabulary()
    assert [word for word in words if not 3 <= len(word) <= 45] == []
    assert [word for word in words if len(word.split()) > 7] == []
    allowed = set("abcdefghijklmnopqrstuvwxyz '-")
    assert [word for word in words if not set(word) <= allowed] == []


@pytest.mark.parametrize(
    "phrase",
    [
        "dog barking",
        "heavy rain",
        "footsteps on gravel",
        "car door closing",
        "police siren",
        "violin",
        "snare drum hit",
        "video game jump sound",
        "crowd cheering",
        "a man speaking",
        "spoken number",
        "white noise",
    ],
)
def test_shipped_list_covers(phrase: str) -> None:
    assert phrase in load_vocabulary()


def test_own_file_keeps_order_drops_blanks_and_repeats_and_keeps_hashes(tmp_path: Path) -> None:
    path = tmp_path / "my words.txt"
    path.write_bytes("\ufeffRain \r\n\r\n  #1 hit\t\nétude\nRain\n   \nrain".encode())
    assert load_vocabulary(path) == ["Rain", "#1 hit", "étude", "rain"]


def test_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "none.txt"
    with pytest.raises(SoundsearchError, match=r"none\.txt: no such vocabulary file") as caught:
        load_vocabulary(path)
    assert "\n" not in str(caught.value)


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SoundsearchError, match="cannot read the vocabulary"):
        load_vocabulary(tmp_path)


def test_undecodable_bytes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"rain\ncaf\xe9 noise\n")
    with pytest.raises(SoundsearchError, match=r"latin\.txt: byte 8 \(0xe9\) is not UTF-8"):
        load_vocabulary(path)


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n", b"\xef\xbb\xbf\n"])
def test_file_without_lines_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "blank.txt"
    path.write_bytes(content)
    with pytest.raises(SoundsearchError, match=r"blank\.txt: the vocabulary has no lines"):
        load_vocabulary(path)
