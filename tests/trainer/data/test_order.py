"""The order of training: complete, shuffled, and the same wherever one begins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.order import Order, subset

Counts = st.lists(st.integers(0, 7), min_size=1, max_size=9).filter(lambda counts: sum(counts) > 0)


def clips_of(counts: list[int]) -> list[np.ndarray]:
    return [np.arange(n, dtype=np.int64) * 2 + 1 for n in counts]


@given(Counts, st.integers(0, 5), st.integers(1, 4), st.integers(0, 3))
def test_an_epoch_holds_every_clip_once(
    counts: list[int], seed: int, block: int, epoch: int
) -> None:
    order = Order(clips_of(counts), seed, block)
    first = epoch * order.n_examples
    places = [order.place(first + i) for i in range(order.n_examples)]
    wanted = [(s, int(c)) for s, clips in enumerate(clips_of(counts)) for c in clips]
    assert sorted(places) == wanted


@given(Counts, st.integers(1, 4), st.randoms())
def test_a_position_does_not_depend_on_what_was_asked_before(
    counts: list[int], block: int, random: object
) -> None:
    one = Order(clips_of(counts), 7, block)
    places = [one.place(i) for i in range(3 * one.n_examples)]
    asked = list(range(3 * one.n_examples))
    random.shuffle(asked)  # type: ignore[attr-defined]
    other = Order(clips_of(counts), 7, block)
    assert {i: other.place(i) for i in asked} == dict(enumerate(places))


def test_few_shards_are_open_at_once() -> None:
    order = Order(clips_of([50] * 20), 0, block=4)
    shards = [order.place(i)[0] for i in range(1000)]
    for start in range(0, 1000, 200):
        assert len(set(shards[start : start + 200])) == 4


def test_clips_of_a_block_are_mixed_and_epochs_differ() -> None:
    order = Order(clips_of([100, 100]), 0)
    first = [order.place(i) for i in range(200)]
    second = [order.place(200 + i) for i in range(200)]
    assert first != second
    half = sum(shard == first[0][0] for shard, _ in first[:100])
    assert 30 < half < 70
    assert [c for _, c in first] != sorted(c for _, c in first)


def test_a_batch_holds_fewer_neighbours_of_one_video_when_all_shards_are_shuffled_together() -> (
    None
):
    """Forty shards of 500 clips in the order of their source: videos of 360 clips (an hour)."""
    counts, batch = [500] * 40, 432

    def neighbours(block: int) -> float:
        """Other clips of a clip's own video in its batch, the mean over an epoch."""
        order = Order([np.arange(n) for n in counts], 0, block)
        videos = [shard * 500 + clip for shard, clip in map(order.place, range(order.n_examples))]
        found = [
            np.bincount(np.array(videos[start : start + batch]) // 360)
            for start in range(0, order.n_examples - batch, batch)
        ]
        return float(np.mean([(of * (of - 1)).sum() / batch for of in found]))

    assert 24 < neighbours(8) < 40
    assert 6 < neighbours(40) < 9  # 432 of 20,000 clips; of AudioSet's 1,715,367 it is 0.09


@given(Counts, st.integers(0, 3), st.data())
def test_a_subset_grows(counts: list[int], seed: int, data: st.DataObject) -> None:
    total = sum(counts)
    small = data.draw(st.integers(1, total))
    large = data.draw(st.integers(small, total))
    drawn = [
        {(s, int(c)) for s, clips in enumerate(subset(clips_of(counts), n, seed)) for c in clips}
        for n in (small, large)
    ]
    assert [len(d) for d in drawn] == [small, large]
    assert drawn[0] <= drawn[1]
    every = {(s, int(c)) for s, clips in enumerate(clips_of(counts)) for c in clips}
    assert drawn[1] <= every


def test_impossible_subsets_are_refused() -> None:
    with pytest.raises(ValueError, match="need 1 to 3 examples, not 4"):
        subset(clips_of([1, 2]), 4, 0)
    with pytest.raises(ValueError, match="no example takes part"):
        Order(clips_of([0, 0]), 0)
