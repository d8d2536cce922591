"""The settings of the paper, by name, each value with its source.

A preset is the setting of the authors' own code (VIP-ANT, arXiv:2112.08995; the paper's appendix B
refers to it). What the code does not decide, such as the seed or the place of the data, is free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from soundsearch.choices import Preset
from soundsearch.errors import ConfigError
from trainer.front_ends import VIP_ANT
from trainer.runs import StageConfig, stage_config

#: Settings of a preset that may be given otherwise: what is learnt stays the paper's.
FREE = frozenset({"precision", "seed", "texts"})


@dataclass(frozen=True)
class Fixed:
    """A value of a preset, as in a config file, and where it stands in the authors' repository."""

    value: Any
    source: str


#: What both stages share.
_BOTH = {
    "front_end": Fixed(
        VIP_ANT.name, "cvap/data/audio/transform.py, configs/running/audio/default.yaml"
    ),
    "tower": Fixed("vit", "configs/model/audio/vit_val.yaml"),
    "vit.width": Fixed(768, "CLIP ViT-B/32"),
    "vit.n_layers": Fixed(12, "CLIP ViT-B/32"),
    "vit.n_heads": Fixed(12, "CLIP ViT-B/32"),
    "vit.patch": Fixed(32, "CLIP ViT-B/32"),
    "vit.stride": Fixed((16, 24), "bash/run_bimodal_va.sh, run_bimodal_at.sh"),
    "vit.in_channels": Fixed(3, "configs/model/audio/vit_val.yaml"),
    "optimiser": Fixed("lars", "configs/optimizer/standard.yaml"),
    "weight_decay": Fixed(1e-6, "configs/optimizer/standard.yaml"),
    "clip_norm": Fixed(None, "cvap/monitor: the norm of the configuration is never read"),
    "average": Fixed(0.0, "cvap/monitor: none"),
    "warmup_epochs": Fixed(10.0, "cvap/monitor, the branch of LARS"),
    "contrast.reduction": Fixed("sum", "cvap/module/decoder/loss_head.py"),
    "contrast.logit_scale": Fixed(1 / 0.07, "cvap/module/decoder/loss_head.py"),
    "contrast.largest_logit_scale": Fixed(None, "cvap/module/decoder/loss_head.py"),
    "contrast.duplicates": Fixed("negative", "cvap/module/decoder/loss_head.py"),
    "contrast.three_way": Fixed(False, "configs/model/loss/ce_val.yaml, bash/run_bimodal_at.sh"),
    "changes.mix": Fixed(0.0, "cvap/data: none"),
    "changes.augment": Fixed(False, "cvap/data: masks of the front end alone"),
    "changes.teacher": Fixed(None, "cvap/module/decoder/loss_head.py: none"),
    "precision": Fixed("fp16", "cvap/monitor: autocast and GradScaler"),
    "seed": Fixed(1213, "configs/default.yaml"),
}
PRESETS: dict[Preset, Mapping[str, Fixed]] = {
    "paper-va": {
        "stage": Fixed("pivot", "bash/run_bimodal_va.sh"),
        "init": Fixed("clip", "configs/model/audio/vit_val.yaml"),
        **_BOTH,
        "batch_size": Fixed(432, "configs/running/bimodal.yaml"),
        "learning_rate": Fixed(0.3375, "configs/optimizer/standard.yaml: 0.2 x batch / 256"),
        "flat_learning_rate": Fixed(
            0.0081, "configs/optimizer/standard.yaml: 0.0048 x batch / 256"
        ),
        "epochs": Fixed(21.0, "README: the last of the released checkpoints, step 83,391 of 3,971"),
        "schedule_epochs": Fixed(1000.0, "configs/running/bimodal.yaml"),
    },
    "paper-at": {
        "stage": Fixed("captions", "bash/run_bimodal_at.sh"),
        "texts": Fixed("gold", "README: AT with gold captions"),
        **_BOTH,
        "batch_size": Fixed(64, "bash/run_bimodal_at.sh"),
        "learning_rate": Fixed(0.05, "configs/optimizer/standard.yaml: 0.2 x batch / 256"),
        "flat_learning_rate": Fixed(
            0.0012, "configs/optimizer/standard.yaml: 0.0048 x batch / 256"
        ),
        "epochs": Fixed(10.0, "README: the last of the released checkpoints, step 6,900 of 690"),
        "schedule_epochs": Fixed(1000.0, "configs/running/trimodal.yaml"),
    },
}


def preset(name: Preset) -> StageConfig:
    """Return the setting of a preset. The captions stage begins from a run: replace its `init`."""
    fixed = PRESETS[name]
    plain: dict[str, Any] = {}
    for key, one in fixed.items():
        outer, dot, inner = key.partition(".")
        if dot:
            plain.setdefault(outer, {})[inner] = one.value
        else:
            plain[outer] = one.value
    texts = fixed["texts"].value if "texts" in fixed else None
    return stage_config(plain, StageConfig(stage=fixed["stage"].value, texts=texts))


def default_of(name: Preset) -> StageConfig:
    """Return the default of a preset's stage.

    It is the preset, but the cosine ends at the last epoch, rates follow the batch, and precision is
    the machine's.
    """
    return replace(
        preset(name),
        schedule_epochs=None,
        learning_rate=None,
        flat_learning_rate=None,
        precision=None,
    )


def refuse_contradictions(name: Preset, config: StageConfig, given: Mapping[str, str]) -> None:
    """Refuse a setting that a preset fixes at another value.

    Args:
        name: Of the preset.
        config: The setting, as it would be used.
        given: Setting with its dotted name -> who gave it, such as an option.

    Raises:
        ConfigError: A setting differs; the message names both values and who gave the other.
    """
    wanted = preset(name)
    for key, one in PRESETS[name].items():
        found, fixed = _looked_up(config, key), _looked_up(wanted, key)
        if key not in FREE and found != fixed:
            who = given.get(key) or given.get(key.split(".")[0]) or "the configuration"
            raise ConfigError(
                f"--preset {name} fixes {key} at {one.value} ({one.source}), and {who} has "
                f"{getattr(found, 'name', found)}; leave out one of the two"
            )


def _looked_up(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name)
    return config
