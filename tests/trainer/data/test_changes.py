"""Changed examples: mixtures of neighbours, augmented sounds, and what a teacher says of them."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.sounds import tone
from tests.trainer.made_shards import FRONT_END, RATE, flac
from trainer.composed_texts import names_of
from trainer.data.changes import TEXT_BYTES, Changes, ChangesConfig, texts_in
from trainer.data.example import Example, ExampleFacts
from trainer.data.order import Order
from trainer.data.shard_folder import ShardFolder
from trainer.data.shard_writer import write_shards
from trainer.front_ends import extract_features
from trainer.mixtures import MixtureConfig

N = 6
HZ = [200.0 * 1.4**i for i in range(N)]


class MadeTagger:
    """A teacher of two classes: the logarithm of the power below 500 Hz, and of that above."""

    names = ("low", "high")
    sample_rate = 4000
    fingerprint = "made"

    def logits(self, waveform: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(waveform)) ** 2
        edge = round(500 / self.sample_rate * len(waveform))
        return np.log(np.float32([power[:edge].sum(), power[edge:].sum()]) + 1e-9)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ShardFolder:
    """Six tones in two shards, each shorter than a window, with a caption and a label."""
    folder = tmp_path_factory.mktemp("shards")
    examples = [
        Example(
            ExampleFacts(
                "made.wav", 0.0, 0.2, RATE, captions=(f"tone {i}",), labels=(f"pitch_{i}",)
            ),
            flac(tone(hz, 0.2, RATE), RATE),
        )
        for i, hz in enumerate(HZ)
    ]
    write_shards(examples, folder, examples_per_shard=3)
    return ShardFolder(folder)


def changes_of(
    data: ShardFolder, config: ChangesConfig, *, labels: bool = False, teacher: bool = False
) -> Changes:
    order = Order([np.arange(3), np.arange(3)], 0, block=2)
    called = functools.partial(names_of, labels=labels)
    tagger = MadeTagger() if teacher else None
    return Changes(config, data, order, FRONT_END, called, tagger)  # type: ignore[arg-type]


def made(changes: Changes, position: int, seed: int = 0) -> list[np.ndarray]:
    """Features, members, text and logits of a position."""
    shape = FRONT_END.features.n_mels, FRONT_END.features.n_frames
    rows = [torch.zeros(shape, dtype=dtype).numpy() for shape, dtype in changes.shapes]
    features = np.zeros(shape, np.float32)
    changes.fill(position, np.random.default_rng(seed), features, *rows)
    return [features, *rows]


def number_of(data: ShardFolder, member: int) -> int:
    """Of the tone, by what `members` holds."""
    shard, example = divmod(int(member), 1 << 32)
    return 3 * shard + example


def test_unchanged_it_is_the_example_itself(data: ShardFolder) -> None:
    features, members, text, logits = made(changes_of(data, ChangesConfig()), 4)
    shard, example = Order([np.arange(3), np.arange(3)], 0, block=2).place(4)
    expected = extract_features(
        *data.open(shard).audio(example), FRONT_END, None
    )  # short: no random place
    covered = features != 0  # masks are random
    np.testing.assert_allclose(features[covered], expected[covered], atol=1e-5)
    assert members.tolist() == [shard * (1 << 32) + example, -1, -1]
    assert not text.any() and logits.size == 0


@pytest.mark.parametrize("labels", [False, True])
def test_a_mixture_sounds_like_its_members_and_names_them(data: ShardFolder, labels: bool) -> None:
    config = ChangesConfig(mix=1.0, mixtures=MixtureConfig(apart_db=0.0, three_share=0.5))
    changes = changes_of(data, config, labels=labels)
    counts = set()
    for position in range(12):
        _, members, text, _ = made(changes, position, seed=position)
        numbers = [number_of(data, member) for member in members if member >= 0]
        assert len(set(numbers)) == len(numbers) >= 2
        said = texts_in(text[None])[0]
        word = "pitch" if labels else "tone"
        assert all(f"{word} {number}" in said for number in numbers)
        assert said.count(word) == len(numbers)
        counts.add(len(numbers))
    assert counts == {2, 3}


def test_the_teacher_gets_the_sound_that_became_features(data: ShardFolder) -> None:
    config = ChangesConfig(mix=1.0, mixtures=MixtureConfig(kinds=(1.0, 0, 0), apart_db=0.0))
    changes = changes_of(data, config, teacher=True)
    assert changes.shapes[2][0] == (2,)
    for position in range(12):
        _, members, _, logits = made(changes, position, seed=position)
        hz = [HZ[number_of(data, member)] for member in members if member >= 0]
        apart = logits[0] - logits[1]
        if min(hz) > 500:
            assert apart < -2
        elif max(hz) < 500:
            assert apart > 2
        else:
            assert abs(apart) < 4


def test_what_is_drawn_depends_on_the_generator_alone(data: ShardFolder) -> None:
    config = ChangesConfig(mix=0.5, augment=True)
    changes = changes_of(data, config, teacher=True)
    again = pickle.loads(pickle.dumps(changes))
    for position in (3, 900):
        for row, other in zip(made(changes, position), made(again, position), strict=True):
            np.testing.assert_array_equal(row, other)
    plain = changes_of(data, ChangesConfig())
    assert not np.array_equal(made(plain, 3)[0], made(changes, 3)[0])


def test_about_the_share_that_was_asked_for_is_mixed(data: ShardFolder) -> None:
    changes = changes_of(data, ChangesConfig(mix=0.25))
    mixed = [made(changes, i, seed=i)[1][1] >= 0 for i in range(200)]
    assert np.mean(mixed) == pytest.approx(0.25, abs=0.1)


def test_one_example_alone_is_not_mixed(tmp_path: Path) -> None:
    facts = ExampleFacts("made.wav", 0.0, 0.2, RATE, captions=("alone",))
    write_shards([Example(facts, flac(tone(300, 0.2, RATE), RATE))], tmp_path, examples_per_shard=3)
    called = functools.partial(names_of, labels=False)
    order = Order([np.arange(1)], 0)
    changes = Changes(ChangesConfig(mix=1.0), ShardFolder(tmp_path), order, FRONT_END, called)
    _, members, text, _ = made(changes, 5)
    assert members.tolist() == [0, -1, -1] and not text.any()


def test_a_text_that_is_too_long_is_cut() -> None:
    rows = np.zeros((3, TEXT_BYTES), np.uint8)
    rows[1, : len(b"rain")] = np.frombuffer(b"rain", np.uint8)
    rows[2] = np.frombuffer(("a" + "ä" * TEXT_BYTES).encode()[:TEXT_BYTES], np.uint8)
    found = texts_in(rows)
    assert set(found) == {1, 2} and found[1] == "rain"
    assert found[2] == "a" + "ä" * ((TEXT_BYTES - 1) // 2)


def test_a_share_is_a_share_and_classes_need_a_teacher() -> None:
    with pytest.raises(ValueError, match=r"mix must be 0 to 1, not 1\.5"):
        ChangesConfig(mix=1.5)
    with pytest.raises(ValueError, match="classes are those of a teacher"):
        ChangesConfig(classes="names.csv")
