"""`soundsearch train`: what it hands on, and what it says without the packages."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from soundsearch.cli.train import app
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.registry import SHIPPED
from soundsearch.errors import SoundsearchError
from trainer.starter.config import StarterConfig


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@dataclass(frozen=True)
class Asked:
    """What the recipe was called with."""

    data: Path
    run: Path
    out: Path
    config: StarterConfig
    repeat: EncoderBundle | None

    @property
    def folder(self) -> Path:
        return self.out


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """The calls of the recipe, which takes hours, in its place."""
    calls: list[Asked] = []

    def make_starter(
        data: Path,
        run: Path,
        out: Path,
        config: StarterConfig,
        *,
        repeat: EncoderBundle | None = None,
    ) -> Asked:
        calls.append(Asked(data, run, out, config, repeat))
        return calls[-1]

    monkeypatch.setattr("trainer.starter.recipe.make_starter", make_starter)
    return calls


def test_it_runs_the_recipe_with_the_steps_and_seed_asked_for(
    made_data: Path, tmp_path: Path, asked: list[Asked]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    steps = ("--text-steps", 3, "--audio-steps", 5)
    result = invoke("starter", made_data, "--run", run, "--out", out, "--seed", 7, *steps)
    assert (result.exit_code, result.stdout.strip()) == (0, str(out))
    (call,) = asked
    assert (call.data, call.run, call.out) == (made_data, run, out)
    captions, distil = call.config.captions, call.config.distil
    assert (distil.loop.steps, captions.loop.steps, captions.seed) == (3, 5, 7)
    assert distil.loop.warmup_steps == 3


def test_without_arguments_the_recipe_is_the_shipped_one(
    made_data: Path, tmp_path: Path, asked: list[Asked]
) -> None:
    result = invoke("starter", made_data, "--run", tmp_path, "--out", tmp_path)
    assert result.exit_code == 0, result.exception
    assert asked == [Asked(made_data, tmp_path, tmp_path, StarterConfig(), None)]


def test_another_run_of_the_recipe_is_read_for_the_card(
    made_data: Path, tmp_path: Path, asked: list[Asked]
) -> None:
    other = SHIPPED / "starter"
    result = invoke("starter", made_data, "--run", tmp_path, "--out", tmp_path, "--repeat", other)
    assert result.exit_code == 0, result.exception
    (call,) = asked
    assert call.repeat == EncoderBundle.read(other)


def test_another_run_that_is_no_bundle_is_refused_before_any_work(
    made_data: Path, tmp_path: Path, asked: list[Asked]
) -> None:
    result = invoke(
        "starter", made_data, "--run", tmp_path, "--out", tmp_path, "--repeat", made_data
    )
    assert isinstance(result.exception, SoundsearchError)
    assert not asked


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
