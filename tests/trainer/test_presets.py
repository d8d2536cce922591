"""The paper's settings by name: whole, sourced, and not to be contradicted."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from soundsearch.choices import Preset
from soundsearch.errors import ConfigError
from tests.conftest import ROOT
from trainer.front_ends import of_length
from trainer.presets import FREE, PRESETS, preset, refuse_contradictions
from trainer.runs import StageConfig

#: Settings that are of the machine, of the data or of a run, not of the paper.
OF_THE_RUN = {
    *("encoder", "n_clips", "fraction", "only", "only_top_k", "weights"),
    *("block", "log_every", "save_every", "compact", "mobilenet"),
}


def test_every_preset_can_be_chosen_and_says_where_its_values_are_from() -> None:
    assert set(get_args(Preset)) == set(PRESETS)
    for fixed in PRESETS.values():
        assert all(one.source for one in fixed.values())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_decides_every_setting(name: Preset) -> None:
    named = {key.partition(".")[0] for key in PRESETS[name]}
    settings = {field.name for field in dataclasses.fields(StageConfig)}
    open_here = OF_THE_RUN | ({"texts"} if name == "paper-va" else {"init"})
    assert settings - named == open_here, "say of the new setting whether the paper decides it"


@pytest.mark.parametrize("name", PRESETS)
def test_each_value_of_a_preset_is_used(name: Preset) -> None:
    config = preset(name)
    for key, one in PRESETS[name].items():
        found = config
        for part in key.split("."):
            found = getattr(found, part)
        assert getattr(found, "name", found) == one.value, key


@pytest.mark.parametrize("name", PRESETS)
def test_what_the_paper_does_not_decide_is_free(name: Preset) -> None:
    other = dataclasses.replace(preset(name), precision="fp32", seed=1, fraction=0.5, block=2)
    refuse_contradictions(name, other, {})
    if name == "paper-at":
        assert "texts" in FREE
        refuse_contradictions(name, dataclasses.replace(other, texts="random", init="x"), {})


def test_a_contradiction_names_both_values_and_who_gave_the_other() -> None:
    other = dataclasses.replace(preset("paper-va"), batch_size=64)
    with pytest.raises(ConfigError) as caught:
        refuse_contradictions("paper-va", other, {"batch_size": "--batch-size"})
    for part in ("paper-va", "batch_size", "432", "bimodal.yaml", "--batch-size", "64"):
        assert part in str(caught.value)
    front_end = dataclasses.replace(preset("paper-va"), front_end=of_length(400))
    with pytest.raises(ConfigError, match=r"front_end at vip-ant .* has vip-ant-4s"):
        refuse_contradictions("paper-va", front_end, {"front_end": "runs/x"})


def table_of_presets() -> list[str]:
    """The rows of docs/training.md: setting, both values, where they are from."""
    va, at = PRESETS["paper-va"], PRESETS["paper-at"]

    def cell(value: object) -> str:
        if isinstance(value, tuple):
            return " x ".join(map(str, value))
        if isinstance(value, float):
            return f"{value:.4g}"
        return "none" if value is None else str(value)

    rows = []
    for key in dict.fromkeys((*va, *at)):
        both = [preset[key] for preset in (va, at) if key in preset]
        cells = [cell(p[key].value) if key in p else "free" for p in (va, at)]
        cells = ["-" if (key, c) == ("texts", "free") else c for c in cells]
        source = "; ".join(dict.fromkeys(one.source for one in both))
        rows.append(f"| `{key}` | {' | '.join(cells)} | {source} |")
    return rows


def test_the_page_has_every_value_of_the_presets() -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for row in table_of_presets():
        assert row in page.splitlines(), row
