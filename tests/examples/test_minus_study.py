"""examples/minus_study.py: its numbers against counting by hand, and the study on made sounds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from examples import minus_study
from examples.minus_study import Sound, choose_pairs, measures, mixture
from soundsearch.encoder.bundle import EncoderBundle
from tests import sounds
from tests.calibrated import calibrate
from tests.tiny_encoder import BAND_HZ, WORDS


def test_numbers_of_a_question() -> None:
    classes = ["a", "a", "a", "ab", "ab", "b", "c", "ac"]
    made = [Sound(frozenset(names), np.eye(1)) for names in classes]
    scores = np.array([9, 6, 2, 8, 6, 7, 3, 10], np.float32)
    found = measures("a", "b", made, np.ones(8, bool), scores)
    # a before ab: 9 before both, 6 level with one, 2 before none. Before b and c: 2 + 1 + 0 of 6.
    assert found == pytest.approx([2.5 / 6, 3 / 6, 1 / 3, 2 / 3])
    ranked = np.array([i != 2 for i in range(8)])
    assert measures("a", "b", made, ranked, scores) == pytest.approx([2.5 / 4, 3 / 4, 1 / 2, 1])


def test_mixtures_are_of_equal_loudness() -> None:
    first, second = sounds.tone(200.0, 1.0, level=0.5), sounds.tone(3000.0, 2.0, level=0.01)
    spectrum = np.abs(np.fft.rfft(mixture(first, second)))
    assert len(mixture(first, second)) == 16000
    assert spectrum[400] == pytest.approx(spectrum[6000], rel=0.01)
    assert spectrum[400] > 100 * np.median(spectrum)


def test_pairs_share_no_word() -> None:
    three = [Path("x")] * 3
    files = {"dog barking": three, "fox barking": three, "rain": three, "rare": three[:1]}
    assert sorted(choose_pairs(files, 10, 0)) == [("dog barking", "rain"), ("fox barking", "rain")]


def test_the_study(tmp_path: Path, tiny: EncoderBundle, capsys: pytest.CaptureFixture[str]) -> None:
    calibrate(tiny)
    rows = [("file", "caption", "split")]
    for i, word in enumerate(WORDS[:4]):
        for take in range(3):
            path = tmp_path / f"{word}{take}.wav"
            sounds.write(path, sounds.tone(BAND_HZ[i], 1.0 + take / 10))
            rows.append((path.name, word, "valid"))
    with open(tmp_path / "sounds.csv", "w", newline="") as table:
        csv.writer(table).writerows(rows)
    minus_study.study(tmp_path / "sounds.csv", "caption", "valid", 2, 0, "tiny")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "12 recordings, 6 mixtures, 4 questions"
    numbers = [line.split()[-4:] for line in lines if line.startswith("vector a/spread - 0.35 ")]
    assert len(numbers) == 4 and all(float(number[1]) > 95 for number in numbers)
