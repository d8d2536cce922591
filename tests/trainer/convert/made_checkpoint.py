"""Files as the VIP-ANT authors' program writes them, with a small tower: real OmegaConf pickles."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from trainer.towers.vit import SpectrogramViT, VitConfig

#: As the authors' settings name it; the rest of a run's settings is of no weight here.
SETTINGS: dict[str, Any] = {
    "alias_root": "/net/nfs/run",
    "time": "${now:%Y-%m-%d}",
    "eval": False,
    "optimizer": {"use_lars": True, "lr": 5e-4, "betas": [0.9, 0.999], "name": None},
    "running": {
        "audio": {"max_len": 1000, "num_mel_bins": 128, "norms": [-4.5, 5.5]},
        "prompt": "the sound of",
        "missing": "???",
    },
    "model": {
        "audio": {
            "resolution": ["${running.audio.max_len}", "${running.audio.num_mel_bins}"],
            "pre_encoder": {"patch_size": 32, "stride": [16, 24], "in_channels": 3},
        }
    },
}
#: One block of one head; every matrix is there.
TINY = VitConfig(width=16, n_layers=1, n_heads=1, dim=16)


def tower_of(config: VitConfig = TINY, seed: int = 0) -> SpectrogramViT:
    """Random weights, large enough that one sound's vector is not another's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = SpectrogramViT(config)
        with torch.no_grad():
            for weights in tower.parameters():
                weights.mul_(3.0 if weights.ndim > 1 else 1.0)
    return tower.eval()


def write_checkpoint(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    settings: Mapping[str, Any] = SETTINGS,
    n_towers: int = 4,
    image: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write it as `torch.save` does. n_towers: 4 (image, audio, text, loss) or 2 (audio, loss)."""
    if not OmegaConf.has_resolver("now"):
        OmegaConf.register_new_resolver("now", lambda _pattern: "2021-09-16", use_cache=True)
    tree = OmegaConf.create(dict(settings))
    if "time" in tree:
        assert tree.time == "2021-09-16"  # leaves an entry in the cache that is pickled too
    audio = OrderedDict(state)
    loss = OrderedDict(logit_scale=torch.tensor(2.66))
    towers: tuple[Any, ...] = (audio, loss)
    if n_towers == 4:
        towers = (OrderedDict(image or {}), audio, OrderedDict(), loss)
    torch.save({"cfg": tree, "model": towers}, path)
    return path
