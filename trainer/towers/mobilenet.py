"""MobileNetV3 as an audio tower, which may begin from a network that learnt AudioSet's labels.

The network is torchvision's, with the settings of EfficientAT's mn04 (arXiv:2211.04772): one input
channel, four tenths of the width, a sigmoid in squeeze-and-excitation. Its last maps are averaged,
and a head turns them into vectors; maps before them may enter the head too, since the last ones keep
little but what decides between the labels. Its weights learnt from the features of `EFFICIENTAT` in
`trainer/front_ends.py`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from soundsearch.files import sha256_of
from trainer.limits import must_be
from trainer.towers.vit import TowerError

#: Inverted residual blocks, between the first and the last convolution.
N_BLOCKS = 15
#: Classes of AudioSet that the published network tells apart.
N_LABELS = 527
#: Width of the published network.
PUBLISHED_WIDTH = 0.4
#: SHA-256 of its weights: mn04_as of EfficientAT (MIT licence, Florian Schmid and others) in single
#: precision, by torchvision's names, as a safetensors file.
PUBLISHED_SHA256 = "b993c8416cfdbfcd22ea512cd57e93c931c9a64a7112e9e9bb7a0aae44717bb7"
PUBLISHED_NAME = "EfficientAT mn04_as (MIT licence)"
#: Ending of such a file.
PUBLISHED = ".safetensors"
#: About the mean and the deviation of the published network's logits for ordinary recordings.
LOGITS_MEAN, LOGITS_STD = -8.6, 1.9


@dataclass(frozen=True, kw_only=True)
class MobileNetConfig:
    """A MobileNetV3 over log-mel features with a head, and what of it learns.

    Attributes:
        width: Channels, as a share of those of torchvision's mobilenet_v3_large.
        hidden: Width of the hidden layer of the head.
        dropout: Share of that layer's numbers that are dropped in training.
        levels: How many of the maps before the last ones the head sees too, by mean and deviation: those
            that enter the last convolution, the block before it, and so on.
        logits: Whether the head also sees the logits of the published classifier, which is frozen.
        dim: Numbers in a vector.
        fixed_blocks: Blocks that do not learn, the first ones, and with them the first convolution;
            0 for none.
        body_rate: Factor on the learning rate of all but the head.
        rate_decay: Factor on the learning rate from each block to the one before it.
        hold_statistics: Whether batch normalisation keeps the mean and variance that it has, in
            place of those of each batch. Those of fixed blocks are held in any case.
    """

    width: float = PUBLISHED_WIDTH
    hidden: int = 1024
    dropout: float = 0.1
    levels: int = 0
    logits: bool = False
    dim: int = 512
    fixed_blocks: int = 0
    body_rate: float = 1.0
    rate_decay: float = 1.0
    hold_statistics: bool = False

    def __post_init__(self) -> None:
        fixed, behind = self.fixed_blocks, N_BLOCKS + 1 - self.fixed_blocks
        must_be("above 0", self.width > 0, width=self.width)
        must_be("1 or more", min(self.hidden, self.dim) >= 1, hidden=self.hidden, dim=self.dim)
        must_be("in [0, 1)", 0 <= self.dropout < 1, dropout=self.dropout)
        must_be(f"from 0 to {N_BLOCKS}", 0 <= fixed <= N_BLOCKS, fixed_blocks=fixed)
        must_be(
            f"from 0 to {behind}, all behind the fixed blocks",
            0 <= self.levels <= behind,
            levels=self.levels,
        )
        must_be("above 0", self.body_rate > 0, body_rate=self.body_rate)
        must_be("above 0 and at most 1", 0 < self.rate_decay <= 1, rate_decay=self.rate_decay)


#: Of a tower that begins from the published weights: their statistics are of more sound than ours.
BEGUN = MobileNetConfig(hold_statistics=True)


class MobileNetTower(nn.Module):
    """Features (n, n_mels, n_frames) to vectors (n, dim)."""

    def __init__(self, config: MobileNetConfig) -> None:
        super().__init__()
        self.config = config
        network = _network(config.width)
        self.features: nn.Sequential = network.features
        self.classifier: nn.Sequential | None = network.classifier if config.logits else None
        self.n_last: int = network.features[-1].out_channels
        self._first_level = len(network.features) - config.levels
        n_levels = sum(_n_channels(one) for one in network.features[self._first_level :])
        n_seen = self.n_last + 2 * n_levels + (N_LABELS if config.logits else 0)
        self.head = Head(n_seen, config)
        if self.classifier is not None:
            self.classifier.requires_grad_(False)
        if config.fixed_blocks:
            self.features[: 1 + config.fixed_blocks].requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        """(n, n_mels, n_frames) float32 -> (n, dim)."""
        return self.embed(self.pool(features))

    def pool(self, features: Tensor) -> Tensor:
        """Run all blocks: (n, n_mels, n_frames) -> numbers (n, n_pooled).

        The first n_last are the mean of the last maps, the others mean and deviation of those of
        `MobileNetConfig.levels`.
        """
        maps = features[:, None]
        levels: list[Tensor] = []
        for i, block in enumerate(self.features):
            if i >= self._first_level:
                levels += [maps.mean(dim=(2, 3)), maps.std(dim=(2, 3))]
            maps = block(maps)
        return torch.cat((maps.mean(dim=(2, 3)), *levels), dim=1)

    def classify(self, pooled: Tensor) -> Tensor:
        """Run the published classifier: what `pool` gives -> logits (n, N_LABELS)."""
        assert self.classifier is not None
        logits: Tensor = self.classifier(pooled[:, : self.n_last])
        return logits

    def embed(self, pooled: Tensor) -> Tensor:
        """Run the head: (n, n_pooled) -> (n, dim)."""
        if self.classifier is not None:
            logits = (self.classify(pooled) - LOGITS_MEAN) / LOGITS_STD
            pooled = torch.cat((pooled, logits), dim=1)
        vectors: Tensor = self.head(pooled)
        return vectors

    def rates(self) -> dict[str, float]:
        """Return beginnings of parameters' names -> factors on the learning rate, for `loop.train`."""
        rate, decay = self.config.body_rate, self.config.rate_decay
        last = len(self.features) - 1
        return {f"features.{i}.": rate * decay ** (last - i) for i in range(last + 1)}

    def train(self, mode: bool = True) -> Self:
        """Set the mode; what is held or fixed stays in evaluation mode."""
        super().train(mode)
        fixed = self.config.fixed_blocks
        n_held = len(self.features) if self.config.hold_statistics else 1 + fixed if fixed else 0
        for module in self.features[:n_held].modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        if self.classifier is not None:
            self.classifier.eval()  # its dropout
        return self


class Head(nn.Module):
    """One hidden layer, and a linear shortcut past it: (n, n_in) -> (n, dim)."""

    mean: Tensor
    std: Tensor

    def __init__(self, n_in: int, config: MobileNetConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_in))
        self.register_buffer("std", torch.ones(n_in))
        self.hidden = nn.Sequential(
            nn.Linear(n_in, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.dim),
        )
        self.shortcut = nn.Linear(n_in, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_in) -> (n, dim)."""
        x = (x - self.mean) / self.std
        vectors: Tensor = self.hidden(x) + self.shortcut(x)
        return vectors

    def standardise(self, mean: Tensor, std: Tensor) -> None:
        """Set by which mean and deviation, (n_in,) each, the numbers are standardised."""
        self.mean.copy_(mean)
        self.std.copy_(std)


def _n_channels(module: nn.Module) -> int:
    """How many channels the maps have that enter a module."""
    return next(one.in_channels for one in module.modules() if isinstance(one, nn.Conv2d))


def _network(width: float) -> Any:
    """Return torchvision's network for one channel and AudioSet's classes, with random weights."""
    from torchvision.models.mobilenetv3 import InvertedResidual, mobilenet_v3_large
    from torchvision.ops.misc import SqueezeExcitation

    excitation = functools.partial(SqueezeExcitation, scale_activation=nn.Sigmoid)
    network = mobilenet_v3_large(
        width_mult=width,
        num_classes=N_LABELS,
        block=functools.partial(InvertedResidual, se_layer=excitation),
    )
    first = network.features[0][0]
    network.features[0][0] = nn.Conv2d(1, first.out_channels, 3, stride=2, padding=1, bias=False)
    return network


def begin_from_published(tower: MobileNetTower, path: Path) -> None:
    """Load the published weights into a tower, all but those of the head.

    Args:
        tower: Of the published width.
        path: The file of PUBLISHED_SHA256.

    Raises:
        TowerError: The file cannot be read or is another one, or the tower has another width.
    """
    from safetensors.torch import load_file

    try:
        found = sha256_of(path)
    except OSError as error:
        raise TowerError(f"{path}: cannot be read ({error.strerror})") from error
    if found != PUBLISHED_SHA256:
        raise TowerError(
            f"{path}: its SHA-256 is {found[:12]}..., that of EfficientAT's mn04_as is "
            f"{PUBLISHED_SHA256[:12]}...; begin from that file, a run, or random"
        )
    if tower.config.width != PUBLISHED_WIDTH:
        raise TowerError(
            f"{path}: weights of width {PUBLISHED_WIDTH}, this tower has {tower.config.width}; "
            "leave out mobilenet.width"
        )
    _fill(tower, load_file(path))


def _fill(tower: MobileNetTower, weights: dict[str, Tensor]) -> None:
    """Load weights by torchvision's names; squeeze-and-excitation may be of linear layers there."""
    own = tower.state_dict()
    head = {name: value for name, value in own.items() if name.startswith("head.")}
    body = {name: value for name, value in weights.items() if name in own}
    tower.load_state_dict(
        head | {name: value.reshape(own[name].shape) for name, value in body.items()}
    )
