"""examples/questions_study.py: the captions of the first hits, by sound and by sound and names."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from examples import questions_study
from tests import sounds
from tests.tiny_encoder import BAND_HZ, WORDS


@pytest.mark.usefixtures("tiny")
def test_the_first_hits_stand_in_a_table_by_their_captions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("1.wav", "sounds so", "valid"), (f"{WORDS[1]}.wav", "named so", "valid"),
            ("3.wav", "of another split", "train")]  # fmt: skip
    for band, (file, *_) in zip((BAND_HZ[1], BAND_HZ[4], BAND_HZ[1]), rows, strict=True):
        sounds.write(tmp_path / file, sounds.tone(band))
    table = tmp_path / "sounds.csv"
    with open(table, "w", newline="") as opened:
        csv.writer(opened).writerows([("file", "caption", "split"), *rows])
    monkeypatch.setattr(questions_study, "QUESTIONS", (WORDS[1],))
    monkeypatch.setattr(sys, "argv", ["questions_study", str(table), "--model", "tiny"])
    questions_study.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed[2:] == [f"| {WORDS[1]} | sounds so | named so |"]
