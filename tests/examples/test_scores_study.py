"""examples/scores_study.py: its area under the curve against counting by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from examples import scores_study


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=12))
def test_area_counts_pairs(rows: list[tuple[int, bool]]) -> None:
    right = [score for score, is_right in rows if is_right]
    wrong = [score for score, is_right in rows if not is_right]
    if not right or not wrong:
        return
    won = [1.0 if r > w else 0.5 if r == w else 0.0 for r in right for w in wrong]
    scores, is_right = (np.array(column) for column in zip(*rows, strict=True))
    assert abs(scores_study.area(scores, is_right) - np.mean(won)) < 1e-9


def test_recordings_with_a_caption_are_read(tmp_path: Path) -> None:
    table = tmp_path / "sounds.csv"
    table.write_text("file,caption,split\na.wav,a dog,valid\nb.wav,,valid\nc.wav,rain,train\n")
    for split, names in (("valid", ["a.wav"]), (None, ["a.wav", "c.wav"])):
        found = scores_study.read_recordings(table, split)
        assert [recording.path for recording in found] == [tmp_path / name for name in names]
