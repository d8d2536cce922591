"""Texts of classes: one or several for each, and how several make one score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soundsearch.arrays import Array
from soundsearch.choices import ClassScore
from soundsearch.config import read_json
from soundsearch.encoder.embed_clips import ClipEmbeddings, score_texts
from soundsearch.errors import BenchmarkError, ConfigError

#: Where a label or caption stands in a prompt.
BLANK = "{}"
#: Beginning of a listed text that is about a picture, and what a sound has in its place.
#: Source: VIP-ANT, `cvap/data/esc50.py`.
OF_A_PICTURE, OF_A_SOUND = "a photo of", "the sound of"


@dataclass(frozen=True)
class ListedTexts:
    """Whole texts of classes, from a file. name: of the file. texts: by class, in words."""

    name: str
    texts: Mapping[str, tuple[str, ...]]

    def of(self, classes: Sequence[str], first: int | None = None) -> list[tuple[str, ...]]:
        """The texts of each class, all as they are.

        Args:
            classes: Names of classes.
            first: Of each class only so many, and those of a picture are put as of a sound.

        Raises:
            BenchmarkError: A class has no texts, or two have the same one.
        """
        words = class_words(classes)
        if lacking := [word for word in words if word not in self.texts]:
            raise BenchmarkError(
                f"{self.name}: no texts for class {lacking[0]!r} ({len(lacking)} of {len(words)} "
                f"classes lack them); it has {', '.join(list(self.texts)[:3])}, ..."
            )
        found = [self.texts[word] for word in words]
        if first is not None:
            found = [tuple(map(_of_a_sound, texts[:first])) for texts in found]
        owner: dict[str, str] = {}
        for word, texts in zip(words, found, strict=True):
            for text in texts:
                if owner.setdefault(text, word) != word:
                    raise BenchmarkError(
                        f"{self.name}: {text!r} stands for {owner[text]!r} and for {word!r}; "
                        "no text can tell them apart"
                    )
        return found


def read_class_texts(path: Path) -> ListedTexts:
    """Read a JSON object of class names, in words, and lists of whole texts.

    The authors of VIP-ANT have such a file for ESC-50. Raises BenchmarkError.
    """
    try:
        plain = read_json(path)
    except ConfigError as error:
        raise BenchmarkError(str(error)) from error
    for name, texts in plain.items():
        good = isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)
        if not good or not all(text.strip() for text in texts):
            raise BenchmarkError(
                f"{path}: class {name!r} has {str(texts)[:80]}, expected a list of one or more texts"
            )
    return ListedTexts(path.name, {_words(name): tuple(texts) for name, texts in plain.items()})


def class_words(classes: Sequence[str]) -> list[str]:
    """The name of each class with blanks for underscores.

    Raises BenchmarkError for a name without a word, and for two classes of one name.
    """
    words = list(map(_words, classes))
    for i, word in enumerate(words):
        if not word:
            raise BenchmarkError(f"class {classes[i]!r} holds no word that a prompt could take")
        if words.index(word) != i:
            raise BenchmarkError(
                f"classes {classes[words.index(word)]!r} and {classes[i]!r} both read {word!r}; "
                "no text can tell them apart"
            )
    return words


def prompted(classes: Sequence[str], prompts: Sequence[str]) -> list[tuple[str, ...]]:
    """The texts of each class: its name in every prompt. Raises BenchmarkError as `class_words`."""
    return [
        tuple(prompt.replace(BLANK, word) for prompt in prompts) for word in class_words(classes)
    ]


def score_classes(
    vectors: Array, counts: Sequence[int], clips: ClipEmbeddings, way: ClassScore, normalise: bool
) -> Array:
    """Score classes against clips.

    Args:
        vectors: Embeddings (n_texts, dim) of all texts, class by class.
        counts: How many of them each class has, (n_classes,), each 1 or more.
        clips: Embeddings of n_clips clips.
        way: best: a class scores by the best of its texts, so that the best of all texts decides.
            mean: by the mean of their embeddings.
        normalise: Whether a mean is scaled to unit length.

    Returns:
        (n_classes, n_clips) float32.

    Source of best: VIP-ANT, `cvap/module/decoder/loss_head.py`, ClassificationHead.report; of mean:
    CLIP (arXiv 2103.00020, section 3.1.4).
    """
    first = np.cumsum([0, *counts], dtype=np.int64)
    if way == "mean":
        sums = np.add.reduceat(vectors.astype(np.float64), first[:-1], axis=0)
        means = (sums / np.diff(first)[:, None]).astype(np.float32)
        unit = ClipEmbeddings(vectors, first).mean().vectors
        return score_texts(unit if normalise else means, clips)
    scores: Array = np.maximum.reduceat(score_texts(vectors, clips), first[:-1], axis=0)
    return scores


def way_in_words(texts: Sequence[Sequence[str]], way: ClassScore) -> str:
    """How the texts of a class make its score, "best of 4"; "" where every class has one."""
    least, most = min(map(len, texts)), max(map(len, texts))
    if most == 1:
        return ""
    return f"{way} of {most}" if least == most else f"{way} of {least} to {most}"


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").split())


def _of_a_sound(text: str) -> str:
    return OF_A_SOUND + text.removeprefix(OF_A_PICTURE) if text.startswith(OF_A_PICTURE) else text
