"""The same path over real triples: a picture, a recording and a caption of each, by concept.

Held out are a third of the recordings of each concept that has enough, and a fifth of the concepts
altogether. Every held-out recording is asked for the sentence about its concept. Without a CLIP by
option, a small one is trained on the pictures and picture captions of these very triples, the
held-out concepts' too: it has seen nothing else of the world.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from examples.pivot_world.experiment import Array, Numbers, make_shards, unit
from examples.pivot_world.small_clip import train_small_clip
from soundsearch.bench.metrics import best_ranks, recall_at_k
from soundsearch.errors import AudioError
from soundsearch.tables import Row, Table
from trainer.contrast import ContrastConfig
from trainer.data.example import Example, ExampleFacts
from trainer.data.waveforms import Sound, flac, read_sound
from trainer.front_ends import STARTER, extract_features
from trainer.pivot import train_pivot
from trainer.runs import StageConfig, read_run
from trainer.stage import Machine
from trainer.towers.clip_model import ClipChoice, FrozenClip, load_clip
from trainer.towers.compact import AudioTowerConfig

logger = logging.getLogger(__name__)

#: Seconds of a recording that are kept.
LONGEST_S = 10.0
TOWER = AudioTowerConfig(widths=(32, 64, 128), depths=(1, 1, 1), pooled=256, dim=64)


@dataclass(frozen=True)
class Recording:
    """A recording with all the pictures and captions it is paired with."""

    path: Path
    pictures: tuple[Path, ...]
    picture_captions: tuple[str, ...]
    captions: tuple[str, ...]
    concept: str


@dataclass(frozen=True)
class Outcome:
    """about: one line on what was asked of what. arms: lists over seeds, as in the made world."""

    about: str
    arms: dict[str, list[Numbers]]
    chance: Numbers


def run(data: Path, out: Path, choice: ClipChoice | None, n_seeds: int) -> Outcome:
    """Pivot on the triples, and once more with pictures dealt out at random, as the control."""
    recordings = read_pairs(data)
    clip_name = choice.pretrained if choice else "a small CLIP trained on these pictures"
    clip_model = load_clip(choice or train_on_pictures(recordings, out / "pairs-clip"))
    training, known, new = split(recordings)
    sounds = {recording.path: read_or_skip(recording.path) for recording in recordings}
    asked = {"new recordings": known, "new concepts": new}
    asked = {k: [r for r in some if sounds[r.path]] for k, some in asked.items()}
    arms: dict[str, list[Numbers]] = {}
    for seed in range(n_seeds):
        for name in ("shuffled pairs", "pivot"):
            folder = out / f"pairs-{seed}-{name.split()[0]}"
            shown = list(training)
            if name == "shuffled pairs":
                order = np.random.default_rng(seed).permutation(len(training))
                shown = [training[i] for i in order]
            make_shards(folder / "shards", packed(training, shown, sounds.__getitem__), clip_model)
            trained = train_pivot(
                folder / "shards", folder / "run", pivot_config(seed), Machine(device="cpu")
            )
            numbers = measure(trained, asked, sounds, clip_model)
            arms.setdefault(name, []).append(numbers)
            logger.info("seed %d, %s: %s", seed, name, numbers)
    concepts = {r.concept for r in training}
    about = (
        f"{clip_name}; trained on {len(training)} recordings of {len(concepts)} concepts, asked with "
        f"{len(asked['new recordings'])} others of them and {len(asked['new concepts'])} of "
        f"{len({r.concept for r in new})} new concepts"
    )
    return Outcome(about, arms, chance_of(asked))


def read_pairs(data: Path) -> list[Recording]:
    """The triples of pairs/pairs.csv by recording. Raises SoundsearchError."""
    table = data / "pairs" / "pairs.csv"
    by_path: dict[str, list[Row]] = {}
    columns = ("audio", "image", "image_caption", "audio_caption", "concept")
    for row in Table(table).rows(columns):
        by_path.setdefault(row["audio"], []).append(row)
    return [
        Recording(
            path=data / path,
            pictures=tuple(data / row["image"] for row in rows),
            picture_captions=tuple(row["image_caption"] for row in rows),
            captions=tuple(dict.fromkeys(row["audio_caption"] for row in rows)),
            concept=rows[0]["concept"],
        )
        for path, rows in sorted(by_path.items())
    ]


def split(
    recordings: Sequence[Recording],
) -> tuple[list[Recording], list[Recording], list[Recording]]:
    """For training, held out of concepts that are trained on, and of those that are not."""
    random = np.random.default_rng(0)
    concepts = sorted({recording.concept for recording in recordings})
    unheard = {concepts[i] for i in random.permutation(len(concepts))[: len(concepts) // 5]}
    training: list[Recording] = []
    known: list[Recording] = []
    new: list[Recording] = []
    for concept in concepts:
        own = [r for r in recordings if r.concept == concept]
        if concept in unheard:
            new += own
            continue
        n_held_out = len(own) // 3
        order = random.permutation(len(own))
        known += [own[i] for i in order[:n_held_out]]
        training += [own[i] for i in order[n_held_out:]]
    return training, known, new


def train_on_pictures(recordings: Sequence[Recording], folder: Path) -> ClipChoice:
    """The small CLIP, from the triples' own pictures: cropped, mirrored, and with their captions."""
    captions: dict[Path, list[str]] = {}
    for recording in recordings:
        for picture, caption in zip(recording.pictures, recording.picture_captions, strict=True):
            captions.setdefault(picture, []).append(caption)
    paths = sorted(captions)
    opened = [Image.open(path).convert("RGB").resize((48, 48)) for path in paths]

    def batch_of(random: np.random.Generator) -> tuple[list[Image.Image], list[str]]:
        chosen = random.permutation(len(paths))[:128]
        pictures = []
        for i in chosen:
            left, top = random.integers(0, 9, 2)
            crop = opened[i].crop((left, top, left + 40, top + 40))
            if random.random() < 0.5:
                crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            pictures.append(crop)
        return pictures, [captions[paths[i]][0] for i in chosen]

    return train_small_clip(batch_of, folder, steps=300, seed=0)


def pivot_config(seed: int) -> StageConfig:
    """The pivot stage for a few hundred recordings."""
    return StageConfig(
        stage="pivot",
        front_end=STARTER,
        tower="compact",
        compact=TOWER,
        init="random",
        batch_size=64,
        epochs=30.0,
        warmup_epochs=2.0,
        optimiser="adamw",
        learning_rate=1e-3,
        weight_decay=0.05,
        clip_norm=1.0,
        precision="fp32",
        contrast=ContrastConfig(largest_logit_scale=100.0, duplicates="ignored"),
        seed=seed,
    )


def read_or_skip(path: Path) -> Sound | None:
    """The sound of a recording, or None with a warning if it cannot be decoded."""
    try:
        return read_sound(path)
    except AudioError as error:
        logger.warning("skipped %s: %s", path, error)
        return None


def packed(
    training: Sequence[Recording],
    shown: Sequence[Recording],
    sound_of: Callable[[Path], Sound | None],
) -> Iterator[Example]:
    """The recordings as clips, each with the pictures of the one in `shown` at its place."""
    for recording, other in zip(training, shown, strict=True):
        sound = sound_of(recording.path)
        if sound is None:
            continue
        channels = sound.channels[:, : round(LONGEST_S * sound.sample_rate)]
        yield Example(
            ExampleFacts(
                source=recording.path.name,
                begin_s=0.0,
                end_s=channels.shape[1] / sound.sample_rate,
                sample_rate=sound.sample_rate,
                captions=recording.captions,
                labels=(recording.concept,),
            ),
            flac(channels, sound.sample_rate, sound.bits),
            tuple(_picture(path) for path in dict.fromkeys(other.pictures)),
        )


def _picture(path: Path) -> bytes:
    buffer = io.BytesIO()
    Image.open(path).convert("RGB").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def measure(
    run_folder: Path,
    asked: Mapping[str, Sequence[Recording]],
    sounds: Mapping[Path, Sound | None],
    clip_model: FrozenClip,
) -> Numbers:
    """R@1 and R@5 of a run's tower, asked with recordings for the captions of their concept."""
    run = read_run(run_folder)
    found: Numbers = {}
    for name, recordings in asked.items():
        features = []
        for recording in recordings:
            sound = sounds[recording.path]
            assert sound is not None
            channels = sound.channels[:, : round(LONGEST_S * sound.sample_rate)]
            features.append(extract_features(channels, sound.sample_rate, run.front_end, None))
        with torch.no_grad():
            audio = unit(run.tower(torch.from_numpy(np.stack(features))).numpy())
        for wording in ("picture captions", "sound captions"):
            scores, right = _scores(audio, recordings, wording, clip_model)
            ranks = best_ranks(scores, right)
            for k in (1, 5):
                found[f"{name}, {wording}, R@{k}"] = recall_at_k(ranks, k)
    return found


def _texts(recordings: Sequence[Recording], wording: str) -> dict[str, set[str]]:
    """Each text once, with the concepts it stands for."""
    found: dict[str, set[str]] = {}
    for recording in recordings:
        own = recording.picture_captions if wording == "picture captions" else recording.captions
        for text in own:
            found.setdefault(text, set()).add(recording.concept)
    return found


def _scores(
    audio: Array, recordings: Sequence[Recording], wording: str, clip_model: FrozenClip
) -> tuple[Array, np.ndarray]:
    texts = _texts(recordings, wording)
    right = np.array([[r.concept in concepts for concepts in texts.values()] for r in recordings])
    return audio @ unit(clip_model.embed_texts(list(texts))).T, right


def chance_of(asked: Mapping[str, Sequence[Recording]]) -> Numbers:
    """What a random order of the texts gets."""
    found: Numbers = {}
    for name, recordings in asked.items():
        for wording in ("picture captions", "sound captions"):
            texts = _texts(recordings, wording)
            n = len(texts)
            n_right = [sum(r.concept in c for c in texts.values()) for r in recordings]
            for k in (1, 5):
                missed = [math.comb(n - right, k) / math.comb(n, k) for right in n_right]
                found[f"{name}, {wording}, R@{k}"] = 1 - sum(missed) / len(missed)
    return found
