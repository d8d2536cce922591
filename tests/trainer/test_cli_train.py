"""`soundsearch train`: what it hands on, and what it says without the packages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from soundsearch.cli.train import app
from soundsearch.errors import SoundsearchError
from trainer.starter.config import StarterConfig


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_it_runs_the_recipe_with_the_steps_and_seed_asked_for(
    made_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, Path, Path, StarterConfig]] = []

    def make_starter(data: Path, run: Path, out: Path, config: StarterConfig) -> Any:
        asked.append((data, run, out, config))
        return type("Bundle", (), {"folder": out})

    monkeypatch.setattr("trainer.starter.recipe.make_starter", make_starter)
    run, out = tmp_path / "run", tmp_path / "out"
    result = invoke(
        "starter",
        made_data,
        "--run",
        run,
        "--out",
        out,
        "--seed",
        7,
        "--text-steps",
        3,
        "--audio-steps",
        5,
    )
    assert (result.exit_code, result.stdout.strip()) == (0, str(out))
    ((*folders, config),) = asked
    assert folders == [made_data, run, out]
    assert (config.distil.loop.steps, config.captions.loop.steps, config.captions.seed) == (3, 5, 7)
    assert config.distil.loop.warmup_steps == 3


def test_without_arguments_the_recipe_is_the_shipped_one(
    made_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[StarterConfig] = []
    monkeypatch.setattr(
        "trainer.starter.recipe.make_starter",
        lambda data, run, out, config: asked.append(config) or type("Bundle", (), {"folder": out}),
    )
    invoke("starter", made_data, "--run", tmp_path, "--out", tmp_path)
    assert asked == [StarterConfig()]


def test_a_missing_extra_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "trainer"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    result = invoke("starter", tmp_path, "--run", tmp_path, "--out", tmp_path)
    assert isinstance(result.exception, SoundsearchError)
    assert "install them with: pip install 'soundsearch[train]'" in str(result.exception)
    assert "\n" not in str(result.exception)


def test_no_data_is_one_clear_line(tmp_path: Path) -> None:
    result = invoke("starter", tmp_path / "nowhere", "--run", tmp_path, "--out", tmp_path)
    assert isinstance(result.exception, SoundsearchError)
    assert "no data folder here" in str(result.exception)
