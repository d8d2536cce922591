"""The trainer's own path over the made-up world: shards, stored vectors, pivot, captions, numbers.

    clips -> write_shards -> embed_images, embed_captions -> train_pivot -> train_captions -> measure

Nothing here trains an audio encoder by itself; it makes the data, calls the trainer and asks the
questions. The combinations that are asked about were in no picture, sound or sentence of training.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from examples.pivot_world import world
from examples.pivot_world.small_clip import train_small_clip
from examples.pivot_world.world import Causes, WorldConfig
from soundsearch.audio.features import KaldiFbank
from soundsearch.audio.windows import AudioConfig
from soundsearch.bench.metrics import best_ranks, recall_at_k
from trainer.captions import train_captions
from trainer.contrast import ContrastConfig
from trainer.data.example import Example, ExampleFacts
from trainer.data.shard_writer import write_shards
from trainer.data.shards import ShardFolder
from trainer.data.waveforms import flac
from trainer.embed_shards import embed_captions, embed_images
from trainer.front_ends import FrontEnd, extract_features
from trainer.pivot import train_pivot
from trainer.runs import StageConfig, read_run
from trainer.stage import Machine
from trainer.towers.clip_model import ClipChoice, FrozenClip, load_clip
from trainer.towers.compact import AudioTowerConfig

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]
Numbers = dict[str, float]
Labels = tuple[str, ...]
Alternatives = dict[str, dict[Labels, Array]]

#: Wordings of each sentence that a sound is asked to choose among.
N_WORDINGS = 3

FRONT_END = FrontEnd(
    name="miniature",
    audio=AudioConfig(
        sample_rate=world.SAMPLE_RATE, window_s=world.CLIP_S, hop_s=0.5, short="repeat"
    ),
    features=KaldiFbank(n_mels=64, n_frames=98, f_min=60.0, mean=-4.6, std=3.4),
    frequency_mask=6,
    time_mask=6,
)
TOWER = AudioTowerConfig(widths=(24, 48, 96), depths=(1, 1, 1), patch=(4, 6), pooled=192, dim=64)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything.

    clip_steps: of the small CLIP. n_clips, n_frames: sounds for training, and pictures of each.
    n_test: sounds of each held-out combination. epochs: of the pivot stage and of captions from
    nothing. caption_steps: of the captions stage after the pivot. counts: captions that are added.
    """

    clip_steps: int = 600
    clip_batch: int = 192
    n_clips: int = 5000
    n_frames: int = 3
    n_test: int = 4
    n_test_captions: int = 2
    epochs: float = 8.0
    batch_size: int = 128
    caption_steps: int = 120
    counts: tuple[int, ...] = (10, 100, 1000)


@dataclass(frozen=True)
class Outcome:
    """Numbers of every arm, 0 to 1; each is a list over seeds. clip: of the frozen CLIP itself."""

    clip: Numbers
    arms: dict[str, list[Numbers]]
    chance: Numbers


def run(folder: Path, size: Size, hard: WorldConfig, seeds: Sequence[int]) -> Outcome:
    """The whole experiment; what lies in `folder` already is not made again.

    One small CLIP serves all seeds; data, order and beginnings of the audio encoders differ.
    """
    training, held_out = world.split(hard, 0)
    clip = load_clip(train_world_clip(folder / "clip", size, hard, training))
    arms: dict[str, list[Numbers]] = {}
    for seed in seeds:
        for name, numbers in run_seed(folder / f"seed-{seed}", size, hard, clip, seed).items():
            arms.setdefault(name, []).append(numbers)
    return Outcome(clip_numbers(clip, held_out), arms, chance_of(len(held_out)))


def train_world_clip(
    folder: Path, size: Size, hard: WorldConfig, training: Sequence[Causes]
) -> ClipChoice:
    """A small CLIP from pictures and sentences of those who see them."""

    def batch_of(random: np.random.Generator) -> tuple[list[Image.Image], list[str]]:
        chosen = [training[i] for i in random.integers(len(training), size=size.clip_batch)]
        pictures = [world.draw(causes, hard, random) for causes in chosen]
        return pictures, [world.seen(causes, hard, random) for causes in chosen]

    return train_small_clip(batch_of, folder, steps=size.clip_steps, seed=0)


def run_seed(
    folder: Path, size: Size, hard: WorldConfig, clip: FrozenClip, seed: int
) -> dict[str, Numbers]:
    """All arms with one seed."""
    training, held_out = world.split(hard, 0)
    shards, shuffled, asked = (folder / name for name in ("shards", "shuffled", "held-out"))
    clips = functools.partial(training_clips, training, size, hard, seed)
    make_shards(shards, clips(shuffle=False), clip)
    make_shards(shuffled, clips(shuffle=True), clip)
    make_shards(asked, asked_clips(held_out, size, hard, seed), clip)
    alternatives = alternatives_of(clip, held_out)

    arms: dict[str, Numbers] = {}

    def measured(name: str, run_folder: Path) -> None:
        arms[name] = measure(run_folder, asked, clip, alternatives)
        logger.info("seed %d, %s: %s", seed, name, _in_brief(arms[name]))

    pivot, machine = pivot_config(size, seed), Machine(device="cpu")
    measured("shuffled pairs", train_pivot(shuffled, folder / "control", pivot, machine))
    pivoted = train_pivot(shards, folder / "pivot", pivot, machine)
    measured("pivot", pivoted)
    for n in size.counts:
        after = captions_config(size, seed, n, str(pivoted))
        trained = train_captions(shards, folder / f"pivot-{n}", after, machine)
        measured(f"pivot + {n} captions", trained)
        alone = captions_config(size, seed, n, "random")
        trained = train_captions(shards, folder / f"alone-{n}", alone, machine)
        measured(f"{n} captions alone", trained)
    ceiling = captions_config(size, seed, size.n_clips, "random")
    measured("all captions", train_captions(shards, folder / "ceiling", ceiling, machine))
    return arms


def pivot_config(size: Size, seed: int) -> StageConfig:
    """The pivot stage in miniature."""
    return StageConfig(
        stage="pivot",
        front_end=FRONT_END,
        tower="compact",
        compact=TOWER,
        init="random",
        batch_size=size.batch_size,
        epochs=size.epochs,
        warmup_epochs=1.0,
        optimiser="adamw",
        learning_rate=2e-3,
        weight_decay=0.05,
        clip_norm=1.0,
        precision="fp32",
        contrast=ContrastConfig(largest_logit_scale=100.0),
        seed=seed,
    )


def captions_config(size: Size, seed: int, n: int, init: str) -> StageConfig:
    """The captions stage with n captions, after the pivot or from nothing.

    From nothing it gets as many steps as the pivot, and its learning rate.
    """
    begun = pivot_config(size, seed)
    alone = init == "random"
    steps = size.n_clips * size.epochs / size.batch_size if alone else size.caption_steps
    batch = min(size.batch_size, n)
    return dataclasses.replace(
        begun,
        stage="captions",
        texts="gold",
        init=init,
        n_clips=n,
        batch_size=batch,
        epochs=steps * batch / n,
        warmup_epochs=0.1 * steps * batch / n,
        learning_rate=begun.learning_rate if alone else 5e-4,
        contrast=dataclasses.replace(begun.contrast, duplicates="ignored"),
    )


def training_clips(
    training: Sequence[Causes], size: Size, hard: WorldConfig, seed: int, *, shuffle: bool
) -> Iterator[Example]:
    """Sounds with pictures and one sentence each. shuffle: with the pictures of other sounds."""
    random = np.random.default_rng((seed, 3))
    causes = [training[i] for i in random.integers(len(training), size=size.n_clips)]
    shown = [
        training[int(random.integers(len(training)))] if random.random() < hard.elsewhere else one
        for one in causes
    ]
    if shuffle:
        shown = [shown[i] for i in np.random.default_rng((seed, 4)).permutation(size.n_clips)]
    for one, picture in zip(causes, shown, strict=True):
        sentence = world.heard(one, hard.unsaid, random)
        yield pack(one, picture, size.n_frames, (sentence,), hard, random)


def asked_clips(
    held_out: Sequence[Causes], size: Size, hard: WorldConfig, seed: int
) -> Iterator[Example]:
    """Sounds of the held-out combinations, with sentences that say all; their pictures are not used."""
    random = np.random.default_rng((seed, 5))
    for _ in range(size.n_test):
        for causes in held_out:
            sentences = tuple(world.heard(causes, 0.0, random) for _ in range(size.n_test_captions))
            yield pack(causes, causes, 1, sentences, hard, random)


def pack(
    causes: Causes,
    shown: Causes,
    n_frames: int,
    sentences: tuple[str, ...],
    hard: WorldConfig,
    random: np.random.Generator,
) -> Example:
    """One clip; its causes are kept as labels, for judging alone."""
    waveform = world.sound(causes, random)
    frames = tuple(world.as_jpeg(world.draw(shown, hard, random)) for _ in range(n_frames))
    facts = ExampleFacts(
        source="made",
        begin_s=0.0,
        end_s=world.CLIP_S,
        sample_rate=world.SAMPLE_RATE,
        captions=sentences,
        labels=labels_of(causes),
    )
    return Example(facts, flac(waveform[None], world.SAMPLE_RATE, 16), frames)


def labels_of(causes: Causes) -> Labels:
    """The causes as words, in the order of the attributes."""
    return tuple(words[getattr(causes, name)] for name, words in world.ATTRIBUTES.items())


def make_shards(folder: Path, clips: Iterator[Example], clip: FrozenClip) -> None:
    """Shards and the vectors beside them, unless they are there."""
    if not list(folder.glob("*.tar")):
        write_shards(clips, folder)
    embed_images(folder, clip)
    embed_captions(folder, clip)


# Asking ---------------------------------------------------------------------------------------------


def alternatives_of(clip: FrozenClip, held_out: Sequence[Causes]) -> Alternatives:
    """For each combination and attribute, embeddings of sentences that differ in that alone.

    attribute -> labels of the combination -> (n_values, dim), each the mean of a few wordings.
    """
    random = np.random.default_rng(6)
    found: Alternatives = {}
    for attribute, words in world.ATTRIBUTES.items():
        found[attribute] = {}
        for causes in held_out:
            others = [
                dataclasses.replace(causes, **{attribute: value}) for value in range(len(words))
            ]
            texts = [world.heard(one, 0.0, random) for one in others for _ in range(N_WORDINGS)]
            vectors = unit(clip.embed_texts(texts)).reshape(len(words), N_WORDINGS, -1)
            found[attribute][labels_of(causes)] = unit(vectors.mean(axis=1))
    return found


def measure(run_folder: Path, asked: Path, clip: FrozenClip, alternatives: Alternatives) -> Numbers:
    """Retrieval in both ways and attributes of a run's audio encoder on held-out shards."""
    run = read_run(run_folder)
    data = ShardFolder(asked)
    features, labels, owners = [], [], []
    sentences: list[str] = []
    for number in range(len(data.shards)):
        shard = data.open(number)
        for i in range(len(shard)):
            facts = shard.facts(i)
            features.append(extract_features(*shard.audio(i), run.front_end, None))
            labels.append(facts.labels)
            sentences += facts.captions
            owners += [facts.labels] * len(facts.captions)
    with torch.no_grad():
        audio = unit(run.tower(torch.from_numpy(np.stack(features))).numpy())
    return answers(audio, labels, unit(clip.embed_texts(sentences)), owners, alternatives)


def clip_numbers(clip: FrozenClip, held_out: Sequence[Causes]) -> Numbers:
    """The same questions asked of pictures, in which nothing is hidden: what the frozen CLIP knows."""
    random, plain = np.random.default_rng(7), WorldConfig(hidden=0.0)
    causes = [one for one in held_out for _ in range(4)]
    labels = [labels_of(one) for one in causes]
    pictures = unit(clip.embed_images([world.draw(one, plain, random) for one in causes]))
    texts = unit(clip.embed_texts([world.heard(one, 0.0, random) for one in causes]))
    return answers(pictures, labels, texts, labels, alternatives_of(clip, held_out))


def answers(
    asked: Array,
    labels: Sequence[Labels],
    texts: Array,
    owners: Sequence[Labels],
    alternatives: Alternatives,
) -> Numbers:
    """R@1 both ways, and how often each attribute is told right.

    Every text of the same combination is right. An attribute is told by choosing among sentences
    that differ in its value alone, the others being true.
    """
    scores = asked @ texts.T
    right = np.array([[mine == theirs for theirs in owners] for mine in labels])
    found = {
        "audio_to_text": recall_at_k(best_ranks(scores, right), 1),
        "text_to_audio": recall_at_k(best_ranks(scores.T, right.T), 1),
    }
    for place, (attribute, words) in enumerate(world.ATTRIBUTES.items()):
        choices = np.stack([alternatives[attribute][label] for label in labels])
        guessed = np.einsum("nd,nvd->nv", asked, choices).argmax(axis=1)
        truth = np.array([words.index(label[place]) for label in labels])
        found[attribute] = float(np.mean(guessed == truth))
    return found


def chance_of(n_combinations: int) -> Numbers:
    """What guessing gets."""
    of_attributes = {name: 1 / len(words) for name, words in world.ATTRIBUTES.items()}
    by_guessing = 1 / n_combinations
    return {"audio_to_text": by_guessing, "text_to_audio": by_guessing, **of_attributes}


def unit(vectors: Array) -> Array:
    """Rows at length 1."""
    scaled: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def _in_brief(numbers: Numbers) -> str:
    return ", ".join(f"{name} {100 * value:.0f} %" for name, value in numbers.items())
