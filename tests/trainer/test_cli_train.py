"""`soundsearch train`: what it says without the packages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from soundsearch.cli.train import app
from soundsearch.errors import SoundsearchError


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_missing_extra_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "trainer"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    result = invoke("captions", tmp_path, "--run", tmp_path, "--init", "random")
    assert isinstance(result.exception, SoundsearchError)
    assert "install them with: pip install 'soundsearch[train]'" in str(result.exception)
    assert "\n" not in str(result.exception)
