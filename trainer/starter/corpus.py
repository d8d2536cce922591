"""The texts on which the text tower learns from its teacher.

A search box is given sentences, labels, tags and single words, with typing errors; each kind is
here. Texts only: nothing is paired with a sound at this stage. Only training rows are read.
"""

from __future__ import annotations

import csv
import json
import random
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from soundsearch.errors import SoundsearchError
from trainer.data.manifests import Clip

AUDIOCAPS_TRAIN = "captions/audiocaps_train.csv"
AUDIOCAPS_VALID = "captions/audiocaps_val.csv"
ONTOLOGY = "captions/audioset_ontology.json"

#: Sentences and phrases into which a word or a label is put.
TEMPLATES = (
    "the sound of {}",
    "sound of {}",
    "{} sound",
    "{} sounds",
    "this is a sound of {}",
    "a recording of {}",
    "{} recording",
    "{} noise",
    "someone recorded {}",
    "{} in the distance",
    "{} in the background",
    "loud {}",
    "{} sfx",
)


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """How many texts of the made-up kinds there are; the published texts all enter.

    n_combinations: random groups of two to four words. typo_share: share of the published texts
    that enter a second time with a typing error, with the clean text's embedding as the target.
    """

    n_combinations: int = 30_000
    typo_share: float = 0.25
    seed: int = 0


@dataclass(frozen=True)
class Lesson:
    """A text, and the text whose embedding it should get: itself, or itself without a slip."""

    text: str
    meaning: str


def build_corpus(
    data: Path, clips: Sequence[Clip], words: Sequence[str], config: CorpusConfig
) -> list[Lesson]:
    """All lessons, without duplicates, in a fixed order.

    data: folder with `captions/`. clips: recordings whose captions and tags enter; the training
    split. words: whole words of the tokenizer's vocabulary.
    """
    generator = random.Random(config.seed)
    labels = sorted({clip.caption for clip in clips} | {tag for clip in clips for tag in clip.tags})
    names, definitions = read_ontology(data)
    published = [*read_audiocaps(data / AUDIOCAPS_TRAIN), *definitions, *names, *labels]
    for label in (*names, *labels):
        published.extend(generator.choice(TEMPLATES).format(label) for _ in range(2))
    published += [f"{a}, {b}" for a, b in _pairs(labels + names, len(labels), generator)]
    published += [f"{a} and {b}" for a, b in _pairs(labels + names, len(labels), generator)]
    published += [", ".join((clip.caption, *clip.tags)) for clip in clips if clip.tags]
    published += [", ".join(clip.tags) for clip in clips if len(clip.tags) > 1]
    made = list(words)
    made += [generator.choice(TEMPLATES).format(word) for word in words]
    made += [plural(word) for word in words if word.isalpha() and len(word) > 2]
    for _ in range(config.n_combinations):
        made.append(" ".join(generator.choices(words, k=generator.randint(2, 4))))
    lessons = [Lesson(text, text) for text in (*published, *made)]
    for text in published:
        if generator.random() < config.typo_share:
            lessons.append(Lesson(with_typo(text, generator), text))
    return list(dict.fromkeys(lessons))


def read_audiocaps(path: Path) -> list[str]:
    """The captions of one of AudioCaps' CSV files."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [row["caption"].strip() for row in csv.DictReader(file)]
    except (OSError, KeyError) as error:
        raise SoundsearchError(f"{path}: not a readable AudioCaps CSV file ({error})") from error


def read_ontology(data: Path) -> tuple[list[str], list[str]]:
    """Names, in lower case, and definitions of AudioSet's classes."""
    path = data / ONTOLOGY
    try:
        classes = json.loads(path.read_text(encoding="utf-8"))
        return (
            [entry["name"].lower() for entry in classes],
            [entry["description"] for entry in classes if entry["description"]],
        )
    except (OSError, ValueError, KeyError) as error:
        raise SoundsearchError(f"{path}: not a readable AudioSet ontology ({error})") from error


def whole_words(vocabulary: Iterable[str]) -> list[str]:
    """The tokens that are words of Latin letters on their own: no pieces, digits or symbols."""
    letters = set(string.ascii_lowercase)
    return sorted(token for token in vocabulary if len(token) > 1 and set(token) <= letters)


def plural(word: str) -> str:
    """The regular English plural."""
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def with_typo(text: str, generator: random.Random) -> str:
    """One slip in one longer word: two letters swapped, one lost, doubled or replaced."""
    words = text.split(" ")
    longer = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not longer:
        return text
    i = generator.choice(longer)
    word = words[i]
    at = generator.randrange(1, len(word) - 1)
    words[i] = generator.choice(
        (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + generator.choice(string.ascii_lowercase) + word[at + 1 :],
        )
    )
    return " ".join(words)


def _pairs(texts: Sequence[str], n: int, generator: random.Random) -> list[tuple[str, str]]:
    return [(generator.choice(texts), generator.choice(texts)) for _ in range(n)]
