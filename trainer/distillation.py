"""Soft labels: what a tagger says of a sound becomes a target for its embedding.

The tagger's scores are for classes with names. A text tower turns the names into vectors; the audio
tower learns embeddings whose cosines with these vectors are distributed as the scores are: over the
classes of a sound, and over the sounds of a class.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainer.towers.unit import embed_unit

Array = NDArray[np.float32]

#: Smallest deviation of a class's logits over sounds that is divided by.
LEAST_STD = 0.1


def class_texts(name: str, prompt: str) -> list[str]:
    """Return four ways to say a class's name, such as "Gush" or "Child speech, kid speaking".

    prompt: A sentence with {} for a name.
    """
    plain = name.lower()
    parts = [part.strip() for part in re.sub(r"\(.*?\)", "", plain).split(",")]
    return [plain, prompt.format(plain), prompt.format(parts[0]), parts[-1]]


def class_vectors(
    names: Sequence[str], embed: Callable[[Sequence[str]], Array], prompt: str
) -> Tensor:
    """Return one unit vector for each class, the mean of those of its texts, (n_classes, width)."""
    texts = [text for name in names for text in class_texts(name, prompt)]
    vectors = embed_unit(torch.from_numpy(embed(texts)))
    return embed_unit(vectors.reshape(len(names), -1, vectors.shape[1]).mean(dim=1))


def standardised(logits: Tensor) -> Tensor:
    """Standardise a tagger's logits (n, n_classes), each class by mean and deviation."""
    std = logits.std(dim=0, correction=0).clamp(min=LEAST_STD)
    return (logits - logits.mean(dim=0)) / std


def class_loss(cosine: Tensor, scale: Tensor, logits: Tensor) -> Tensor:
    """Divergence of the student's distribution over classes from the tagger's.

    The tagger's scores are independent. As a distribution over classes they say what fits a sound
    best, however weakly.

    Args:
        cosine: (n, n_classes) of sounds and class names.
        scale: A scalar, by which cosines become logits.
        logits: (n, n_classes), the tagger's.

    Returns:
        A scalar, mean of the sounds.
    """
    wanted = torch.softmax(logits, dim=1)
    found = torch.log_softmax(scale * cosine, dim=1)
    return functional.kl_div(found, wanted, reduction="batchmean")


def sound_loss(cosine: Tensor, scale: Tensor, wanted: Tensor) -> Tensor:
    """Divergence of the student's distribution over sounds from the tagger's.

    Every class counts alike, also one that none of the sounds belongs to: which of them is most
    like a cat says what a cat would sound like.

    Args:
        cosine: (n, n_classes) of sounds and class names.
        scale: A scalar, by which cosines become logits.
        wanted: (n, n_classes), the tagger's logits, standardised for each class.

    Returns:
        A scalar, mean of the classes.
    """
    target = torch.softmax(wanted, dim=0)
    found = torch.log_softmax(scale * cosine, dim=0)
    return functional.kl_div(found, target, reduction="sum") / cosine.shape[1]
