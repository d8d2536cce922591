"""Every text that may stand for a sound: captions as they are and inside templates, tags, class names."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifests import Recording
from trainer.starter.corpus import TEMPLATES
from trainer.starter.scenes import Kind, Scenes, captions_of


@dataclass(frozen=True)
class Texts:
    """Every text that may stand for a sound, and which.

    texts: all of them, without duplicates. of_clip, of_scene: for each, numbers of the texts that may
    be drawn (a plain caption several times, so that it comes up more often). of_class: numbers of
    the texts for each of the tagger's classes, equally many for each.
    """

    texts: list[str]
    of_clip: list[list[int]]
    of_scene: list[list[int]]
    of_class: NDArray[np.int64]


def texts_of(
    clips: Sequence[Recording], scenes: Scenes, class_names: Sequence[str], prompt: str, seed: int
) -> Texts:
    """Captions as they are, inside templates, with tags, and tags alone; composed; class names.

    clips: those that the scenes' members number. prompt: with {} where a class goes.
    """
    generator = random.Random(seed)
    numbers: dict[str, int] = {}

    def number(text: str) -> int:
        return numbers.setdefault(text, len(numbers))

    of_clip = []
    for clip in clips:
        some = [number(clip.caption)] * 4 + [
            number(template.format(clip.caption)) for template in generator.sample(TEMPLATES, 2)
        ]
        if clip.tags:
            some.append(number(", ".join(clip.tags)))
            some.append(number(", ".join((clip.caption, *clip.tags))))
        of_clip.append(some)
    of_scene: list[list[int]] = []
    for members, kind in zip(scenes.members, scenes.kinds, strict=True):
        who = [int(clip) for clip in members if clip >= 0]
        if kind == Kind.BENT:
            of_scene.append([])
            continue
        if len(who) == 1:
            of_scene.append(of_clip[who[0]])
            continue
        forms = captions_of([clips[clip].caption for clip in who], Kind(kind))
        of_scene.append([number(text) for text in generator.sample(forms, 2)])
    of_class = [[number(text) for text in class_texts(name, prompt)] for name in class_names]
    return Texts(list(numbers), of_clip, of_scene, np.array(of_class, np.int64))


def class_texts(name: str, prompt: str) -> list[str]:
    """Four ways to say a class's name, such as "Gush" or "Child speech, kid speaking"."""
    plain = name.lower()
    parts = [part.strip() for part in re.sub(r"\(.*?\)", "", plain).split(",")]
    return [plain, prompt.format(plain), prompt.format(parts[0]), parts[-1]]
