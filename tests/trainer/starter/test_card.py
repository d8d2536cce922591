"""The card tells a study's table where the run folder has one."""

from __future__ import annotations

from pathlib import Path

from trainer.starter.card import STUDIED, _study, note_study, read_study, study_table


def test_a_study_stands_in_the_card_with_its_command(tmp_path: Path) -> None:
    assert _study(tmp_path) == ""
    row = dict(zip(STUDIED, (0.1, 0.4567, 0.8, 0.25, 0.2), strict=True))
    note_study(tmp_path, "few steps", "python study", {"plain": row})
    note_study(tmp_path, "many steps", "python study --steps 9", {"plain": row})
    assert list(read_study(tmp_path)) == ["python study", "python study --steps 9"]
    told = _study(tmp_path)
    assert told.count("| plain | 10.0 | 45.7 | 80.0 | 25.0 | 20.0 |") == 2
    assert "many steps, by `python study --steps 9`:" in told


def test_the_same_command_again_replaces_its_table(tmp_path: Path) -> None:
    rows = [{name: dict.fromkeys(STUDIED, 0.5)} for name in ("before", "after")]
    for row in rows:
        note_study(tmp_path, "few steps", "python study", row)
    assert "| after |" in _study(tmp_path) and "| before |" not in _study(tmp_path)


def test_the_table_is_markdown() -> None:
    lines = study_table("x", "y", {"plain": dict.fromkeys(STUDIED, 0.5)}).splitlines()
    assert {line.count("|") for line in lines[2:]} == {len(STUDIED) + 2}
