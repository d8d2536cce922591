"""Packing: in order, with any number of workers, and the same after being killed anywhere."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recorded import Recorded
from tests.trainer.data.made_examples import clip
from trainer.data import pack as pack_module
from trainer.data.example import RENAMED, ShardError
from trainer.data.pack import (
    FAILURES,
    LOCK,
    PROGRESS,
    Outcome,
    Problem,
    Report,
    pack,
    read_problems,
)
from trainer.data.shard_folder import ShardFolder
from trainer.data.shard_index import index_path

CLIPS = [clip(n, n_frames=0) for n in range(12)]
#: What each source gives: numbers are clips, words are problems.
Given = list[list[int | str]]


def work(source: list[int | str]) -> Iterator[Outcome]:
    for item in source:
        yield CLIPS[item] if isinstance(item, int) else Problem(item, "bad", 0)


class KilledError(Exception):
    pass


def contents(out: Path) -> dict[str, bytes]:
    files = [*out.glob("*.tar"), out / FAILURES]
    return {path.name: path.read_bytes() for path in files}


def sources_of(out: Path) -> list[str]:
    folder = ShardFolder(out)
    opened = [folder.open(n) for n in range(len(folder.shards))]
    return [shard.facts(i).source for shard in opened for i in range(len(shard))]


def test_clips_come_in_the_order_of_the_list_whoever_is_first(tmp_path: Path) -> None:
    def at_their_own_pace(n: int) -> Iterator[Outcome]:
        time.sleep(0.02 * (7 * n % 4))
        yield CLIPS[n]

    report = pack(range(12), at_their_own_pace, tmp_path, {}, examples_per_shard=5, n_workers=3)
    assert sources_of(tmp_path) == [f"video {n}.mp4" for n in range(12)]
    assert report == Report(n_examples=12, n_shards=3, n_sources=12, n_problems=0, n_new=12)
    assert ShardFolder(tmp_path).counts.tolist() == [5, 5, 2]


def test_a_source_that_falls_behind_is_waited_for() -> None:
    def pausing(n: int) -> Iterator[Outcome]:
        yield CLIPS[n]
        if n == 0:
            time.sleep(0.2)
            yield CLIPS[n]

    found = []
    for number, _ in pack_module._in_order(range(3), 0, pausing, 2):
        found.append(number)
        time.sleep(0.05)
    assert found == [0, 0, 1, 2]


def test_workers_work_side_by_side(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=5)

    def meet(n: int) -> Iterator[Outcome]:
        both.wait()
        yield CLIPS[n]

    pack(range(2), meet, tmp_path, {}, examples_per_shard=5, n_workers=2)


def test_a_worker_does_not_run_far_ahead(tmp_path: Path) -> None:
    asked: list[int] = []

    def many(n: int) -> Iterator[Outcome]:
        for _ in range(200):
            asked.append(n)
            yield CLIPS[n]

    running = pack_module._in_order(range(50), 0, many, 2)
    next(running)
    time.sleep(0.2)
    assert len(asked) <= 2 * (pack_module.EXAMPLES_AHEAD + 2)
    running.close()


def test_problems_get_a_row_and_a_note(tmp_path: Path) -> None:
    progress = Recorded()
    odd = Problem('a "b",\nc.mp4', "it is,\nodd", 3)
    report = pack(
        [odd, Problem("\udce9.mp4", "old name"), 1],
        lambda item: [CLIPS[item] if isinstance(item, int) else item],
        tmp_path,
        {},
        examples_per_shard=5,
        n_workers=1,
        progress=progress,
    )
    assert list(read_problems(tmp_path)) == [odd, Problem("\udce9.mp4", "old name")]
    assert [odd.file in progress.notes[0], odd.reason in progress.notes[0]] == [True, True]
    assert progress.notes[1:] == ["skipped \udce9.mp4: old name"]
    assert (progress.stage("sources").total, progress.stage("sources").done) == (3, 3)
    assert report.n_problems == 2
    with open(tmp_path / FAILURES, errors="surrogateescape", newline="") as file:
        assert next(csv.reader(file)) == ["file", "clips", "reason"]


some_sources = st.lists(
    st.lists(st.one_of(st.integers(0, 11), st.sampled_from(["x", "y"])), max_size=4),
    min_size=1,
    max_size=6,
).filter(lambda given: any(isinstance(item, int) for source in given for item in source))


@settings(max_examples=20)
@given(
    given=some_sources,
    kill_at=st.lists(st.integers(0, 12), max_size=3),
    per_shard=st.integers(1, 4),
)
def test_a_killed_run_ends_as_one_that_was_not(
    tmp_path_factory: pytest.TempPathFactory, given: Given, kill_at: list[int], per_shard: int
) -> None:
    whole, killed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("killed")
    report = pack(given, work, whole, {}, examples_per_shard=per_shard, n_workers=1)
    for n_items in kill_at:
        left = n_items

        def dying(source: list[int | str]) -> Iterator[Outcome]:
            nonlocal left
            for item in work(source):
                if left == 0:
                    raise KilledError
                left -= 1
                yield item

        try:
            pack(given, dying, killed, {}, examples_per_shard=per_shard, n_workers=1)
        except KilledError:
            continue
    again = pack(given, work, killed, {}, examples_per_shard=per_shard, n_workers=2)
    assert contents(killed) == contents(whole)
    assert (again.n_examples, again.n_shards, again.n_problems) == (
        report.n_examples,
        report.n_shards,
        report.n_problems,
    )
    assert list(killed.glob("*.part")) == []


@pytest.mark.parametrize("moment", range(6))
def test_a_run_killed_between_shard_and_progress_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    given: Given = [[0, "x", 1], ["y"], [2, 3, "z"], [4, "x"]]
    pack(given, work, tmp_path / "whole", {}, examples_per_shard=2, n_workers=1)
    written = pack_module._write_text
    left = moment

    def dying(path: Path, text: str) -> None:
        nonlocal left
        if left == 0:
            raise KilledError
        left -= 1
        written(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(pack_module, "_write_text", dying)
        try:
            pack(given, work, tmp_path / "killed", {}, examples_per_shard=2, n_workers=1)
        except KilledError:
            pass
        else:
            assert moment == 5  # table, progress, two full shards, the last one
    pack(given, work, tmp_path / "killed", {}, examples_per_shard=2, n_workers=1)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_finished_shards_are_kept_and_not_worked_on_again(tmp_path: Path) -> None:
    asked: list[int] = []

    def once(n: int) -> Iterator[Outcome]:
        asked.append(n)
        if n == 3 and len(asked) == 4:
            raise KilledError
        yield CLIPS[n]

    with pytest.raises(KilledError):
        pack(range(5), once, tmp_path, {}, examples_per_shard=2, n_workers=1)
    first = (tmp_path / "shard-000000.tar").stat().st_mtime_ns
    report = pack(range(5), once, tmp_path, {}, examples_per_shard=2, n_workers=1)
    assert (tmp_path / "shard-000000.tar").stat().st_mtime_ns == first
    assert 0 not in asked[4:]
    assert (report.n_new, report.n_examples) == (3, 5)


def test_the_same_run_twice_does_nothing_the_second_time(tmp_path: Path) -> None:
    pack(range(3), lambda n: [CLIPS[n]], tmp_path, {"a": 1}, examples_per_shard=2, n_workers=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    def never(n: int) -> Iterator[Outcome]:
        raise AssertionError(n)

    report = pack(range(3), never, tmp_path, {"a": 1}, examples_per_shard=2, n_workers=1)
    assert report == Report(n_examples=3, n_shards=2, n_sources=3, n_problems=0, n_new=0)
    del before[tmp_path / LOCK]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_that_an_earlier_version_began_goes_on(tmp_path: Path) -> None:
    """Files with the earlier names: nothing is made or indexed again."""

    def stopped(n: int) -> Iterator[Outcome]:
        if n == 2:
            raise KilledError
        yield CLIPS[n]

    options = {"example_s": 10.0}
    with pytest.raises(KilledError):
        pack(range(3), stopped, tmp_path, options, examples_per_shard=2, n_workers=1)
    index = index_path(tmp_path / "shard-000000.tar")
    for path in (tmp_path / PROGRESS, index):
        text = path.read_text()
        for old, new in RENAMED.items():
            text = text.replace(f'"{new}"', f'"{old}"')
        assert '"n_clips"' in text and "example" not in text
        path.write_text(text)
    before = index.stat().st_mtime_ns
    report = pack(
        range(3), lambda n: [CLIPS[n]], tmp_path, options, examples_per_shard=2, n_workers=1
    )
    assert (report.n_new, report.n_examples) == (1, 3)
    assert ShardFolder(tmp_path).counts.tolist() == [2, 1]
    assert len(ShardFolder(tmp_path).open(0)) == 2
    assert index.stat().st_mtime_ns == before


def test_another_run_in_the_same_folder_is_refused_with_the_difference(tmp_path: Path) -> None:
    pack(
        range(3),
        lambda n: [CLIPS[n]],
        tmp_path,
        {"example_s": 10.0},
        examples_per_shard=2,
        n_workers=1,
    )
    with pytest.raises(ShardError, match=r"\(example_s was 10\.0, is now 5\.0\); choose another"):
        pack(range(3), work, tmp_path, {"example_s": 5.0}, examples_per_shard=2, n_workers=1)
    with pytest.raises(ShardError, match=r"\(examples_per_shard was 2, is now 3\)"):
        pack(range(3), work, tmp_path, {"example_s": 10.0}, examples_per_shard=3, n_workers=1)


def test_a_folder_with_shards_of_others_is_refused(tmp_path: Path) -> None:
    pack(range(1), lambda n: [CLIPS[n]], tmp_path, {}, examples_per_shard=2, n_workers=1)
    (tmp_path / PROGRESS).unlink()
    with pytest.raises(ShardError, match=r"holds shards and no progress\.json"):
        pack(range(1), work, tmp_path, {}, examples_per_shard=2, n_workers=1)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 9, "options": {}, "progress": {}}'])
def test_progress_that_cannot_be_read_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / PROGRESS).write_text(text)
    with pytest.raises(ShardError, match=r"progress\.json: cannot be read .* choose another"):
        pack(range(1), work, tmp_path, {}, examples_per_shard=2, n_workers=1)


def test_a_shard_that_went_missing_is_told(tmp_path: Path) -> None:
    pack(range(3), lambda n: [CLIPS[n]], tmp_path, {}, examples_per_shard=2, n_workers=1)
    facts = json.loads((tmp_path / PROGRESS).read_text())
    facts["progress"]["finished"] = False
    (tmp_path / PROGRESS).write_text(json.dumps(facts))
    (tmp_path / "shard-000000.tar").unlink()
    with pytest.raises(ShardError, match=r"shard-000000\.tar: is gone, though it was finished"):
        pack(range(3), work, tmp_path, {}, examples_per_shard=2, n_workers=1)


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with (
        filelock.FileLock(tmp_path / LOCK),
        pytest.raises(ShardError, match="another run is writing shards here"),
    ):
        pack(range(1), work, tmp_path, {}, examples_per_shard=2, n_workers=1)


def test_a_run_without_any_clip_is_an_error_each_time(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ShardError, match=r"none of 2 sources could be used \(x: bad\)"):
            pack([["x"], ["y"]], work, tmp_path, {}, examples_per_shard=2, n_workers=1)
    assert [problem.file for problem in read_problems(tmp_path)] == ["x", "y"]
