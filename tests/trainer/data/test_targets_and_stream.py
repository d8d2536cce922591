"""From stored vectors and shards to batches: what is drawn, and that it is always the same."""

from __future__ import annotations

import pickle
from contextlib import closing
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.sounds import tone
from tests.trainer.made_shards import (
    DIM,
    ENCODER,
    FRONT_END,
    RATE,
    flac,
    made_shards,
    store,
    vector_of,
)
from trainer.data import stream
from trainer.data.example import Example, ExampleFacts, ShardError
from trainer.data.order import Order
from trainer.data.shard_folder import ShardFolder
from trainer.data.shard_writer import write_shards
from trainer.data.stored_targets import StoredTargets
from trainer.data.stream import Batches, Positions, fixed_features
from trainer.stage_targets import RandomTargets
from trainer.torchrun import World

FACTS = ExampleFacts("made.wav", 0.0, 0.5, RATE)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ShardFolder:
    return made_shards(tmp_path_factory.mktemp("shards"))


def examples(data: ShardFolder, seed: int = 0) -> Positions:
    targets = StoredTargets(data, "images", ENCODER)
    clips = [targets.usable(shard) for shard in range(len(data.shards))]
    return Positions(data, Order(clips, seed, block=2), targets, FRONT_END, seed)


def test_the_fixed_frame_is_the_second_of_four_and_the_fixed_text_the_first(
    data: ShardFolder, tmp_path: Path
) -> None:
    folder = made_shards(tmp_path, n_clips=4, examples_per_shard=4)
    rows = [np.full((n, DIM), 1.0, np.float32) * np.arange(n)[:, None] for n in (1, 2, 3, 4)]
    for kind in ("images", "captions"):
        store(folder.shards[0], kind, rows, folder.digest(0))
    images = StoredTargets(folder, "images", ENCODER)
    assert [images.draw(0, clip, None)[0] for clip in range(4)] == [0, 0, 1, 1]
    captions = StoredTargets(folder, "captions", ENCODER)
    assert [captions.draw(0, clip, None)[0] for clip in range(4)] == [0, 0, 0, 0]
    drawn = {float(images.draw(0, 3, np.random.default_rng(i))[0]) for i in range(60)}
    assert drawn == {0.0, 1.0, 2.0, 3.0}


def test_clips_without_a_vector_take_no_part(tmp_path: Path) -> None:
    folder = made_shards(tmp_path, n_clips=3, examples_per_shard=3)
    rows = [np.zeros((n, DIM), np.float32) for n in (1, 0, 2)]
    store(folder.shards[0], "images", rows, folder.digest(0))
    assert StoredTargets(folder, "images", ENCODER).usable(0).tolist() == [0, 2]


def test_the_control_never_draws_the_clips_own_text(tmp_path: Path) -> None:
    folder = made_shards(tmp_path, n_clips=5, examples_per_shard=2, n_pitches=5)
    targets = RandomTargets(StoredTargets(folder, "captions", ENCODER), len(folder.shards))
    drawn = np.stack([targets.draw(1, 0, np.random.default_rng(i)) for i in range(200)])
    wanted = np.stack([vector_of(clip) for clip in (0, 1, 3, 4)]).astype(np.float16)
    found = np.unique(drawn, axis=0)
    np.testing.assert_allclose(
        found[np.argsort(found[:, 0])], wanted[np.argsort(wanted[:, 0])], rtol=1e-3
    )
    counts = [int((drawn == row).all(axis=1).sum()) for row in found]
    assert min(counts) > 30
    np.testing.assert_allclose(targets.draw(1, 0, None), vector_of(2), rtol=1e-3)


def test_a_position_is_the_same_example_in_any_process(data: ShardFolder) -> None:
    there = examples(data)
    features, vector = there[7]
    again = pickle.loads(pickle.dumps(there))[7]
    torch.testing.assert_close((features, vector), again, rtol=0, atol=0)
    assert features.shape == (16, 23)
    assert vector.shape == (DIM,)


def test_another_epoch_crops_and_masks_anew(data: ShardFolder) -> None:
    there, order = examples(data), Order([np.arange(5)] * 3 + [np.arange(3)], 0, block=2)
    first = {order.place(i): there[i][0] for i in range(18)}
    second = {order.place(i): there[i][0] for i in range(18, 36)}
    assert first.keys() == second.keys()
    assert all(not torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_batches_are_the_same_from_any_step_on(data: ShardFolder, n_workers: int) -> None:
    whole = Batches(examples(data), 4, 6, World(), 0)
    wanted = [whole(step) for step in range(6)]
    with closing(Batches(examples(data), 4, 6, World(), n_workers)) as later:
        for step in range(3, 6):
            torch.testing.assert_close(list(later(step)), list(wanted[step]), rtol=0, atol=0)


def test_processes_share_a_batch(data: ShardFolder) -> None:
    features, vectors = Batches(examples(data), 4, 2, World(), 0)(0)
    halves = [Batches(examples(data), 4, 2, World(rank, 2), 0)(0) for rank in range(2)]
    torch.testing.assert_close(torch.cat([half[0] for half in halves]), features)
    torch.testing.assert_close(torch.cat([half[1] for half in halves]), vectors)


def test_evaluation_is_fixed(data: ShardFolder) -> None:
    clips = [(0, 0), (2, 1), (3, 2)]
    one = [fixed_features(data, some, FRONT_END) for some in (clips[:2], clips[2:])]
    assert [len(features) for features in one] == [2, 1]
    other = fixed_features(data, clips, FRONT_END)
    torch.testing.assert_close(torch.cat(one), other, rtol=0, atol=0)
    targets = StoredTargets(data, "images", ENCODER)
    np.testing.assert_allclose(targets.draw(2, 1, None), vector_of(11 % 6), rtol=1e-3)


def test_a_batch_stays_as_it_was_while_later_ones_are_made(data: ShardFolder) -> None:
    with closing(Batches(examples(data), 4, 12, World(), 1)) as batches:
        kept = [batches(step) for step in range(12)]
    alone = Batches(examples(data), 4, 12, World(), 0)
    for step, batch in enumerate(kept):
        torch.testing.assert_close(list(batch), list(alone(step)), rtol=0, atol=0)


def test_workers_end_when_batches_are_closed_and_when_reading_fails(tmp_path: Path) -> None:
    folder = made_shards(tmp_path, n_clips=5, examples_per_shard=5)
    batches = Batches(examples(folder), 4, 50, World(), 2)
    before = set(active_children())
    first = batches(0)
    assert len(set(active_children()) - before) == 2
    batches.close()
    assert set(active_children()) <= before
    torch.testing.assert_close(list(batches(0)), list(first), rtol=0, atol=0)
    batches.close()
    there, path = examples(folder), folder.shards[0]
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ShardError) as caught:
        Batches(there, 4, 2, World(), 2)(0)
    assert set(active_children()) <= before, caught  # while the error is held


@pytest.mark.parametrize("n_workers", [0, 2])
def test_what_cannot_be_read_is_one_line_from_any_worker(tmp_path: Path, n_workers: int) -> None:
    folder = made_shards(tmp_path, n_clips=5, examples_per_shard=5)
    there = examples(folder)
    path = folder.shards[0]
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ShardError) as caught:
        Batches(there, 4, 2, World(), n_workers)(0)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sound_too_short_names_its_example(tmp_path: Path) -> None:
    folder = made_shards(tmp_path, n_clips=1)
    write_shards([Example(FACTS, flac(tone(300, 0.005, RATE)))], tmp_path)
    folder = ShardFolder(tmp_path)
    store(folder.shards[0], "images", [vector_of(0)[None]], folder.digest(0))
    with pytest.raises(ShardError, match=r"shard-000000\.tar.*000000-00000.*5 ms"):
        examples(folder)[0]


def test_batches_larger_than_the_shared_memory_are_refused_at_once(data: ShardFolder) -> None:
    with pytest.raises(ShardError, match="MB of shared memory"):
        Batches(examples(data), 1 << 40, 1, World(), 0)(0)


@pytest.mark.parametrize("fails", [False, True])
def test_pages_are_locked_for_a_gpu_and_let_go(
    data: ShardFolder, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """The calls to CUDA, which no test has: each part once, and none unlocked that was not locked."""
    locked: dict[int, int] = {}

    class Runtime:
        def cudaHostRegister(self, pointer: int, n_bytes: int, flags: int) -> int:
            if fails and locked:
                return 1
            locked[pointer] = n_bytes
            return 0

        def cudaHostUnregister(self, pointer: int) -> None:
            del locked[pointer]

    monkeypatch.setattr(torch.cuda, "cudart", Runtime)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    ring = stream._Ring(examples(data), 4, World(), 3)
    with ring.locked_pages():
        wanted = [3 * 4 * 16 * 23 * 4, 3 * 4 * DIM * 4]
        assert sorted(locked.values()) == sorted(wanted[: 1 if fails else 2])
        assert ring[4][0].data_ptr() - next(iter(locked)) == 4 * 16 * 23 * 4  # slot 1 of 3
    assert locked == {}


def test_several_folders_are_one_set(tmp_path: Path) -> None:
    first = made_shards(tmp_path / "b", n_clips=3, examples_per_shard=2)
    second = made_shards(tmp_path / "a", n_clips=4, examples_per_shard=4)
    both = ShardFolder([tmp_path / "b", tmp_path / "a"])
    assert both.shards == [*first.shards, *second.shards]  # folders as they were named
    assert (len(both), both.counts.tolist()) == (7, [2, 1, 4])
    targets = StoredTargets(both, "images", ENCODER)
    np.testing.assert_allclose(targets.draw(2, 3, None), vector_of(3), rtol=1e-3)
    found = [examples(both)[i][1].numpy() for i in range(7)]
    assert len(found) == 7
    with pytest.raises(ShardError, match="nowhere: no such folder"):
        ShardFolder([tmp_path / "b", tmp_path / "nowhere"])
    for path in (tmp_path / "a").glob("*.images.*"):
        path.unlink()
    with pytest.raises(ShardError, match=f"embed-images {tmp_path / 'a'}"):
        examples(both)
