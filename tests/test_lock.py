"""constraints.txt: what is installed is what was tested, and the ranges of pyproject.toml allow it."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [
    line
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.lstrip().startswith("#")
]
LOCKED = {canonicalize_name(pin.name): pin for pin in map(Requirement, LINES)}
DECLARED = [
    Requirement(text)
    for texts in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in texts
]


@pytest.mark.parametrize("declared", DECLARED, ids=str)
def test_every_requirement_is_locked_in_its_range(declared: Requirement) -> None:
    (pin,) = LOCKED[canonicalize_name(declared.name)].specifier
    assert pin.operator == "=="
    assert pin.version in declared.specifier


def test_one_version_of_each_package_and_no_address_of_any_index() -> None:
    assert len(LOCKED) == len(LINES)
    assert not any(re.search(r"://|@|--", line) for line in LINES)


def test_torch_and_its_companions_are_pinned_as_they_were_built_together() -> None:
    pins = {r.name: str(r.specifier) for r in DECLARED if r.name.startswith("torch")}
    assert set(pins) == {"torch", "torchaudio", "torchvision"}
    torch = re.fullmatch(r"==2\.(\d+)\.0", pins["torch"])
    assert torch is not None
    minor = int(torch[1])
    assert pins["torchaudio"] == f"==2.{minor}.0"
    assert pins["torchvision"] == f"==0.{minor + 15}.0"
