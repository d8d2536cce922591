"""A CLIP of open_clip's own make, small enough to be trained here in a minute or two.

Trained on pictures and sentences, written as a JSON model config and a checkpoint, and from then on
frozen: the rest goes by `trainer.towers.clip_model`, as it would with published weights.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from soundsearch.files import write_atomically
from trainer.towers.clip_model import ClipChoice

logger = logging.getLogger(__name__)

#: The model, as open_clip describes its own; 32 x 32 pixels in patches of 8.
MODEL: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {
        "image_size": 32,
        "layers": 4,
        "width": 96,
        "head_width": 24,
        "patch_size": 8,
    },
    "text_cfg": {"context_length": 20, "width": 96, "heads": 4, "layers": 2},
}
LARGEST_LOG_SCALE = 4.6052  # CLIP's own bound, a factor of 100
LEARNING_RATE = 1.5e-3


def train_small_clip(
    batch_of: Callable[[np.random.Generator], tuple[Sequence[Image.Image], Sequence[str]]],
    folder: Path,
    *,
    steps: int,
    seed: int,
) -> ClipChoice:
    """Train on batches of pictures with a sentence each; returns where the result was written.

    The loss is open_clip's. A result that is there already is taken as it is.
    """
    import open_clip

    choice = ClipChoice(
        model=str(folder / "small-clip.json"), pretrained=str(folder / "small-clip.safetensors")
    )
    if Path(choice.pretrained).exists():
        return choice
    folder.mkdir(parents=True, exist_ok=True)
    Path(choice.model).write_text(json.dumps(MODEL, indent=2), encoding="utf-8")
    torch.manual_seed(seed)
    random = np.random.default_rng((seed, 2))
    model = open_clip.CLIP(**MODEL)
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL["text_cfg"]["context_length"])
    transform = open_clip.image_transform(MODEL["vision_cfg"]["image_size"], is_train=False)
    loss_of = open_clip.ClipLoss()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.08, cycle_momentum=False
    )
    for step in range(steps):
        images, texts = batch_of(random)
        pixels = torch.stack([transform(image) for image in images])
        image_vectors, text_vectors, scale = model(pixels, tokenizer(list(texts)))
        loss: Tensor = loss_of(image_vectors, text_vectors, scale)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=LARGEST_LOG_SCALE)
        if (step + 1) % 100 == 0:
            logger.info("small CLIP: step %d, loss %.3f", step + 1, loss.item())
    write_clip(model, Path(choice.pretrained))
    return choice


def write_clip(model: torch.nn.Module, path: Path) -> None:
    """The weights as safetensors, written atomically."""
    from safetensors.torch import save_file

    with write_atomically(path) as temporary:
        save_file({name: v.contiguous() for name, v in model.state_dict().items()}, temporary)
