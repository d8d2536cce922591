"""What a teacher says of a class, beside what it says of it as a rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.starter.scenes import Kind, Scenes

#: Scenes of which mean and deviation are taken.
N_USUAL = 20_000
#: Smallest deviation that is divided by.
LEAST_STD = 0.1


@dataclass(frozen=True)
class Opinions:
    """Log-odds of many scenes, (n, n_classes), and their mean and deviation, (n_classes,)."""

    logits: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, scenes: Scenes, taken: NDArray[np.bool_]) -> Opinions:
        """Those of the first N_USUAL scenes with a caption in which only clips that are `taken` sound."""
        heard = np.append(taken, True)[scenes.members].all(axis=1)  # -1 is nobody
        usual = np.flatnonzero(heard & (scenes.kinds != Kind.BENT))[:N_USUAL]
        logits = torch.from_numpy(scenes.logits[usual].astype(np.float32))
        std = logits.std(dim=0, correction=0).clamp(min=LEAST_STD)
        return cls(logits, logits.mean(dim=0), std)

    def standardised(self, logits: Tensor) -> Tensor:
        """Log-odds (n, n_classes), each class by its mean and deviation."""
        return (logits - self.mean) / self.std
