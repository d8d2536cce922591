"""Mappings to dataclasses: what fits, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from soundsearch.config import changed, fill, read_json
from soundsearch.errors import ConfigError


@dataclass(frozen=True)
class Mel:
    n_mels: int
    f_max: float = 8000.0

    def __post_init__(self) -> None:
        if self.n_mels < 1:
            raise ValueError(f"n_mels must be 1 or more, not {self.n_mels}")


@dataclass(frozen=True)
class WideMel(Mel):
    width: int = 1


@dataclass(frozen=True)
class Model:
    name: str
    mel: Mel
    pad: Literal["zeros", "repeat"] = "zeros"
    stride: tuple[int, int] = (1, 1)
    rates: tuple[float, ...] = ()
    limit: int | None = None
    second: Mel | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    fast: bool = False
    folder: Path = Path()


LEAST = {"name": "a", "mel": {"n_mels": 3}}


def test_nested_values_of_every_type_fill_the_fields() -> None:
    found = fill(
        Model,
        {
            "name": "a",
            "mel": {"n_mels": 3, "f_max": 4000},
            "pad": "repeat",
            "stride": [2, 3],
            "rates": [1, 0.5, 0.25],
            "limit": None,
            "second": {"n_mels": 4},
            "hashes": {"x": "y"},
            "results": {"r": [1, None]},
            "fast": True,
            "folder": Path("here"),
        },
    )
    assert found == Model(
        "a",
        Mel(3, 4000.0),
        "repeat",
        (2, 3),
        (1.0, 0.5, 0.25),
        None,
        Mel(4),
        {"x": "y"},
        {"r": [1, None]},
        True,
        Path("here"),
    )
    assert fill(Model, LEAST) == Model("a", Mel(3))
    assert fill(Model, {"name": "a", "mel": Mel(5)}).mel == Mel(5)


@pytest.mark.parametrize(
    ("plain", "facts"),
    [
        ([], ("in.json: expected an object, found []",)),
        ({**LEAST, "strid": [1, 1]}, ("in.json: strid: unknown key", "stride")),
        ({**LEAST, 7: 1}, ("in.json: 7: unknown key",)),
        ({"name": "a"}, ("in.json: mel: missing",)),
        ({**LEAST, "mel": {}}, ("in.json: mel.n_mels: missing",)),
        ({**LEAST, "mel": 3}, ("in.json: mel: expected an object, found 3",)),
        ({**LEAST, "mel": {"n_mels": 0}}, ("in.json: mel: n_mels must be 1 or more, not 0",)),
        ({**LEAST, "mel": {"n_mels": True}}, ("mel.n_mels: expected a whole number, found True",)),
        ({**LEAST, "mel": {"n_mels": 3.0}}, ("mel.n_mels: expected a whole number, found 3.0",)),
        (
            {**LEAST, "mel": {"n_mels": 1, "f_max": float("inf")}},
            ("mel.f_max: expected a number, found inf",),
        ),
        ({**LEAST, "pad": []}, ("pad: expected zeros or repeat, found []",)),
        ({**LEAST, "stride": [1, 2, 3]}, ("stride: expected a list of 2, found [1, 2, 3]",)),
        ({**LEAST, "stride": [1, "2"]}, ("stride[1]: expected a whole number, found '2'",)),
        ({**LEAST, "rates": 1}, ("rates: expected a list, found 1",)),
        ({**LEAST, "limit": "1"}, ("limit: expected a whole number or null, found '1'",)),
        ({**LEAST, "second": 1}, ("second: expected an object or null, found 1",)),
        ({**LEAST, "second": {"nmels": 1}}, ("second.nmels: unknown key", "n_mels")),
        ({**LEAST, "hashes": {"x": 1}}, ("hashes.x: expected a text, found 1",)),
        ({**LEAST, "hashes": []}, ("hashes: expected an object, found []",)),
        ({**LEAST, "fast": 1}, ("fast: expected true or false, found 1",)),
        ({**LEAST, "folder": "here"}, ("folder: expected Path, found 'here'",)),
    ],
)
def test_what_does_not_fit_is_one_line_with_the_facts(plain: Any, facts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        fill(Model, plain, "in.json: ")
    assert str(caught.value).startswith("in.json: ") and "\n" not in str(caught.value)
    for fact in facts:
        assert fact in str(caught.value)


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(ConfigError) as caught:
        fill(Model, {**LEAST, "limit": "1" * 10_000})
    assert len(str(caught.value)) < 200


def test_changing_keeps_what_the_mapping_leaves_out_and_the_kind_of_what_is_nested() -> None:
    base = Model("a", WideMel(3, 4000.0, width=2), limit=7)
    found = changed(base, {"mel": {"width": 5}, "fast": True})
    assert found == Model("a", WideMel(3, 4000.0, width=5), limit=7, fast=True)
    assert changed(base, {}) == base
    with pytest.raises(ConfigError, match=r"mel\.nmels: unknown key, did you mean n_mels\?"):
        changed(base, {"mel": {"nmels": 1}})
    with pytest.raises(ConfigError, match=r"run: mel: n_mels must be 1 or more, not 0"):
        changed(base, {"mel": {"n_mels": 0}}, "run: ")


def test_a_file_that_holds_no_object_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for content, fact in ((None, "cannot be read"), ("{", "not valid JSON"), ("[1]", "found list")):
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match=fact) as caught:
            read_json(path)
        assert str(path) in str(caught.value)
