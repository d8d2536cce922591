"""The texts on which the text tower learns from its teacher.

A search box is given sentences, labels, tags, file names, requests and single words, of any
length, with typing errors; each kind is here. Texts only: nothing is paired with a sound at this
stage. Only training rows are read, and the project's own vocabulary.
"""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.starter.manifests import Recording
from soundsearch.errors import SoundsearchError
from soundsearch.tables import Table
from soundsearch.vocabulary import load_vocabulary
from trainer.english import VERBS, head_of, may_be_counted, plural
from trainer.text_distillation import DistillationPair

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
#: What a request means: the first template, whatever words it is wrapped in.
ASKED = TEMPLATES[0]
REQUESTS = (
    "find {}",
    "i need {}",
    "give me {} please",
    "i am looking for {}",
    "looking for the sound of {}",
    "search for {}",
    "do you have {}?",
    "can you find {}?",
    "is there a recording of {} in here?",
    "show me everything with {}",
    "what does {} sound like?",
    "{} sound effect",
    "{} audio clip",
    "{} wav",
)
#: Sounds heard together or in turn.
JOINS = (
    "{a}, {b}",
    "{a} and {b}",
    "{a} while {b}",
    "{a} with {b}",
    "{a} with {b} in the background",
    "{a}, then {b}",
    "{a} then {b}",
    "{a} followed by {b}",
    "{b} after {a}",
    "{a} without {b}",
    "{a}, {b} and {c}",
)

#: Words that a name in a library leaves out.
SMALL_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "by",
        "from",
        "her",
        "his",
        "in",
        "into",
        "is",
        "it",
        "its",
        "of",
        "on",
        "the",
        "to",
        "while",
        "with",
    ]
)
#: Letters that lie side by side on a keyboard.
KEY_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
#: Texts of at least so many words get two slips.
LONG = 9


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """How many texts of the made-up kinds there are; the published texts all enter.

    A sound is a label, a tag, a class name or a phrase of the vocabulary. For each sound there are
    so many templates, joined (with other sounds), requests, filed (names as libraries write them).
    n_passages: two to four captions in a row. n_combinations: random groups of two to four words.
    filed_share: share of the captions that also enter as names. slips_per_sound, and slip_share of
    all other texts: how many enter again with typing errors and the clean text's embedding as the
    target.
    """

    templates: int = 2
    joined: int = 3
    requests: int = 1
    filed: int = 2
    n_passages: int = 3_000
    n_combinations: int = 10_000
    filed_share: float = 0.08
    slips_per_sound: int = 2
    slip_share: float = 0.16
    seed: int = 0


def build_corpus(
    data: Path, recordings: Sequence[Recording], words: Sequence[str], config: CorpusConfig
) -> list[DistillationPair]:
    """All distillation pairs, in a fixed order, no text twice.

    data: folder with `captions/`. recordings: those whose captions and tags enter; the training
    split. words: whole words of the tokenizer's vocabulary.

    Texts that differ in case alone are one text, since the tokenizer lower-cases; of two meanings
    of a text the first holds, and clean texts come first.
    """
    generator = random.Random(config.seed)
    names, definitions = read_ontology(data)
    labels = {one.caption for one in recordings if one.caption} | {
        tag for one in recordings for tag in one.tags
    }
    captioned = [one for one in recordings if one.caption]
    sounds = list(dict.fromkeys([*sorted(labels), *names, *load_vocabulary()]))
    captions = read_audiocaps(data / AUDIOCAPS_TRAIN)

    clean = [*captions, *definitions]
    clean += [plural_of(sound) for sound in sounds]
    for sound in sounds:
        clean += [form.format(sound) for form in _some(TEMPLATES, config.templates, generator)]
        for form in _some(JOINS, config.joined, generator):
            b, c = generator.choice(sounds), generator.choice(sounds)
            clean.append(form.format(a=sound, b=b, c=c))
    clean += [", ".join((one.caption, *one.tags)) for one in captioned if one.tags]
    clean += [", ".join(one.tags) for one in recordings if len(one.tags) > 1]
    for _ in range(config.n_passages):
        clean.append(". ".join(generator.choices(captions, k=generator.randint(2, 4))))
    clean += words
    clean += [
        generator.choice(TEMPLATES).format(word) for word in words[generator.randrange(2) :: 2]
    ]
    clean += [plural(word) for word in words if may_be_counted(word)]
    for _ in range(config.n_combinations):
        clean.append(" ".join(generator.choices(words, k=generator.randint(2, 4))))
    pairs = [DistillationPair(text, text) for text in (*sounds, *clean)]

    for sound in sounds:
        for form in _some(REQUESTS, config.requests, generator):
            pairs.append(DistillationPair(form.format(sound), ASKED.format(sound)))
        pairs += [DistillationPair(filed(sound, generator), sound) for _ in range(config.filed)]
    for label, tag in dict.fromkeys((one.caption, tag) for one in captioned for tag in one.tags):
        if tag not in label:
            pairs.append(DistillationPair(filed(label, generator, tag), f"{label}, {tag}"))
    for caption in captions:
        if generator.random() < config.filed_share:
            pairs.append(DistillationPair(filed(caption, generator), caption))

    known = frozenset(words)
    for sound in sounds:
        for _ in range(config.slips_per_sound):
            pairs.append(DistillationPair(with_slips(sound, generator, known), sound))
    for text in clean:
        if generator.random() < config.slip_share:
            pairs.append(DistillationPair(with_slips(text, generator, known), text))

    by_text: dict[str, DistillationPair] = {}
    for pair in pairs:
        by_text.setdefault(pair.text.lower(), pair)
    return list(by_text.values())


def read_audiocaps(path: Path) -> list[str]:
    """The captions of one of AudioCaps' CSV files, row by row."""
    return [caption for _, caption in _audiocaps_rows(path)]


def read_audiocaps_clips(path: Path) -> list[list[str]]:
    """The captions of each clip of one of AudioCaps' CSV files, clips as they first appear."""
    clips: dict[tuple[str, str], list[str]] = {}
    for clip, caption in _audiocaps_rows(path):
        clips.setdefault(clip, []).append(caption)
    return list(clips.values())


def _audiocaps_rows(path: Path) -> list[tuple[tuple[str, str], str]]:
    """(video, start) and caption of every row."""
    return [
        ((row["youtube_id"], row["start_time"]), row["caption"].strip())
        for row in Table(path).rows(("youtube_id", "start_time", "caption"))
    ]


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


def plural_of(sound: str) -> str:
    """The phrase with its head in the plural: "a dog barking" to "dogs barking".

    The phrase as it is where its head, as far as letters show, is no singular noun that can be
    counted, or where an article inside says that this rule mistakes the head.
    """
    words = sound.split()
    if words and words[0].lower() in ("a", "an"):
        words = words[1:]
    if not words:
        return sound
    head = head_of([word.lower() for word in words])
    if head is None or "a" in words[:head] or not may_be_counted(words[head]):
        return sound
    after = words[head + 1].lower() if head + 1 < len(words) else ""
    if words[head] in VERBS or (after in VERBS and after.endswith("s")):
        return sound  # "spoken word" has no noun there, "drum beats" may be plural already
    return " ".join((*words[:head], plural(words[head]), *words[head + 1 :]))


def filed(sound: str, generator: random.Random, category: str = "") -> str:
    """A sound's name as libraries file it: "a wooden door creaking" to "DOOR WOODEN CREAKING".

    Small words go. The category comes first, if there is one; otherwise, half of the time, the
    head does. Upper case, or a file's name with or without number and ending.
    """
    words = [word for word in re.findall(r"\w+", sound) if word.lower() not in SMALL_WORDS]
    if not words:
        return sound
    if category:
        words = [*re.findall(r"\w+", category), *words]
    elif generator.random() < 0.5:
        head = head_of([word.lower() for word in words])
        words.insert(0, words.pop(-1 if head is None else head))
    number = generator.randint(1, 20)
    first = words[0].upper() + "".join(word.capitalize() for word in words[1:2])
    return generator.choice(
        (
            " ".join(words).upper(),
            "_".join(words).lower(),
            "_".join(words).lower() + f"_{number:02}",
            "-".join(words).lower() + f"-{number}.wav",
            " ".join([first, *words[2:]]) + f" {number:02}",
        )
    )


def with_slips(text: str, generator: random.Random, known: Container[str] = ()) -> str:
    """The text as typed in haste: one slip, two in a text of LONG words; one in five a lost space.

    known: as in `with_typo`.
    """
    for _ in range(2 if text.count(" ") + 1 >= LONG else 1):
        slip = without_space if generator.random() < 0.2 and " " in text else with_typo
        text = slip(text, generator, known)
    return text


def without_space(text: str, generator: random.Random, known: Container[str] = ()) -> str:
    """One space lost, unless that makes one of the known words, or there is none."""
    words = text.split(" ")
    if len(words) < 2:
        return text
    i = generator.randrange(len(words) - 1)
    joined = words[i] + words[i + 1]
    return text if joined.lower() in known else " ".join((*words[:i], joined, *words[i + 2 :]))


def with_typo(text: str, generator: random.Random, known: Container[str] = ()) -> str:
    """One slip in one word of four letters or more, never in its first letter.

    Two letters swapped, one lost, doubled, or replaced by its neighbour on the keyboard. known:
    words, in lower case, that no slip may make, since they mean something else. The text as it is
    where it has no such word or the slip drawn is not one.
    """
    words = text.split(" ")
    longer = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not longer:
        return text
    i = generator.choice(longer)
    word = words[i]
    at = generator.randrange(1, len(word) - 1)
    wrong = generator.choice(
        (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + _beside(word[at], generator) + word[at + 1 :],
        )
    )
    if wrong.lower() not in known:
        words[i] = wrong
    return " ".join(words)


def _beside(letter: str, generator: random.Random) -> str:
    """A key beside that of the letter; any letter where it has no key of its own."""
    for row in KEY_ROWS:
        at = row.find(letter.lower())
        if at >= 0:
            return generator.choice(row[max(at - 1, 0) : at] + row[at + 1 : at + 2])
    return generator.choice(string.ascii_lowercase)


def _some(forms: Sequence[str], n: int, generator: random.Random) -> list[str]:
    """Some n of the forms, each at most once."""
    return generator.sample(forms, min(n, len(forms)))
