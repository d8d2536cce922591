"""A made-up world in which sight, sound and words share hidden causes.

A moment of this world has four causes: what kind of thing is there, how many, how they move and in
what mood. A picture shows the causes as shapes, their count, their trails and their colour; a sound
lets them be heard as timbre, the number of notes, pitch glides and articulation; a sentence names
them. Each sense also has what is its own: pictures have places, sizes and backgrounds, sounds have
pitch, loudness and noise, sentences have wording. So a picture and a sound agree in their causes
and in nothing else, which is what pivoting through pictures lives on.

What makes the world hard on purpose: a picture may hide a cause, a clip's pictures may show
something else than what is heard, and sentences about pictures are worded otherwise than sentences
about sounds.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from trainer.english import plural

Array = NDArray[np.float32]

KINDS = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "stick")
NUMBERS = ("one", "two", "three", "four")
MOTIONS = ("rising", "falling", "swaying", "still")
MOODS = ("calm", "angry", "merry", "gloomy")

IMAGE_SIZE = 32
SAMPLE_RATE = 16_000
CLIP_S = 1.0
#: Pictures are drawn this much larger and shrunk, for smooth edges.
OVERSAMPLING = 4


@dataclass(frozen=True)
class Causes:
    """One combination: places in KINDS, NUMBERS, MOTIONS and MOODS."""

    kind: int
    number: int
    motion: int
    mood: int


#: Every combination there is.
COMBINATIONS = tuple(
    Causes(*places)
    for places in itertools.product(*map(range, map(len, (KINDS, NUMBERS, MOTIONS, MOODS))))
)
#: The attributes of a combination and their values as words.
ATTRIBUTES = {"kind": KINDS, "number": NUMBERS, "motion": MOTIONS, "mood": MOODS}


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """How hard the world is; all are shares between 0 and 1.

    held_out: combinations that no training sees. hidden: how often a picture hides its colour,
    and how often its trails. elsewhere: clips whose pictures show another combination than is
    heard. unsaid: how often a training sentence leaves a cause out (each but the kind).
    """

    held_out: float = 0.2
    hidden: float = 0.15
    elsewhere: float = 0.2
    unsaid: float = 0.15


def split(config: WorldConfig) -> tuple[list[Causes], list[Causes]]:
    """The combinations for training and those held out, in random order.

    Every single value of every attribute is met in training; only its company is new.
    """
    return _parted(COMBINATIONS, config.held_out, 0)


def split_to_choose(config: WorldConfig) -> tuple[list[Causes], list[Causes]]:
    """The combinations for training, split again: settings are chosen without those held out."""
    return _parted(split(config)[0], config.held_out, 1)


def _parted(
    combinations: Sequence[Causes], held_out: float, seed: int
) -> tuple[list[Causes], list[Causes]]:
    order = np.random.default_rng(seed).permutation(len(combinations))
    shuffled = [combinations[i] for i in order]
    n_held_out = round(held_out * len(shuffled))
    return shuffled[n_held_out:], shuffled[:n_held_out]


# Sight ------------------------------------------------------------------------------------------

#: Hue of each mood in degrees.
HUES = {"calm": 210.0, "angry": 0.0, "merry": 55.0, "gloomy": 285.0}
#: Unit outlines, (n, 2) in [-1, 1]; circle and ring are drawn as ellipses.
_TURN = np.linspace(0, 2 * np.pi, 10, endpoint=False)
_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -1), (0.95, 0.8), (-0.95, 0.8)],
    "star": [
        (float(r * np.sin(t)), float(-r * np.cos(t)))
        for t, r in zip(_TURN, [1.05, 0.42] * 5, strict=True)
    ],
    "cross": [
        *[(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3)],
        *[(0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)],
    ],
    "diamond": [(0, -1), (0.6, 0), (0, 1), (-0.6, 0)],
    "stick": [(-1, -0.25), (1, -0.25), (1, 0.25), (-1, 0.25)],
}
#: Where the trail of a thing lies, in sizes of the thing: it comes from there.
_TRAILS = {
    "rising": [(0.0, 1.0), (0.0, 0.5)],
    "falling": [(0.0, -1.0), (0.0, -0.5)],
    "swaying": [(-0.8, 0.0), (0.8, 0.0)],
    "still": [],
}


def draw(causes: Causes, config: WorldConfig, random: np.random.Generator) -> Image.Image:
    """A picture of the causes, RGB, IMAGE_SIZE square."""
    size = IMAGE_SIZE * OVERSAMPLING
    dark = random.random() < 0.5
    ground = random.uniform(0.0, 0.25) if dark else random.uniform(0.7, 1.0)
    canvas = Image.new("RGB", (size, size), _colour(random.uniform(0, 360), 0.1, ground))
    brush = ImageDraw.Draw(canvas, "RGBA")
    hue = HUES[MOODS[causes.mood]] + random.uniform(-18, 18)
    saturation = 0.05 if random.random() < config.hidden else random.uniform(0.75, 1.0)
    trails = _TRAILS[MOTIONS[causes.motion]] if random.random() >= config.hidden else []
    red, green, blue = _colour(hue, saturation, random.uniform(0.7, 0.95))
    cells = random.permutation(4)[: causes.number + 1]  # a place for each, on a grid of 2 x 2
    for cell in cells:
        radius = size * random.uniform(0.115, 0.15)
        centre = size * (np.array([cell % 2, cell // 2]) * 0.5 + 0.25)
        x, y = centre + random.uniform(-0.05, 0.05, 2) * size
        for i, (dx, dy) in enumerate(trails):
            at = (x + dx * radius * 1.1, y + dy * radius * 1.1)
            alpha = 90 if len(trails) == 2 and i == 0 else 130
            _shape(brush, KINDS[causes.kind], at, radius * 0.8, (red, green, blue, alpha))
        _shape(brush, KINDS[causes.kind], (x, y), radius, (red, green, blue, 255))
    small = np.asarray(canvas.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX), np.float32)
    noisy = small + random.normal(0, 6, small.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def as_jpeg(image: Image.Image) -> bytes:
    """The picture as a JPEG file, quality 90."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    """Hue in degrees, the others 0 to 1, to RGB 0 to 255."""
    k = (np.array([5, 3, 1]) + (hue % 360) / 60) % 6
    rgb = value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)
    red, green, blue = (int(255 * c) for c in rgb)
    return red, green, blue


def _shape(
    brush: ImageDraw.ImageDraw,
    kind: str,
    at: tuple[float, float],
    radius: float,
    fill: tuple[int, int, int, int],
) -> None:
    x, y = at
    box = (x - radius, y - radius, x + radius, y + radius)
    if kind == "circle":
        brush.ellipse(box, fill=fill)
    elif kind == "ring":
        brush.ellipse(box, outline=fill, width=round(radius * 0.4))
    else:
        brush.polygon([(x + u * radius, y + v * radius) for u, v in _OUTLINES[kind]], fill=fill)


# Sound ------------------------------------------------------------------------------------------

#: Timbre of each kind: (partial, strength); how much breath is blended in.
_PARTIALS: dict[str, list[tuple[float, float]]] = {
    "circle": [(1, 1.0)],
    "square": [(n, 1 / n) for n in (1, 3, 5, 7, 9, 11)],
    "triangle": [(1, 0.4), (2, 1.0), (4, 0.7)],
    "star": [(1, 0.5), (2.76, 1.0), (5.4, 0.8), (8.9, 0.5)],
    "cross": [(n, 1 / n**0.5) for n in range(1, 14)],
    "ring": [(1, 0.3), (1.5, 1.0), (2.25, 0.9), (3.4, 0.8)],
    "diamond": [(6, 0.8), (7, 1.0), (8, 0.8), (1, 0.5)],
    "stick": [(1, 0.3)],
}
_BREATH = {"stick": 1.0, "ring": 0.1}
#: Length of a note and the time from one to the next, seconds.
NOTE_S, STEP_S = 0.2, 0.22


def sound(causes: Causes, random: np.random.Generator) -> Array:
    """A sound of the causes, (time,) float32 in [-1, 1], CLIP_S at SAMPLE_RATE."""
    waveform = np.zeros(round(CLIP_S * SAMPLE_RATE))
    n_notes = causes.number + 1
    pitch = 330.0 * 2 ** (random.uniform(-4, 4) / 12)
    start_s = random.uniform(0.0, CLIP_S - STEP_S * (n_notes - 1) - NOTE_S - 0.01)
    for i in range(n_notes):
        note = _note(causes, pitch * 2 ** (random.uniform(-0.3, 0.3) / 12), random)
        at = round((start_s + i * STEP_S + random.uniform(0, 0.01)) * SAMPLE_RATE)
        waveform[at : at + note.size] += note
    waveform /= np.abs(waveform).max()
    noise = random.normal(0, 1, waveform.size) * 10 ** (random.uniform(-40, -18) / 20)
    waveform = (waveform + noise) * 10 ** (random.uniform(-24, -8) / 20)
    return np.clip(waveform, -1, 1).astype(np.float32)


def _note(causes: Causes, pitch: float, random: np.random.Generator) -> NDArray[np.float64]:
    kind, motion, mood = KINDS[causes.kind], MOTIONS[causes.motion], MOODS[causes.mood]
    time = np.arange(round(NOTE_S * SAMPLE_RATE)) / SAMPLE_RATE
    along = time / NOTE_S - 0.5
    semitones = {
        "rising": 14 * along,
        "falling": -14 * along,
        "swaying": 3.5 * np.sin(2 * np.pi * 12 * time),
        "still": np.zeros_like(time),
    }[motion]
    if mood == "gloomy":
        semitones = semitones - 12
    frequency = pitch * 2 ** (semitones / 12)
    phase = 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE
    note = np.zeros_like(time)
    for partial, strength in _PARTIALS[kind]:
        audible = frequency * partial < 0.47 * SAMPLE_RATE
        note += strength * audible * np.sin(partial * phase + random.uniform(0, 2 * np.pi))
    breath = _BREATH.get(kind, 0.0)
    if breath:
        note += breath * np.sin(phase * 4 + 3 * np.cumsum(random.normal(0, 0.12, time.size)))
    attack_s, decay_s = {
        "calm": (0.08, 0.3),
        "angry": (0.004, 0.3),
        "merry": (0.003, 0.035),
        "gloomy": (0.01, 0.12),
    }[mood]
    envelope = np.minimum(1, time / attack_s) * np.exp(-np.maximum(0, time - attack_s) / decay_s)
    if mood == "angry":
        envelope *= 0.55 + 0.45 * np.sign(np.sin(2 * np.pi * 42 * time))
    fade = np.minimum(1, (NOTE_S - time) / 0.01)
    faded: NDArray[np.float64] = note * envelope * fade
    return faded


# Words ------------------------------------------------------------------------------------------

_NOUNS = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle", "wedge"),
    "star": ("star", "spark"),
    "cross": ("cross", "plus"),
    "ring": ("ring", "hoop"),
    "diamond": ("diamond", "kite"),
    "stick": ("stick", "bar"),
}
_COUNTS = {
    "one": ("one", "a single"),
    "two": ("two", "a pair of"),
    "three": ("three", "a trio of"),
    "four": ("four", "a quartet of"),
}
_MOTION_WORDS = {
    "rising": ("rising", "going up", "climbing"),
    "falling": ("falling", "going down", "sinking"),
    "swaying": ("swaying", "trembling", "shaking"),
    "still": ("still", "steady", "resting"),
}
_MOOD_WORDS = {
    "calm": ("calm", "gentle"),
    "angry": ("angry", "fierce"),
    "merry": ("merry", "cheerful"),
    "gloomy": ("gloomy", "sad"),
}
#: What only those say who see, and what only those say who hear.
_COLOURS = {"calm": "blue", "angry": "red", "merry": "yellow", "gloomy": "purple"}
_PICTURE_FORMS = (
    "a picture of {count} {mood} {noun} {motion}",
    "{count} {mood} {noun} {motion}",
    "{count} {noun}, {mood} and {motion}",
    "{motion}, {count} {mood} {noun}",
)
_SOUND_FORMS = (
    "the sound of {count} {mood} {noun} {motion}",
    "notes of {count} {mood} {noun}, {motion}",
    "{count} {noun} can be heard, {motion} and {mood}",
    "someone plays {count} {mood} {noun}, {motion}, in the distance",
)


def picture_sentence(causes: Causes, config: WorldConfig, random: np.random.Generator) -> str:
    """A sentence by someone who sees: may name the colour for the mood, may leave causes out."""
    moods: tuple[str, ...] = _MOOD_WORDS[MOODS[causes.mood]]
    if random.random() < 0.3:
        moods = (_COLOURS[MOODS[causes.mood]],)
    return _sentence(causes, _PICTURE_FORMS, moods, config.unsaid, random)


def sound_sentence(causes: Causes, unsaid: float, random: np.random.Generator) -> str:
    """A sentence by someone who hears. unsaid: how often each cause but the kind is left out."""
    return _sentence(causes, _SOUND_FORMS, _MOOD_WORDS[MOODS[causes.mood]], unsaid, random)


def _sentence(
    causes: Causes,
    frames: tuple[str, ...],
    moods: tuple[str, ...],
    unsaid: float,
    random: np.random.Generator,
) -> str:
    def said(words: tuple[str, ...], otherwise: str) -> str:
        return otherwise if random.random() < unsaid else words[random.integers(len(words))]

    noun = _NOUNS[KINDS[causes.kind]][random.integers(2)]
    text = frames[random.integers(len(frames))].format(
        count=said(_COUNTS[NUMBERS[causes.number]], "some"),
        mood=said(moods, ""),
        noun=noun if causes.number == 0 else plural(noun),
        motion=said(_MOTION_WORDS[MOTIONS[causes.motion]], "there"),
    )
    return " ".join(text.replace(" ,", ",").split())
