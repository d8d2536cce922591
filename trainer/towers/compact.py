"""The compact audio tower, for computers without a GPU: a small residual network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class AudioTowerConfig:
    """A small residual network over log-mel features.

    Attributes:
        widths: Channels of each stage.
        depths: Residual blocks of each stage. Each stage but the first halves both axes.
        patch: Size (mel bands, frames) and stride of the first convolution.
        pooled: Channels before the mean and maximum over time.
        dim: Numbers in a vector.
        dynamic_range: Range below the level of the window, in natural-log units of energy (4.34 dB
            each); lower values are clipped.
    """

    widths: tuple[int, ...] = (48, 96, 192, 384)
    depths: tuple[int, ...] = (1, 1, 1, 1)
    patch: tuple[int, int] = (4, 8)
    pooled: int = 512
    dim: int = 256
    dynamic_range: float = 14.0

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.depths) or not self.widths:
            raise ValueError(f"need as many widths as depths, not {self.widths} and {self.depths}")


class AudioTower(nn.Module):
    """Features (n, n_mels, n_frames) to vectors (n, dim).

    The tower first subtracts the level of the window, so that a recording 15 dB louder or softer
    gets the same vector. For that it inverts the normalisation of the features by mean and std. On
    export batch normalisation is folded into the convolutions.
    """

    def __init__(self, config: AudioTowerConfig, n_mels: int, mean: float, std: float) -> None:
        super().__init__()
        self.config = config
        self.mean, self.std = mean, std
        first, last = config.widths[0], config.widths[-1]
        n_rows = n_mels // config.patch[0]
        self.stem: nn.Module = nn.Conv2d(1, first, config.patch, config.patch)
        #: Learnt offset of each position on the frequency axis, since convolutions do not depend on it.
        self.height = nn.Parameter(torch.zeros(first, n_rows, 1))
        self.norm: nn.Module = nn.BatchNorm2d(first)
        blocks: list[nn.Module] = []
        n_in = first
        for stage, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            for i in range(depth):
                blocks.append(ResidualBlock(n_in, width, stride=2 if stage and i == 0 else 1))
                n_in = width
        self.blocks = nn.Sequential(*blocks)
        for _ in config.widths[1:]:
            n_rows = (n_rows + 1) // 2
        self.merge = nn.Conv1d(last * n_rows, config.pooled, 1)
        self.project = nn.Linear(2 * config.pooled, config.dim)

    def forward(self, features: Tensor) -> Tensor:
        """(n, n_mels, n_frames) float32 -> (n, dim)."""
        vectors: Tensor = self.project(self.pool(features))
        return vectors

    def pool(self, features: Tensor) -> Tensor:
        """Return the pooled vector before the last projection, (n, 2 * pooled)."""
        x = self.levelled(features)[:, None]
        x = functional.relu(self.norm(self.stem(x)) + self.height)
        x = self.blocks(x)  # (n, last, n_rows, n_columns)
        x = functional.relu(self.merge(x.flatten(1, 2)))  # (n, pooled, n_columns)
        return torch.cat((x.mean(dim=2), x.amax(dim=2)), dim=1)

    def levelled(self, features: Tensor) -> Tensor:
        """Return log-mel relative to the log of the window's mean energy, clipped and scaled.

        Features and result are (n, n_mels, n_frames) float32.
        """
        log_mel = features.float() * self.std + self.mean
        loudest = log_mel.amax(dim=(1, 2), keepdim=True)
        level = loudest + (log_mel - loudest).exp().mean(dim=(1, 2), keepdim=True).log()
        depth = self.config.dynamic_range
        return (log_mel - level).clamp(min=-depth) / (depth / 2) + 1.0


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; a stride of 2 halves both axes (rounding up)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.convolve1: nn.Module = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(n_out)
        self.convolve2: nn.Module = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_in, n_rows, n_columns) -> (n, n_out, ...)."""
        y = functional.relu(self.norm1(self.convolve1(x)))
        return functional.relu(self.norm2(self.convolve2(y)) + self.shortcut(x))
