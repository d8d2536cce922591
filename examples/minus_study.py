"""How a question should leave something out: "A, but not B", asked of mixtures of A and B.

Mixes pairs of recordings of different classes (a column of a table: file, split, caption or label)
into a temporary folder, at equal loudness, and ranks them with the recordings of the split by
several recipes. Each class is asked by its name, and by one of its recordings, which is left out.
Prints, in percent, over all questions:

- mixture: how often a recording of A alone stands before a mixture of A and B,
- others: how often it stands before a recording without A,
- first three: how many of the first three are recordings of A alone, where mixtures are there too,
- B absent: the same in a library without B.

    .venv/bin/python -m examples.minus_study DATA/sounds.csv --column caption
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from soundsearch.audio.recording import AudioFile
from soundsearch.audio.resampling import resample
from soundsearch.encoder.calibration import Calibration, standardise
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import BenchmarkError
from soundsearch.tables import Table

Array = NDArray[np.float32]
#: Scores of windows (n, dim), from a wanted and an unwanted vector.
Recipe = Callable[[Array, Array, Array], NDArray[np.float64]]

MIXTURES_PER_PAIR = 3
#: A class needs so many recordings.
FEWEST = 3
K = 3


@dataclass(frozen=True)
class Sound:
    """A recording or a mixture: the classes that it holds, and its embeddings (n, dim)."""

    classes: frozenset[str]
    embeddings: Array


def recipes(calibration: Calibration) -> dict[str, Recipe]:
    """Ways to rank windows for a wanted vector a and an unwanted one b."""
    deviation, background = calibration.deviation, calibration.background

    def z(vector: Array, windows: Array) -> NDArray[np.float64]:
        return standardise(vector, windows @ vector, background)

    made: dict[str, Recipe] = {"b not left out": lambda a, b, windows: z(a, windows)}
    for w in (0.25, 0.35, 0.5, 0.75, 1.0):
        made[f"vector a - {w} b"] = lambda a, b, windows, w=w: _cosines(a - w * b, windows)
    for w in (0.25, 0.35, 0.5, 0.75, 1.0):
        made[f"vector a/spread - {w} b/spread"] = lambda a, b, windows, w=w: _cosines(
            a / deviation(a) - w * b / deviation(b), windows
        )
    for w in (0.25, 0.5, 1.0):
        made[f"z(a) - {w} max(0, z(b))"] = lambda a, b, windows, w=w: (
            z(a, windows) - w * np.maximum(0, z(b, windows))
        )
    return made


def _cosines(vector: Array, windows: Array) -> NDArray[np.float64]:
    return (windows @ (vector / np.linalg.norm(vector))).astype(np.float64)


def mixture(first: Array, second: Array) -> Array:
    """Two waveforms (time,) at equal loudness, the shorter one repeated."""
    n_samples = max(len(first), len(second))
    loud = [np.resize(x, n_samples) / max(np.sqrt(np.mean(x**2)), 1e-6) for x in (first, second)]
    total = loud[0] + loud[1]
    return (0.5 * total / np.abs(total).max()).astype(np.float32)


def waveform(path: Path, sample_rate: int) -> Array:
    """A recording, mono at this rate."""
    with AudioFile(path) as file:
        return np.concatenate(list(resample(file.blocks(), file.sample_rate, sample_rate)))


def choose_pairs(files: dict[str, list[Path]], n: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of classes that share no word of four letters or more."""
    names = sorted(name for name, paths in files.items() if len(paths) >= FEWEST)
    words = {name: {word for word in name.split() if len(word) > 3} for name in names}
    pairs = [(a, b) for a in names for b in names if a < b and not words[a] & words[b]]
    random.Random(seed).shuffle(pairs)
    return pairs[:n]


def embed(
    encoder: Encoder, files: dict[str, list[Path]], pairs: list[tuple[str, str]], seed: int
) -> list[Sound]:
    """All recordings, and the mixtures of each pair."""
    chosen, rate = random.Random(seed), encoder.bundle.audio.rate_for(48000)
    found = [
        Sound(frozenset([name]), encoder.embed_file(path)[1])
        for name, paths in files.items()
        for path in paths
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mixture.wav")
        for pair in pairs * MIXTURES_PER_PAIR:
            parts = [waveform(chosen.choice(files[name]), rate) for name in pair]
            soundfile.write(path, mixture(*parts), rate)
            found.append(Sound(frozenset(pair), encoder.embed_file(path)[1]))
    return found


def questions(
    encoder: Encoder, sounds: list[Sound], pairs: list[tuple[str, str]], seed: int
) -> Iterator[tuple[str, str, str, Array, Array, NDArray[np.bool_]]]:
    """Kind, wanted and unwanted class, their vectors, and which sounds are ranked."""
    chosen = random.Random(seed)
    places = {
        name: [i for i, sound in enumerate(sounds) if sound.classes == {name}]
        for name in {name for pair in pairs for name in pair}
    }
    for wanted, unwanted in [pair for ab in pairs for pair in (ab, ab[::-1])]:
        examples = [chosen.choice(places[name]) for name in (wanted, unwanted)]
        ranked = ~np.isin(np.arange(len(sounds)), examples)
        means = [sounds[example].embeddings.mean(axis=0) for example in examples]
        of_audio = [mean / np.linalg.norm(mean) for mean in means]
        of_text = encoder.embed_text([wanted, unwanted])
        for plus, first in (("text", of_text), ("audio", of_audio)):
            for minus, second in (("text", of_text), ("audio", of_audio)):
                yield f"{plus}, not {minus}", wanted, unwanted, first[0], second[1], ranked


def measures(
    wanted: str, unwanted: str, sounds: list[Sound], ranked: NDArray[np.bool_], scores: Array
) -> list[float]:
    """The four numbers of one question."""
    alone = ranked & [sound.classes == {wanted} for sound in sounds]
    mixed = ranked & [sound.classes == {wanted, unwanted} for sound in sounds]
    without = ranked & [wanted not in sound.classes for sound in sounds]
    absent = ranked & [unwanted not in sound.classes for sound in sounds]
    return [
        _before(scores[alone], scores[mixed]),
        _before(scores[alone], scores[without]),
        _precision(scores, alone, alone | mixed | without),
        _precision(scores, alone, alone | (without & absent)),
    ]


def _before(better: Array, worse: Array) -> float:
    """How often one of the first stands before one of the second; level is half."""
    difference = better[:, None] - worse[None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def _precision(scores: Array, right: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    first = np.argsort(-scores[among], kind="stable")[: min(K, int(right.sum()))]
    return float(right[among][first].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--column", default="caption", help="of the classes")
    parser.add_argument("--split", default="valid")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", default=DEFAULT_MODEL)
    options = parser.parse_args()
    study(**vars(options))


def study(table: Path, column: str, split: str, pairs: int, seed: int, bundle: str) -> None:
    """Print the numbers of each kind of question and each recipe."""
    encoder = Encoder(find_bundle(bundle), "cpu")
    calibration = Calibration.of(encoder.bundle)
    if calibration is None:
        raise BenchmarkError(f"{bundle} is not calibrated, and has no background to compare with")
    files: dict[str, list[Path]] = defaultdict(list)
    for row in Table(table, BenchmarkError).rows(("file", column, "split")):
        if row["split"] == split:
            files[row[column].replace("_", " ")].append(table.parent / row["file"])
    chosen = choose_pairs(files, pairs, seed)
    sounds = embed(encoder, files, chosen, seed)
    windows = np.concatenate([sound.embeddings for sound in sounds])
    starts = np.cumsum([0, *(len(sound.embeddings) for sound in sounds[:-1])])
    found: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for kind, wanted, unwanted, a, b, ranked in questions(encoder, sounds, chosen, seed):
        for name, recipe in recipes(calibration).items():
            scores = np.maximum.reduceat(recipe(a, b, windows), starts)
            found[kind, name].append(measures(wanted, unwanted, sounds, ranked, scores))
    n_mixed = len(chosen) * MIXTURES_PER_PAIR
    print(f"{len(sounds) - n_mixed} recordings, {n_mixed} mixtures, {2 * len(chosen)} questions")
    for kind in sorted({kind for kind, _ in found}, reverse=True):
        print(f"{kind:32}  mixture   others  first three  B absent")
        for name in recipes(calibration):
            means = 100 * np.mean(found[kind, name], axis=0)
            print(f"{name:32} {means[0]:8.1f} {means[1]:8.1f} {means[2]:12.1f} {means[3]:9.1f}")


if __name__ == "__main__":
    main()
