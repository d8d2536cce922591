"""Config files: they fill the dataclasses, and say what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from soundsearch.config import changed
from soundsearch.errors import ConfigError
from tests.trainer.made_shards import TINY
from trainer.runs import differences, read_config


def test_a_file_fills_nested_settings_and_leaves_the_rest() -> None:
    found = changed(TINY, {"batch_size": 8, "vit": {"stride": [3, 4]}, "epochs": 2})
    assert (found.batch_size, found.vit.stride, found.epochs) == (8, (3, 4), 2.0)
    assert found.vit.width == TINY.vit.width


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"batchsize": 8}, "batchsize: unknown key, did you mean batch_size?"),
        ({"vit": {"widht": 8}}, "vit.widht: unknown key, did you mean width?"),
        ({"batch_size": "8"}, "batch_size: expected a whole number, found '8'"),
        ({"batch_size": True}, "batch_size: expected a whole number, found True"),
        ({"vit": {"stride": [1, 2, 3]}}, "vit.stride: expected a list of 2, found"),
        ({"vit": 3}, "vit: expected an object, found 3"),
        ({"optimiser": "sgd"}, "optimiser: expected lars or adamw, found 'sgd'"),
        ({"epochs": "many"}, "epochs: expected a number, found 'many'"),
        ({"batch_size": 1}, "batch_size must be 2 or more, to have a negative, not 1"),
        ({"vit": {"width": 15}}, "vit: width must be a multiple of n_heads"),
    ],
)
def test_what_does_not_fit_is_named(plain: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        changed(TINY, plain)


def test_differences_are_named_inside_too() -> None:
    old = {"a": 1, "b": {"c": 2, "d": 3}, "gone": 1}
    new = {"a": 1, "b": {"c": 5, "d": 3}}
    assert differences(old, new) == ["b.c was 2, is 5", "gone was 1, is None"]
    assert differences(old, old) == []


def test_a_config_that_no_run_wrote_is_one_line(tmp_path: Path) -> None:
    data = {"dim": 8, "model": "made", "pretrained": "by-hand"}
    for plain, message in (
        ({"stage": "pivot"}, "does not say which vectors it learnt from"),
        ({"stage": "pivot", "texts": "gold", "data": data}, "texts belongs to the captions stage"),
        ({"stage": "captions", "texts": None, "data": data}, "texts belongs to the captions stage"),
        ({"stage": "third", "data": data}, "stage: expected pivot or captions, found 'third'"),
        ({"stage": "pivot", "front_end": 3, "data": data}, "front_end: expected a name or an obj"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(plain))
        with pytest.raises(ConfigError, match=message):
            read_config(tmp_path)
