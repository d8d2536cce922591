"""What two processes compute together, for tests to compare with one; run under two ranks.

python -m tests.trainer.two_processes FOLDER writes FOLDER/NAME.safetensors for each case.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.trainer.made_shards import FRONT_END, TINY
from trainer.contrast import Contrast, ContrastConfig, contrast_step
from trainer.loop import Amp, LoopConfig, train
from trainer.runs import StageConfig, build_tower
from trainer.torchrun import World, join_processes
from trainer.towers.compact import AudioTowerConfig
from trainer.towers.mobilenet import MobileNetConfig

ROOT = Path(__file__).parents[2]
N_CLIPS, DIM = 8, 6
COMPACT = dataclasses.replace(
    TINY,
    tower="compact",
    compact=AudioTowerConfig(widths=(4, 8), depths=(2, 1), pooled=8),
)
#: With statistics that are held beside those of the batch.
MOBILENET = dataclasses.replace(
    TINY,
    tower="mobilenet",
    mobilenet=MobileNetConfig(width=0.1, hidden=8, dropout=0.0, fixed_blocks=15),
)
#: Name -> tower and loss.
CASES: dict[str, tuple[StageConfig, ContrastConfig]] = {
    "vit": (TINY, ContrastConfig()),
    "vit-chunks": (TINY, ContrastConfig(chunk=3)),
    "vit-even-chunks": (TINY, ContrastConfig(chunk=2, duplicates="ignored")),
    "vit-three-way": (TINY, ContrastConfig(three_way=True)),
    "vit-three-way-chunks": (TINY, ContrastConfig(three_way=True, chunk=3)),
    "compact": (COMPACT, ContrastConfig()),
    "mobilenet": (MOBILENET, ContrastConfig()),
    "compact-mean": (COMPACT, ContrastConfig(reduction="mean", largest_logit_scale=20.0)),
}
#: Steps large enough to show in the weights; Adam would make steps of rounding, too.
LOOP = LoopConfig(
    steps=3,
    warmup_steps=0,
    optimiser="lars",
    learning_rate=20.0,
    flat_learning_rate=1e-3,
    average=0.5,
    precision="fp32",
)


def gradients(name: str, world: World) -> dict[str, Tensor]:
    """The loss, every gradient and every buffer after one step of a case."""
    tower, loss = CASES[name]
    torch.manual_seed(5)
    dim, n_scales = (DIM // 2, 3) if loss.three_way else (DIM, 1)
    model = Contrast(build_tower(tower, dim), loss.logit_scale, n_scales).train()
    step = contrast_step(model, lambda _: own_part(0, world), loss, world)
    losses = step(0, Amp("fp32", torch.device("cpu")))
    found = {f"gradient.{key}": p.grad for key, p in model.named_parameters() if p.grad is not None}
    return {**losses, **found, **{f"buffer.{key}": b for key, b in model.named_buffers()}}


def weights(name: str, folder: Path, world: World) -> dict[str, Tensor]:
    """The averaged weights after a few steps of a case."""
    tower, loss = CASES[name]
    torch.manual_seed(5)
    model = Contrast(build_tower(tower, DIM), loss.logit_scale)
    step = contrast_step(model, lambda number: own_part(number, world), loss, world)
    return train(model, step, LOOP, folder, world=world).state_dict()


def own_part(step: int, world: World) -> tuple[Tensor, Tensor]:
    """This process's part of the batch."""
    generator = torch.Generator().manual_seed(step)
    shape = (N_CLIPS, FRONT_END.features.n_mels, FRONT_END.features.n_frames)
    features = torch.randn(shape, generator=generator)
    # halves of different loudness: statistics of one half are not those of the whole
    features[N_CLIPS // 2 :] *= 3
    vectors = torch.randn(N_CLIPS, DIM, generator=generator)
    n_own = N_CLIPS // world.size
    own = slice(n_own * world.rank, n_own * (world.rank + 1))
    return features[own], vectors[own]


def everything(folder: Path, world: World) -> dict[str, dict[str, Tensor]]:
    """Name of a case -> tensors by name."""
    found = {name: gradients(name, world) for name in CASES}
    trained = {
        f"{name}-trained": weights(name, folder / name, world) for name in ("vit", "compact")
    }
    return found | trained


def run_two(*arguments: str) -> None:
    """Run a module with arguments in two processes, as torchrun would, on the CPU."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    facts = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    alike = {**os.environ, **facts, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    children = [
        subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env={**alike, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    errors = [child.communicate(timeout=100)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], "\n".join(errors)[-3000:]


def main() -> None:
    folder = Path(sys.argv[1])
    with join_processes(torch.device("cpu")) as world:
        for name, tensors in everything(folder, world).items():
            if world.is_main:
                save_file(
                    {k: v.contiguous() for k, v in tensors.items()}, folder / f"{name}.safetensors"
                )


if __name__ == "__main__":
    main()
