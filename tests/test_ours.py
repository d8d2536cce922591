"""Packages of other projects that are called `indexer` or `trainer` are refused, not run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import indexer
import trainer
from soundsearch.ours import ForeignPackageError, require_ours
from tests import program

CLI = program.ROOT / "soundsearch" / "cli"


def foreign(folder: Path, name: str) -> Path:
    """A package of somebody else, which says so when it is imported."""
    package = folder / name / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("raise SystemExit('foreign code was run')\n")
    return package


def test_our_own_packages_pass() -> None:
    assert indexer.__part_of__ == trainer.__part_of__ == "soundsearch"
    require_ours("indexer")
    require_ours("trainer")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("indexer", ["index", "."]),
        ("trainer", ["train", "embed-images", "shards"]),
        ("trainer", ["models", "build", "clap"]),
    ],
)
def test_a_foreign_package_is_one_clear_line_and_is_not_run(
    tmp_path: Path, name: str, command: list[str]
) -> None:
    package = foreign(tmp_path / "other", name)
    path = f"{package.parent.parent}:{program.ROOT}"
    done = program.soundsearch(*command, env=program.environment(PYTHONPATH=path), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"error: {package}: ")
    assert "pip install --force-reinstall" in line


def test_a_package_that_is_missing_or_has_lost_its_file_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ForeignPackageError, match="no_such_package"):
        require_ours("no_such_package")
    (tmp_path / "only_a_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ForeignPackageError, match="only_a_folder"):
        require_ours("only_a_folder")


def test_every_command_that_imports_them_checks_first() -> None:
    n_checked = 0
    for file in CLI.rglob("*.py"):
        for function in ast.parse(file.read_text()).body:
            if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
                continue
            lines = [
                node.lineno
                for node in ast.walk(function)
                if isinstance(node, ast.ImportFrom)
                and (node.module or "").split(".")[0] in ("indexer", "trainer")
            ]
            checks = [
                node.lineno
                for node in ast.walk(function)
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("require_ours", "training_extra")
            ]
            if lines:
                n_checked += 1
                assert checks and min(checks) < min(lines), f"{file}: {function.name}"
    assert n_checked > 10
