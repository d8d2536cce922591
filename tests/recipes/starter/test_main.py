"""`python -m recipes.starter`: what it runs, and what it says without data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from recipes.starter import __main__ as module
from recipes.starter.constants import StarterConfig
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.registry import SHIPPED


def test_the_recipe_is_run_with_seed_and_repeats_that_were_asked_for(
    made_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[object, ...]] = []
    repeats: list[EncoderBundle] = []

    def noted(*given: object, repeats: list[EncoderBundle]) -> None:
        asked.append((*given, repeats))

    monkeypatch.setattr(module, "make_starter", noted)
    run, out, other = tmp_path / "run", tmp_path / "out", SHIPPED / "starter"
    arguments = ["--run", str(run), "--out", str(out), "--seed", "7", "--repeat", str(other)]
    module.main([str(made_data), *arguments])
    repeats.append(EncoderBundle.read(other))
    config = dataclasses.replace(StarterConfig(), seed=7)
    assert asked == [(made_data, run, out, config, repeats)]
    assert capsys.readouterr().out == f"{out}\n"


def test_no_data_is_one_clear_line(tmp_path: Path) -> None:
    run, out = str(tmp_path / "run"), str(tmp_path / "out")
    with pytest.raises(SystemExit) as caught:
        module.main([str(tmp_path / "nowhere"), "--run", run, "--out", out])
    assert "no data folder here" in str(caught.value) and "\n" not in str(caught.value)
