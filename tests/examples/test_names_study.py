"""examples/names_study.py: its counts against counting by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from examples import names_study
from tests import sounds
from tests.tiny_encoder import BAND_HZ, WORDS


@pytest.mark.usefixtures("tiny")
def test_counts_of_a_library_in_which_names_tell_what_sound_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("a/zither.wav", "zither", "valid"), ("b/1.wav", WORDS[1], "valid"),
            ("b/2.wav", WORDS[1], "valid"), ("c.wav", "other", "train")]  # fmt: skip
    for i, (file, *_) in enumerate(rows):
        band = BAND_HZ[1] if file.startswith("b/") else BAND_HZ[4 + i]
        sounds.write(tmp_path / file, sounds.tone(band))
    with open(tmp_path / "sounds.csv", "w", newline="") as table:
        csv.writer(table).writerows([("file", "caption", "split"), *rows])
    files = names_study.read_split(tmp_path / "sounds.csv", "valid")
    assert list(map(str, files)) == ["a/zither.wav", "b/1.wav", "b/2.wav"]
    monkeypatch.setattr("indexer.index_run.DEFAULT_MODEL", "tiny")
    with names_study.indexed(tmp_path, files) as (index, library):
        found = {
            by: names_study.precisions(index, library, files, by)
            for by in ("sound", "words", "both")
        }
    assert [list(first) for first, _ in (found["words"], found["both"])] == [[1, 0], [1, 1]]
    assert list(found["words"][1]) == [1, 0] and list(found["both"][1]) == [1, 1]
    assert list(found["sound"][1])[1] == 1
