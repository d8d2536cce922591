"""The options of a stage of training to its setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from soundsearch.choices import Preset

if TYPE_CHECKING:
    from trainer.runs import StageConfig


@dataclass(frozen=True)
class Base:
    """What the options of a stage change.

    Attributes:
        default: The setting without anything given.
        preset: In place of the default.
        file: A config file, which changes the default or must agree with the preset.
        init: What the stage begins from; its front end and tower come before the file's.
    """

    default: StageConfig
    preset: Preset | None
    file: Path | None
    init: str | None

    def settings(self, given: Mapping[str, Any], contrast: Mapping[str, Any]) -> StageConfig:
        """The setting with these options, of the stage and of its loss; None is not given."""
        import dataclasses

        from soundsearch.config import read_json
        from trainer.presets import preset as preset_config
        from trainer.presets import refuse_contradictions
        from trainer.runs import stage_config

        stage = self.default.stage
        begun = _begun_with(self.init)
        base = preset_config(self.preset) if self.preset else self.default
        if base.stage != stage:
            raise typer.BadParameter(
                f"{self.preset} is for `train {base.stage}`", param_hint="--preset"
            )
        who = dict.fromkeys(begun, f"{self.init}")
        base = dataclasses.replace(base, **begun)
        if self.file:
            plain = {key: value for key, value in read_json(self.file).items() if key != "data"}
            base = stage_config({**plain, "stage": stage}, base, f"{self.file}: ")
            who |= {key: str(self.file) for key in plain}
        chosen = {key: value for key, value in given.items() if value is not None}
        inner = {key: value for key, value in contrast.items() if value is not None}
        if self.init is not None:
            chosen["init"] = self.init
        found = stage_config({**chosen, **({"contrast": inner} if inner else {})}, base)
        if self.preset:
            nested = {"contrast": inner, "changes": chosen.get("changes", {})}
            inside = [f"{outer}.{key}" for outer, values in nested.items() for key in values]
            who |= {key: option_of(key) for key in [*chosen, *inside]}
            refuse_contradictions(self.preset, found, who)
        return found


def option_of(setting: str) -> str:
    """The option that gives a setting of a stage."""
    names = {"contrast.reduction": "loss", "n_clips": "count", "only_top_k": "top_k"}
    name = {**names, "changes.classes": "teacher_classes"}.get(setting)
    return "--" + (name or setting.rpartition(".")[2].replace("_", "-"))


def _begun_with(init: str | None) -> dict[str, Any]:
    """The setting of what a stage begins from: front end, tower and encoder of a run or checkpoint."""
    if init is None:
        return {}
    if init in ("clip", "random"):
        return {"init": init}
    from trainer.front_ends import EFFICIENTAT
    from trainer.runs import read_config
    from trainer.stage import AUTHORS
    from trainer.towers.mobilenet import BEGUN, PUBLISHED

    if init.endswith(AUTHORS):
        from trainer.convert.vip_ant import authors_settings

        front_end, vit = authors_settings(Path(init))
        return {"init": init, "front_end": front_end, "tower": "vit", "vit": vit}
    if init.endswith(PUBLISHED):
        return {"init": init, "front_end": EFFICIENTAT, "tower": "mobilenet", "mobilenet": BEGUN}
    earlier = read_config(Path(init))
    names = ("front_end", "tower", "vit", "compact", "mobilenet", "encoder")
    return {"init": init, **{name: getattr(earlier, name) for name in names}}
