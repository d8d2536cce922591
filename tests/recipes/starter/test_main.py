"""`python -m recipes.starter`: what it runs, and what it says without data."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.starter import __main__ as module
from recipes.starter.config import StarterConfig


def test_the_stages_are_run_with_the_seed_that_was_asked_for(
    made_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[Path, Path, StarterConfig]] = []
    monkeypatch.setattr(module, "prepare", lambda *given: asked.append(given))
    module.main([str(made_data), "--run", str(tmp_path), "--seed", "7"])
    assert asked == [(made_data, tmp_path, StarterConfig().seeded(7))]
    assert (asked[0][2].distil.seed, asked[0][2].corpus.seed, asked[0][2].seed) == (7, 7, 7)
    assert capsys.readouterr().out == f"{tmp_path}\n"


def test_no_data_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        module.main([str(tmp_path / "nowhere"), "--run", str(tmp_path)])
    assert "no data folder here" in str(caught.value) and "\n" not in str(caught.value)
