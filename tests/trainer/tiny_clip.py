"""A CLIP model of a few thousand weights, drawn at random, and pictures for it to look at.

Real open_clip files: a JSON model config, a checkpoint, the real BPE tokenizer. What it says means
nothing, but it says it as the large ones do.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from trainer.towers.clip_model import ClipChoice

#: Pixels to a side, and numbers to a vector.
IMAGE_SIZE, DIM = 32, 16


def tiny_config(**changes: Any) -> dict[str, Any]:
    """The open_clip model config; `changes` replace entries of the outermost level."""
    return {
        "embed_dim": DIM,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": IMAGE_SIZE,
            "layers": 2,
            "width": 32,
            "head_width": 16,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 2,
        },
    } | changes


def tiny_model(seed: int = 0, **changes: Any) -> torch.nn.Module:
    """The open_clip module in eval mode; its weights depend on the seed alone.

    The vectors lie apart, as a trained model's do: each tower's projection is made larger, and what
    all inputs share is as good as gone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: torch.nn.Module = open_clip.CLIP(**tiny_config(**changes))
        with torch.no_grad():
            for name, weights in model.named_parameters():
                if name.endswith(
                    ("in_proj_weight", "out_proj.weight", "c_fc.weight", "conv1.weight")
                ):
                    weights.mul_(4.0)
                if name.endswith("token_embedding.weight"):
                    weights.mul_(40.0)
    return model.eval()


def write_tiny_clip(
    folder: Path, *, name: str = "tiny-clip", seed: int = 0, ending: str = ".safetensors"
) -> ClipChoice:
    """Write NAME.json and NAME-SEED.ENDING into the folder. Another seed gives other weights.

    ending: .safetensors, or .pt for a state dict as torch saves it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / f"{name}.json"
    config.write_text(json.dumps(tiny_config()))
    weights: dict[str, Tensor] = {
        key: value.contiguous() for key, value in tiny_model(seed).state_dict().items()
    }
    checkpoint = folder / f"{name}-{seed}{ending}"
    if ending == ".safetensors":
        save_file(weights, checkpoint)
    else:
        torch.save(weights, checkpoint)
    return ClipChoice(model=str(config), pretrained=str(checkpoint))


def picture(seed: int = 0, width: int = 48, height: int = 40) -> Image.Image:
    """A few coloured blocks, RGB; another seed gives other ones."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)


def jpeg(seed: int = 0, width: int = 48, height: int = 40) -> bytes:
    """`picture` as the bytes of a JPEG file."""
    file = io.BytesIO()
    picture(seed, width, height).save(file, "JPEG", quality=90)
    return file.getvalue()
