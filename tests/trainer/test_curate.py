"""Captions by pictures: the nearest of the pool, held to a search by hand."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.recorded import Recorded
from tests.sounds import tone
from tests.trainer.made_shards import flac
from tests.trainer.tiny_clip import jpeg, write_tiny_clip
from trainer import curate as curating
from trainer.curate import (
    CuratedCaptions,
    CurateError,
    curate,
    curated_path,
    nearest,
    read_captions,
    read_pool,
    union,
    write_manifest,
)
from trainer.data.example import Example, ExampleFacts, ShardError
from trainer.data.shard_folder import Shard, ShardFolder
from trainer.data.shard_writer import write_shards
from trainer.data.vectors import ShardVectors, vectors_path
from trainer.embed_shards import Report, embed_images
from trainer.stage_targets import CuratedTargets
from trainer.towers.clip_model import ClipChoice, FrozenClip, load_clip
from trainer.towers.clip_weights import ClipError

CAPTIONS = [f"{what} {where}" for what in ("rain", "a dog", "an engine") for where in "abcd"]
FACTS = ExampleFacts("made.wav", 0.0, 0.1, 8000)
FRAMES = [[1, 2, 3, 4], [], [5], [6, 6], [7, 8, 9], [10, 11]]


@pytest.fixture(scope="module")
def choice(tmp_path_factory: pytest.TempPathFactory) -> ClipChoice:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(choice: ClipChoice) -> FrozenClip:
    return load_clip(choice)


@pytest.fixture
def folder(clip: FrozenClip) -> Path:
    """Two shards of four and two clips, their pictures embedded."""
    sound = flac(tone(440, 0.1))
    clips = [Example(FACTS, sound, tuple(jpeg(seed) for seed in seeds)) for seeds in FRAMES]
    write_shards(clips, Path("shards"), examples_per_shard=4)
    embed_images(Path("shards"), clip)
    return Path("shards")


@pytest.fixture
def pool() -> Path:
    return written("Some Captions.txt", CAPTIONS)


def written(name: str, lines: Sequence[str]) -> Path:
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path(name)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_hand(frames: np.ndarray, pool: np.ndarray, top_k: int) -> list[int]:
    """A clip's captions: rank the pool for each frame, and sort what comes first by its best."""
    best: dict[int, float] = {}
    for cosines in unit(frames) @ unit(pool).T:
        for i in sorted(range(len(pool)), key=lambda i, cosines=cosines: -cosines[i])[:top_k]:
            best[i] = max(best.get(i, -2.0), float(cosines[i]))
    return sorted(best, key=lambda i: -best[i])


def chosen(folder: Path, pool: str) -> list[list[int]]:
    shards = ShardFolder(folder)
    rows: list[list[int]] = []
    for n, path in enumerate(shards.shards):
        found = CuratedCaptions(curated_path(path, pool), shards.open(n).digest)
        rows.extend(found.of(i).tolist() for i in range(len(found)))
    return rows


def test_clips_get_what_a_search_by_hand_finds(
    folder: Path, pool: Path, clip: FrozenClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("audio", "audio_bytes"):  # the sound is never asked
        monkeypatch.setattr(Shard, name, None)
    name, report = curate(folder, pool, top_k=3)
    assert name == "some-captions"
    texts, vectors = read_pool(folder, name, clip.encoder)
    assert texts == CAPTIONS
    np.testing.assert_allclose(vectors, clip.embed_texts(CAPTIONS), atol=1e-2)
    rows = chosen(folder, name)
    frames = []
    for path in ShardFolder(folder).shards:
        stored = ShardVectors(vectors_path(path, "images", clip.encoder), None)
        frames.extend(stored.of(i) for i in range(len(stored)))
    assert rows == [by_hand(row, vectors, 3) for row in frames]
    assert rows[1] == [] and len(rows[2]) == len(rows[3]) == 3 < len(rows[0])
    assert report == Report(n_done=2, n_examples=6, n_rows=sum(map(len, rows)), n_empty=1)


def test_the_second_stage_can_train_with_it(folder: Path, pool: Path, clip: FrozenClip) -> None:
    name, _ = curate(folder, pool, top_k=2)
    _, vectors = read_pool(folder, name, clip.encoder)
    targets = CuratedTargets(ShardFolder(folder), name, clip.encoder)
    assert targets.usable(0).tolist() == [0, 2, 3]
    np.testing.assert_array_equal(targets.draw(0, 2, None), vectors[chosen(folder, name)[2][0]])


whole_numbers = st.integers(-2, 2)


@st.composite
def frames_and_pool(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Vectors of small whole numbers, so that many cosines are the same."""
    dim = draw(st.integers(1, 3))
    row = st.lists(whole_numbers, min_size=dim, max_size=dim).filter(any)
    frames = draw(st.lists(row, max_size=6))
    pool = draw(st.lists(row, min_size=1, max_size=12))
    top_k = draw(st.integers(1, len(pool)))
    return np.array(frames, np.float32).reshape(-1, dim), np.array(pool, np.float32), top_k


@given(frames_and_pool(), st.sampled_from([1, 7, 2**20]), st.sampled_from([1, 3, 2**20]))
def test_the_search_is_exact_and_equal_ones_come_by_id(
    made: tuple[np.ndarray, np.ndarray, int], scores: int, pairs: int
) -> None:
    frames, pool, top_k = unit(made[0]), unit(made[1]), made[2]
    with (
        patch.object(curating, "SCORES_AT_ONCE", scores),
        patch.object(curating, "PAIRS_AT_ONCE", pairs),
    ):
        ids, cosines = nearest(torch.from_numpy(frames), torch.from_numpy(pool), top_k)
    exact = [
        [float((f.astype(np.float64) * p.astype(np.float64)).sum()) for p in pool] for f in frames
    ]
    for i, row in enumerate(exact):
        expected = sorted(range(len(pool)), key=lambda j, row=row: (-row[j], j))[:top_k]
        assert ids[i].tolist() == expected
        np.testing.assert_array_equal(cosines[i], [row[j] for j in expected])


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_near_cosines_are_told_apart(seed: int, top_k: int) -> None:
    """Differences that float32 products cannot see decide the order all the same."""
    random = np.random.default_rng(seed)
    base = random.standard_normal(64)
    pool = unit(base + 1e-6 * random.standard_normal((40, 64))).astype(np.float32)
    frames = unit(random.standard_normal((3, 64))).astype(np.float32)
    ids, _ = nearest(torch.from_numpy(frames), torch.from_numpy(pool), top_k)
    exact = (frames.astype(np.float64)[:, None] * pool.astype(np.float64)[None]).sum(axis=2)
    assert ids.tolist() == np.argsort(-exact, axis=1, kind="stable")[:, :top_k].tolist()


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.1, 0.2, 0.3])), max_size=12),
)
def test_a_clip_has_each_caption_once_the_best_first(pairs: list[tuple[int, float]]) -> None:
    ids = np.array([i for i, _ in pairs], np.int32)
    cosines = np.array([cosine for _, cosine in pairs], np.float64)
    best = {i: max(c for j, c in pairs if j == i) for i, _ in pairs}
    assert union(ids, cosines).tolist() == sorted(best, key=lambda i: (-best[i], i))


# Resuming


def test_a_second_run_does_nothing(
    folder: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curate(folder, pool, top_k=3)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(curating, "load_clip", None)
    monkeypatch.setattr(curating, "nearest", None)
    assert curate(folder, pool, top_k=3)[1] == Report(n_ready=2)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_what_does_not_fit_is_made_again(folder: Path, pool: Path) -> None:
    name, _ = curate(folder, pool, top_k=3)
    first = chosen(folder, name)
    paths = [curated_path(path, name) for path in ShardFolder(folder).shards]
    paths[0].write_bytes(paths[0].read_bytes()[:-3])
    assert (curate(folder, pool, top_k=3)[1].n_ready, chosen(folder, name)) == (1, first)
    report = curate(folder, pool, top_k=2)[1]
    assert (report.n_done, report.n_ready) == (2, 0)
    assert len(chosen(folder, name)[2]) == 2
    (folder / "some-captions.pool.txt").unlink()  # as if stopped before it was written
    assert curate(folder, pool, top_k=2)[1].n_ready == 2
    assert read_captions(folder / "some-captions.pool.txt") == CAPTIONS


def test_the_embedded_pool_is_used_again(
    folder: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curate(folder, pool, top_k=3)
    monkeypatch.setattr(curating, "load_clip", None)
    assert curate(folder, pool, top_k=4)[1].n_done == 2


def test_another_pool_of_the_same_name_is_refused(folder: Path, pool: Path) -> None:
    curate(folder, pool, top_k=3)
    first = chosen(folder, "some-captions")
    written("Some Captions.txt", ["all new", *CAPTIONS])
    with pytest.raises(CurateError, match="another pool is called 'some-captions' already, of 12"):
        curate(folder, pool, top_k=3)
    assert curate(folder, pool, top_k=3, name="Newer ones!")[0] == "newer-ones"
    assert chosen(folder, "some-captions") == first


# The human-readable list


def test_the_manifest_lists_what_was_chosen(folder: Path, pool: Path) -> None:
    name, report = curate(folder, pool, top_k=2)
    manifest = Path("chosen.csv")
    assert write_manifest(folder, name, manifest) == report.n_rows
    with open(manifest, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["shard", "key", "caption"]
    keys = [(path.name, key) for path in ShardFolder(folder).shards for key in Shard(path).keys]
    assert [(row["shard"], row["key"], row["caption"]) for row in rows] == [
        (*key, CAPTIONS[i])
        for key, ids in zip(keys, chosen(folder, name), strict=True)
        for i in ids
    ]
    assert len(list(Path().glob("*.part"))) == 0


def test_what_was_chosen_from_an_earlier_pool_is_not_listed(
    folder: Path, pool: Path, clip: FrozenClip
) -> None:
    name, report = curate(folder, pool, top_k=2)
    (folder / f"{name}.pool.txt").unlink()
    images = vectors_path(folder / "shard-000000.tar", "images", clip.encoder)
    images.rename(images.with_suffix(".gone"))
    written("Some Captions.txt", CAPTIONS[:3])
    _, newer = curate(folder, pool, top_k=2)
    assert (newer.n_done, newer.n_failed) == (1, 1)
    assert write_manifest(folder, name, Path("chosen.csv")) == newer.n_rows < report.n_rows


def test_a_manifest_of_no_pool_or_to_nowhere_is_one_line(folder: Path, pool: Path) -> None:
    with pytest.raises(CurateError, match="holds no pool called 'other'; run"):
        write_manifest(folder, "other", Path("chosen.csv"))
    name, _ = curate(folder, pool, top_k=2)
    with pytest.raises(CurateError, match="there are some-captions"):
        write_manifest(folder, "other", Path("chosen.csv"))
    with pytest.raises(CurateError, match="cannot be written"):
        write_manifest(folder, name, Path("nowhere") / "chosen.csv")


# Pools


def test_lines_and_columns_are_pools() -> None:
    lines = ["rain  on a\troof ", "", "a dog", "rain on a roof", "  ", "éclair"]
    assert read_captions(written("pool.txt", lines)) == ["rain on a roof", "a dog", "éclair"]
    table = ["file,Caption_1,caption_2,tags", "a,one,two,x", 'b,"three\nlines",,x', "c,,,"]
    assert read_captions(written("pool.csv", table)) == ["one", "two", "three lines"]
    marked = Path("marked.csv")
    marked.write_text("\ufeffcaption\nrain\n", encoding="utf-8")
    assert read_captions(marked) == ["rain"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("pool.txt", b"", "holds no captions"),
        ("pool.txt", b" \n\n", "holds no captions"),
        ("pool.csv", b"", "it is empty"),
        ("pool.csv", b"caption\n", "holds no rows"),
        ("pool.csv", b'caption\n" "\n', "holds no captions"),
        ("pool.csv", b"text,label\na,b\n", "column caption is missing, found text, label"),
        ("pool.txt", b"\xff\xfe\x00", "not UTF-16"),
    ],
)
def test_no_pool_is_one_clear_line(name: str, content: bytes, reason: str) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(CurateError, match=reason):
        read_captions(Path(name))
    with pytest.raises(CurateError, match="cannot be read"):
        read_captions(Path("nowhere.txt"))


@pytest.mark.parametrize("top_k", [0, 13])
def test_top_k_lies_within_the_pool(folder: Path, pool: Path, top_k: int) -> None:
    with pytest.raises(CurateError, match=f"top-k is {top_k}, and must be from 1 to the pool's 12"):
        curate(folder, pool, top_k=top_k)


def test_a_pool_that_does_not_fit_its_vectors_is_refused(
    folder: Path, pool: Path, clip: FrozenClip
) -> None:
    name, _ = curate(folder, pool, top_k=2)
    written(f"shards/{name}.pool.txt", ["something", *CAPTIONS[1:]])
    with pytest.raises(CurateError, match="holds no vectors of the pool some-captions by tiny"):
        read_pool(folder, name, clip.encoder)
    with pytest.raises(CurateError, match="by another"):
        read_pool(folder, name, "another")
    with pytest.raises(CurateError, match="no pool called 'x'; there are some-captions"):
        read_pool(folder, "x", clip.encoder)


# Pictures and models


def test_the_pictures_of_shards_that_are_gone_do_not_count(folder: Path, pool: Path) -> None:
    for path in ShardFolder(folder).shards:
        path.rename(path.with_name(f"new-{path.name}"))
    with pytest.raises(ShardError, match="no vectors of images here"):
        curate(folder, pool, top_k=2)


def test_pictures_must_be_embedded_first(pool: Path) -> None:
    write_shards([Example(FACTS, flac(tone(440, 0.1)), (jpeg(),))], Path("shards"))
    with pytest.raises(ShardError, match="no vectors of images here; run `soundsearch train"):
        curate(Path("shards"), pool)


def test_a_shard_without_vectors_costs_one_line(folder: Path, pool: Path, clip: FrozenClip) -> None:
    vectors_path(folder / "shard-000000.tar", "images", clip.encoder).unlink()
    noted = Recorded()
    name, report = curate(folder, pool, top_k=2, progress=noted)
    assert (report.n_done, report.n_failed) == (1, 1)
    assert len(noted.notes) == 1 and "train embed-images" in noted.notes[0]
    assert write_manifest(folder, name, Path("chosen.csv")) == report.n_rows


def test_of_several_encoders_one_is_chosen(folder: Path, pool: Path, tmp_path: Path) -> None:
    other = load_clip(write_tiny_clip(tmp_path, name="other", seed=1))
    embed_images(folder, other)
    with pytest.raises(ShardError, match="choose one with --encoder"):
        curate(folder, pool, top_k=2)
    with pytest.raises(ShardError, match="no vectors of images by third; there are: other-"):
        curate(folder, pool, top_k=2, encoder="third")
    name, _ = curate(folder, pool, top_k=2, encoder=other.encoder)
    assert read_pool(folder, name, other.encoder)[1].shape == (12, 16)


def test_the_pool_is_embedded_by_the_model_of_the_pictures(
    folder: Path, pool: Path, tmp_path: Path
) -> None:
    other = write_tiny_clip(tmp_path, seed=1)
    with pytest.raises(CurateError, match="embedded by tiny-clip-tiny-clip-0-"):
        curate(folder, pool, top_k=2, pretrained=other.pretrained)
    with pytest.raises(ClipError, match=r"gone\.pt: no such file"):
        curate(folder, pool, top_k=2, pretrained="gone.pt")
    moved = write_tiny_clip(tmp_path / "moved")
    assert curate(folder, pool, top_k=2, pretrained=moved.pretrained)[1].n_done == 2


# Files that do not fit


def test_damaged_and_foreign_files_are_one_clear_line(folder: Path, pool: Path) -> None:
    name, _ = curate(folder, pool, top_k=2)
    path = curated_path(folder / "shard-000000.tar", name)
    with pytest.raises(ShardError, match="made from another shard"):
        CuratedCaptions(path, "0" * 16)
    with pytest.raises(ShardError, match=r"not there yet; run `soundsearch train curate`"):
        CuratedCaptions(folder / "none.safetensors", None)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ShardError, match=r"damaged or no safetensors file .*train curate`"):
        CuratedCaptions(path, None)
    with pytest.raises(ShardError, match="cannot be read"):
        CuratedCaptions(vectors_path(folder / "shard-000000.tar", "images", "x").parent, None)


def test_tensors_that_do_not_fit_are_refused() -> None:
    from safetensors.numpy import save_file

    for ids, first in (([1, 2], [0, 1]), ([1, 2], [1, 2]), ([1, -2], [0, 2]), ([1], [0, 2, 1])):
        tensors = {"ids": np.array(ids, np.int32), "first": np.array(first, np.int64)}
        save_file(tensors, "made.safetensors")
        with pytest.raises(ShardError, match=r"do not fit each other|ids below 0"):
            CuratedCaptions(Path("made.safetensors"), None)
