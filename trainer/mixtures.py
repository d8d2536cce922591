"""Two or three recordings in one window, and what such a mixture is called.

Recordings are few, what can be made of them is endless. They sound together, one behind the other
or one after the other; the caption is composed of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.augmentation import gain_of, level_of
from trainer.limits import must_be

Array = NDArray[np.float32]

#: Most recordings in a mixture.
MOST = 3


class Kind(IntEnum):
    """How the members of a mixture stand to each other."""

    SINGLE = 0
    TOGETHER = 1
    BEHIND = 2
    SEQUENCE = 3


#: What a mixture of two is called, its members' captions put in.
FORMS = {
    Kind.TOGETHER: ("{a} and {b}", "{b} and {a}", "{a} while {b}", "{a} with {b}"),
    Kind.BEHIND: ("{a} with {b} in the background", "{a} and {b}", "{a} while {b}"),
    Kind.SEQUENCE: ("{a}, then {b}", "{a} followed by {b}", "{b} after {a}", "{a} and {b}"),
}
FORM_OF_THREE = "{a}, {b} and {c}"


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """How mixtures are made.

    Attributes:
        kinds: Shares of mixtures together, in the background, in sequence.
        three_share: Share of those together that have three members.
        apart_db: Largest difference of two members' levels.
        behind_db: Least and largest difference of the background's.
    """

    kinds: tuple[float, float, float] = (0.55, 0.2, 0.25)
    three_share: float = 0.2
    apart_db: float = 6.0
    behind_db: tuple[float, float] = (6.0, 15.0)

    def __post_init__(self) -> None:
        if min(self.kinds) < 0 or abs(sum(self.kinds) - 1) > 1e-6:
            raise ValueError(
                f"kinds are shares of all mixtures and make 1, not {sum(self.kinds):g}"
            )
        must_be("0 to 1", 0 <= self.three_share <= 1, three_share=self.three_share)

    def draw(self, rng: np.random.Generator) -> tuple[Kind, int]:
        """Draw a kind, and the number of members."""
        kind = Kind(1 + rng.choice(len(self.kinds), p=self.kinds))
        return kind, 3 if kind is Kind.TOGETHER and rng.random() < self.three_share else 2


def arrange(
    sounds: Sequence[Array],
    kind: Kind,
    rate: int,
    size: int,
    rng: np.random.Generator,
    config: MixtureConfig,
) -> Array:
    """Lay sounds of about equal loudness into one window.

    Args:
        sounds: Each (time,) float32. Not modified; a long one is cut, a short one is repeated, or
            sounds once at a random place.
        kind: How they stand to each other; the first is the foreground.
        rate: In Hz.
        size: Samples of the window.
        rng: Draws places and levels.
        config: Of levels.

    Returns:
        (size,) float32; the louder half of the first sound has a root mean square of 1.
    """
    window = np.zeros(size, np.float32)
    levelled = [sound / np.float32(level_of(sound, rate)) for sound in sounds]
    if kind is Kind.SEQUENCE:
        turn = round(size * rng.uniform(0.35, 0.65))
        first, second = levelled
        first, second = first[:turn], second[: size - turn]
        window[: len(first)] += first
        louder = gain_of(-config.apart_db, config.apart_db, rng)
        window[turn : turn + len(second)] += second * louder
        return window
    for i, sound in enumerate(levelled):
        low, high = (-config.apart_db, config.apart_db) if i else (0.0, 0.0)
        if kind is Kind.BEHIND and i:
            low, high = -config.behind_db[1], -config.behind_db[0]
        window += _placed(sound, size, rng, alone=kind is Kind.SINGLE) * gain_of(low, high, rng)
    return window


def _placed(sound: Array, size: int, rng: np.random.Generator, *, alone: bool) -> Array:
    """A sound over a whole window: a short one repeated, as at search time, or once somewhere."""
    if len(sound) >= size:
        return sound[:size]
    if alone:
        return np.resize(sound, size)
    if rng.random() < 0.5:
        return np.roll(np.resize(sound, size), int(rng.integers(size)))
    placed = np.zeros(size, np.float32)
    start = int(rng.integers(size - len(sound) + 1))
    placed[start : start + len(sound)] = sound
    return placed


def captions_of(members: Sequence[str], kind: Kind) -> list[str]:
    """Return the sentences a mixture may be called by."""
    if len(members) == 1:
        return [members[0]]
    if len(members) == MOST:
        a, b, c = members
        return [FORM_OF_THREE.format(a=a, b=b, c=c), FORM_OF_THREE.format(a=c, b=a, c=b)]
    a, b = members
    return [form.format(a=a, b=b) for form in FORMS[kind]]


def covered(members: Tensor) -> Tensor:
    """Return which texts name nothing that does not sound.

    Args:
        members: (n, at most) numbers of what sounds in each window, -1 for nothing; the text of
            each row names all of them.

    Returns:
        (n, n) bool; [i, j] is true where all that text j names sounds in window i.
    """
    found = torch.ones(len(members), len(members), dtype=torch.bool, device=members.device)
    for named in members.T:  # column by column, which is faster than all at once
        sounds = (members[:, :, None] == named).any(dim=1)
        found &= sounds | (named == -1)
    return found


def named_in_part(members: Tensor) -> Tensor:
    """Return which texts name a part of what sounds, and no more: neither right nor wrong.

    Args:
        members: As in `covered`.

    Returns:
        (n, n) bool; [i, j] is true where all that text j names sounds in window i, and more.
    """
    found = covered(members)
    return torch.logical_and(found, ~found.T)
