"""The authors' files, read as data: all of the weights and settings, and never any code."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.convert.made_checkpoint import SETTINGS, tower_of, write_checkpoint
from trainer.convert import ConversionError
from trainer.convert.checkpoint import read_checkpoint


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return tower_of().state_dict()


class Writes:
    """Unpickled by a careless reader, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("n_towers", [2, 4])
def test_weights_and_settings_come_back(
    tmp_path: Path, state: dict[str, torch.Tensor], n_towers: int
) -> None:
    found = read_checkpoint(write_checkpoint(tmp_path / "a.pth", state, n_towers=n_towers))
    assert list(found.audio) == list(state)
    assert all(torch.equal(found.audio[name], value) for name, value in state.items())
    assert found.config == SETTINGS
    assert found.setting("model.audio.resolution") == [1000, 128]
    assert found.setting("optimizer.betas") == [0.9, 0.999]
    assert found.setting("optimizer.lr.nothing") is None and found.setting("nowhere") is None


def test_omegaconf_is_not_needed(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_checkpoint(tmp_path / "a.pth", state)
    for name in [name for name in sys.modules if name.split(".")[0] == "omegaconf"]:
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(ImportError):
        import omegaconf  # noqa: F401
    assert read_checkpoint(path).config == SETTINGS


def test_a_reference_to_itself_ends(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    settings = {"a": "${b}", "b": "${a}", "c": "text with ${a} in it"}
    found = read_checkpoint(write_checkpoint(tmp_path / "a.pth", state, settings=settings))
    assert found.setting("a") in ("${a}", "${b}")
    assert found.setting("c") == "text with ${a} in it"


def test_the_image_tower_may_be_there_too(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    other = {name: value + 1 for name, value in state.items()}
    found = read_checkpoint(write_checkpoint(tmp_path / "a.pth", state, image=other))
    assert all(torch.equal(found.audio[name], value) for name, value in state.items())


@pytest.mark.parametrize("place", ["cfg", "model", "beside"])
def test_a_file_that_would_run_code_is_refused_and_nothing_is_run(
    tmp_path: Path, state: dict[str, torch.Tensor], place: str
) -> None:
    trap = Writes(tmp_path / "trapped")
    held: dict[str, Any] = {"cfg": {}, "model": (dict(state), {})}
    held[place] = (dict(state), {"loss": trap}) if place == "model" else trap
    torch.save(held, tmp_path / "evil.pth")
    with pytest.raises(
        ConversionError, match=r"evil\.pth: refused.*(posix|nt)\.mkdir.*nothing of it was run"
    ):
        read_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "trapped").exists()
    pickle.loads(pickle.dumps(trap))  # the trap is a real one
    assert (tmp_path / "trapped").exists()


def test_an_allowed_name_cannot_be_used_to_get_at_another(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    """builtins.int and its like are allowed; builtins.eval beside them is not."""

    class Evaluates:
        def __reduce__(self) -> Any:
            return eval, ("__import__('os').mkdir('trapped')",)

    torch.save({"cfg": Evaluates(), "model": (dict(state), {})}, tmp_path / "evil.pth")
    with pytest.raises(ConversionError, match=r"asks for builtins\.eval"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not Path("trapped").exists()


def test_old_pickles_that_are_no_archive_are_refused_too(tmp_path: Path) -> None:
    trap = Writes(tmp_path / "trapped")
    path = tmp_path / "old.pth"
    torch.save({"cfg": trap, "model": ()}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ConversionError, match=r"old\.pth: (refused|not a checkpoint)"):
        read_checkpoint(path)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([1, 2], "expected the entries cfg and model, found list"),
        ({"state_dict": {}}, "expected the entries cfg and model, found state_dict"),
        ({"cfg": {}, "model": ({}, {}, {})}, r"expected the weights of 4 towers .*, found 3"),
        ({"cfg": {}, "model": {"a": 1}}, r"expected the weights of 4 towers .*, found dict"),
        ({"cfg": {}, "model": ({}, {})}, "the entry of the audio tower is empty"),
        ({"cfg": {}, "model": ({"a": 1}, {})}, "the entry of the audio tower holds no weights"),
        ({"cfg": 3, "model": ({"a": torch.ones(1)}, {})}, r"settings \(cfg\) are no mapping"),
    ],
)
def test_another_kind_of_file_is_named_in_one_line(tmp_path: Path, held: Any, message: str) -> None:
    torch.save(held, tmp_path / "other.pth")
    with pytest.raises(ConversionError, match=message) as found:
        read_checkpoint(tmp_path / "other.pth")
    assert "\n" not in str(found.value)


def test_damaged_and_missing_files_are_named_in_one_line(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    whole = write_checkpoint(tmp_path / "a.pth", state).read_bytes()
    for name, content in (
        ("cut", whole[: len(whole) // 2]),
        ("text", b"404 not found"),
        ("no", b""),
    ):
        path = tmp_path / f"{name}.pth"
        path.write_bytes(content)
        with pytest.raises(ConversionError, match="not a checkpoint of torch, or damaged") as found:
            read_checkpoint(path)
        assert "\n" not in str(found.value)
    with pytest.raises(ConversionError, match=r"gone\.pth: cannot be read \(No such file"):
        read_checkpoint(tmp_path / "gone.pth")
