"""The trainer's own path over the made-up world: shards, stored vectors, pivot, captions, numbers.

    clips -> write_shards -> vectors and log-mels -> train_stage -> train_stage -> measure

Nothing here trains an audio encoder by itself; it makes the data, calls the trainer and asks the
questions. The combinations that are asked about were in no picture, sound or sentence of training.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from examples.pivot_world import world
from examples.pivot_world.small_clip import train_small_clip
from examples.pivot_world.world import Causes, WorldConfig
from examples.pivot_world.world_settings import (
    AFTER_PIVOT,
    FRONT_END,
    Size,
    alone_config,
    pivot_config,
)
from soundsearch.bench.metrics import best_ranks, recall_at_k
from soundsearch.files import put_folder_in_place
from trainer.data.example import Example, ExampleFacts
from trainer.data.shard_folder import ShardFolder
from trainer.data.shard_writer import write_shards
from trainer.data.sound_files import flac
from trainer.embed_shards import embed_captions, embed_images
from trainer.front_ends import extract_features
from trainer.runs import read_run
from trainer.stage import Machine, train_stage
from trainer.store_log_mels import store_log_mels
from trainer.towers.clip_model import ClipChoice, FrozenClip, load_clip

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]
Numbers = dict[str, float]
Labels = tuple[str, ...]
Alternatives = dict[str, dict[Labels, Array]]

#: Wordings of each sentence that a sound is asked to choose among.
N_WORDINGS = 3
MACHINE = Machine(device="cpu")


@dataclass(frozen=True)
class Outcome:
    """Numbers of every arm, 0 to 1; each is a list over seeds. clip_model: of the frozen CLIP itself."""

    clip_model: Numbers
    arms: dict[str, list[Numbers]]
    chance: Numbers


def run(
    folder: Path,
    size: Size,
    hard: WorldConfig,
    seeds: Sequence[int],
    save: Callable[[Outcome], None],
) -> Outcome:
    """The whole experiment; what lies in `folder` already is not made again.

    One small CLIP serves all seeds; data, order and beginnings of the audio encoders differ. `save`
    gets the outcome so far after each arm.
    """
    training, held_out = world.split(hard)
    clip_model = load_clip(train_world_clip(folder / "clip", size, hard, training))
    outcome = Outcome(clip_numbers(clip_model, held_out), {}, chance_of(len(held_out)))
    for seed in seeds:
        made = make_seed(
            folder / f"seed-{seed}", size, hard, clip_model, seed, (training, held_out)
        )
        for name, trained in arms_of(made, size, seed):
            outcome.arms.setdefault(name, []).append(made.measure(trained))
            logger.info("seed %d, %s: %s", seed, name, in_brief(outcome.arms[name][-1]))
            save(outcome)
    return outcome


def train_world_clip(
    folder: Path, size: Size, hard: WorldConfig, training: Sequence[Causes]
) -> ClipChoice:
    """A small CLIP from pictures and sentences of those who see them."""

    def batch_of(random: np.random.Generator) -> tuple[list[Image.Image], list[str]]:
        chosen = [training[i] for i in random.integers(len(training), size=size.clip_batch)]
        pictures = [world.draw(causes, hard, random) for causes in chosen]
        return pictures, [world.picture_sentence(causes, hard, random) for causes in chosen]

    return train_small_clip(batch_of, folder, steps=size.clip_steps, seed=0)


@dataclass(frozen=True)
class Made:
    """The data of a seed.

    shards: for training. clips: makes those of `shards`, or shuffled. asked: shards of the
    combinations that are held out.
    """

    folder: Path
    shards: Path
    clips: Callable[..., Iterator[Example]]
    asked: Path
    clip_model: FrozenClip
    alternatives: Alternatives

    def measure(self, run_folder: Path) -> Numbers:
        """Retrieval in both ways and attributes of a run's audio encoder on the held-out shards."""
        run = read_run(run_folder)
        data = ShardFolder(self.asked)
        features, labels, owners = [], [], []
        sentences: list[str] = []
        for number in range(len(data.shards)):
            shard = data.open(number)
            for i in range(len(shard)):
                facts = shard.facts(i)
                features.append(extract_features(*shard.audio(i), run.config.front_end, None))
                labels.append(facts.labels)
                sentences += facts.captions
                owners += [facts.labels] * len(facts.captions)
        with torch.no_grad():
            audio = unit(run.tower(torch.from_numpy(np.stack(features))).numpy())
        texts = unit(self.clip_model.embed_texts(sentences))
        return answers(audio, labels, texts, owners, self.alternatives)


def make_seed(
    folder: Path,
    size: Size,
    hard: WorldConfig,
    clip_model: FrozenClip,
    seed: int,
    split: tuple[Sequence[Causes], Sequence[Causes]],
) -> Made:
    """Shards, vectors and log-mels of a seed. split: combinations for training, and held out."""
    training, held_out = split
    clips = functools.partial(training_clips, training, size, hard, seed)
    shards = make_shards(folder / "shards", clips(shuffle=False), clip_model)
    store_log_mels(shards, FRONT_END, n_workers=1)
    asked = make_shards(folder / "held-out", asked_clips(held_out, size, hard, seed), clip_model)
    return Made(folder, shards, clips, asked, clip_model, alternatives_of(clip_model, held_out))


def arms_of(made: Made, size: Size, seed: int) -> Iterator[tuple[str, Path]]:
    """All arms with one seed: names and trained runs."""
    pivot, folder = pivot_config(size, seed), made.folder
    pivoted = train_stage(made.shards, folder / "pivot", pivot, MACHINE)
    yield "pivot", pivoted
    for n in size.counts:
        after = AFTER_PIVOT(seed, n, str(pivoted))
        trained = train_stage(made.shards, folder / f"pivot-{n}", after, MACHINE)
        yield f"pivot + {n} captions", trained
    for n in size.alone:
        config = alone_config(size, seed, n)
        trained = train_stage(made.shards, folder / f"alone-{n}", config, MACHINE)
        yield f"{n} captions alone", trained
    ceiling = alone_config(size, seed, size.n_clips)
    yield "all captions", train_stage(made.shards, folder / "ceiling", ceiling, MACHINE)
    shuffled = make_shards(folder / "shuffled", made.clips(shuffle=True), made.clip_model)
    store_log_mels(shuffled, FRONT_END, n_workers=1)
    yield "shuffled pairs", train_stage(shuffled, folder / "control", pivot, MACHINE)


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
        sentence = world.sound_sentence(one, hard.unsaid, random)
        yield pack(one, picture, size.n_frames, (sentence,), hard, random)


def asked_clips(
    held_out: Sequence[Causes], size: Size, hard: WorldConfig, seed: int
) -> Iterator[Example]:
    """Sounds of the held-out combinations, with sentences that say all; their pictures are not used."""
    random = np.random.default_rng((seed, 5))
    for _ in range(size.n_test):
        for causes in held_out:
            sentences = tuple(
                world.sound_sentence(causes, 0.0, random) for _ in range(size.n_test_captions)
            )
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


def make_shards(folder: Path, clips: Iterator[Example], clip_model: FrozenClip) -> Path:
    """Shards and the vectors beside them, unless they are there; returns the folder."""
    if not folder.exists():
        temporary = folder.with_suffix(".part")
        shutil.rmtree(temporary, ignore_errors=True)
        write_shards(clips, temporary)
        put_folder_in_place(temporary, folder)
    embed_images(folder, clip_model)
    embed_captions(folder, clip_model)
    return folder


# Asking ---------------------------------------------------------------------------------------------


def alternatives_of(clip_model: FrozenClip, held_out: Sequence[Causes]) -> Alternatives:
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
            texts = [
                world.sound_sentence(one, 0.0, random) for one in others for _ in range(N_WORDINGS)
            ]
            vectors = unit(clip_model.embed_texts(texts)).reshape(len(words), N_WORDINGS, -1)
            found[attribute][labels_of(causes)] = unit(vectors.mean(axis=1))
    return found


def clip_numbers(clip_model: FrozenClip, held_out: Sequence[Causes]) -> Numbers:
    """The same questions asked of pictures, in which nothing is hidden: what the frozen CLIP knows."""
    random, plain = np.random.default_rng(7), WorldConfig(hidden=0.0)
    causes = [one for one in held_out for _ in range(4)]
    labels = [labels_of(one) for one in causes]
    pictures = unit(clip_model.embed_images([world.draw(one, plain, random) for one in causes]))
    texts = unit(clip_model.embed_texts([world.sound_sentence(one, 0.0, random) for one in causes]))
    return answers(pictures, labels, texts, labels, alternatives_of(clip_model, held_out))


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


def in_brief(numbers: Numbers) -> str:
    """The numbers in one line, in percent."""
    return ", ".join(f"{name} {100 * value:.0f} %" for name, value in numbers.items())
