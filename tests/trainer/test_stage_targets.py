"""The strategies of the captions stage: which texts stand for a clip."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from soundsearch.errors import ConfigError
from tests.sounds import tone
from tests.trainer.made_shards import DIM, ENCODER, RATE, TINY, flac, made_shards, store
from tests.trainer.tiny_clip import DIM as CLIP_DIM
from tests.trainer.tiny_clip import jpeg, write_tiny_clip
from trainer.contrast import ContrastConfig
from trainer.curate import CuratedCaptions, CurateError, curate, curated_path, read_pool
from trainer.data.example import Example, ExampleFacts
from trainer.data.shard_folder import ShardFolder
from trainer.data.shard_writer import write_shards
from trainer.data.stored_targets import StoredTargets
from trainer.embed_shards import embed_images
from trainer.runs import read_config, read_run, read_weights
from trainer.stage import train_stage
from trainer.stage_targets import CURATED, CuratedTargets, PairedTargets, kind_of
from trainer.towers.clip_model import load_clip

WORDS = ["a dog", "rain", "a bell", "a door", "wind", "a car"]


@pytest.fixture
def curated(tmp_path: Path) -> tuple[ShardFolder, str]:
    """Shards with pictures, for which captions were found in a pool of six; and their encoder."""
    facts = ExampleFacts("made.wav", 0.0, 0.5, RATE)
    clips = [
        Example(facts, flac(tone(200.0 + 90 * i, 0.5, RATE)), (jpeg(i), jpeg(20 + i)))
        for i in range(9)
    ]
    folder = tmp_path / "shards"
    write_shards(clips, folder, examples_per_shard=5)
    clip = load_clip(write_tiny_clip(tmp_path / "clip"))
    embed_images(folder, clip)
    pool = tmp_path / "pool.txt"
    pool.write_text("\n".join(WORDS) + "\n")
    curate(folder, pool, top_k=2)
    return ShardFolder(folder), clip.encoder


def test_curated_captions_are_drawn_from_the_clips_own(curated: tuple[ShardFolder, str]) -> None:
    data, encoder = curated
    targets = CuratedTargets(data, "pool", encoder)
    texts, vectors = read_pool(data.folder, "pool", encoder)
    assert texts == WORDS
    assert targets.dim == CLIP_DIM
    assert targets.usable(1).tolist() == [0, 1, 2, 3]
    ids = CuratedCaptions(curated_path(data.shards[1], "pool"), data.digest(1)).of(2)
    assert 2 <= len(ids) <= 4
    drawn = [targets.draw(1, 2, np.random.default_rng(i)) for i in range(60)]
    assert {v.tobytes() for v in drawn} == {vectors[i].tobytes() for i in ids}
    np.testing.assert_array_equal(targets.draw(1, 2, None), vectors[ids[0]])


def test_a_stage_learns_from_a_pool(curated: tuple[ShardFolder, str], tmp_path: Path) -> None:
    data, _ = curated
    config = dataclasses.replace(
        TINY, stage="captions", texts=f"{CURATED}pool", batch_size=4, epochs=2.0
    )
    run = train_stage(data.folder, tmp_path / "run", config)
    assert read_config(run).texts == "curated:pool"
    assert (run / "weights.safetensors").exists()
    other = dataclasses.replace(config, texts=f"{CURATED}other")
    with pytest.raises(CurateError, match="other"):
        train_stage(data.folder, tmp_path / "other", other)


def test_ids_of_another_pool_are_refused(curated: tuple[ShardFolder, str], tmp_path: Path) -> None:
    data, encoder = curated
    old = curated_path(data.shards[0], "pool").read_bytes()
    for path in data.folder.glob("pool.pool.*"):
        path.unlink()
    pool = tmp_path / "pool.txt"
    pool.write_text("\n".join(reversed(WORDS)) + "\n")
    curate(data.folder, pool, top_k=2)
    curated_path(data.shards[0], "pool").write_bytes(old)  # as if it had been stopped half-way
    with pytest.raises(CurateError, match="made from another pool"):
        CuratedTargets(data, "pool", encoder).usable(0)


@pytest.mark.parametrize(
    ("texts", "kind"), [("gold", "captions"), ("label", "labels"), ("labels", "labels-joined")]
)
def test_each_strategy_reads_its_own_side_files(tmp_path: Path, texts: str, kind: str) -> None:
    data = made_shards(tmp_path / "shards", n_clips=6, examples_per_shard=6)
    for path in data.folder.glob("*.captions.*"):
        path.unlink()
    rows = [np.ones((2, DIM), np.float32) * i for i in range(1, 7)]
    store(data.shards[0], kind, rows, data.digest(0))
    config = dataclasses.replace(TINY, stage="captions", texts=texts, batch_size=3, epochs=1.0)
    assert kind_of(config) == kind
    train_stage(data.folder, tmp_path / "run", config)
    assert StoredTargets(data, kind, ENCODER).draw(0, 3, None)[0] == 4  # type: ignore[arg-type]


@pytest.mark.parametrize("texts", ["golden", "", "curated:", "Gold"])
def test_unknown_strategies_are_refused(texts: str) -> None:
    with pytest.raises(ConfigError, match="texts must be one of gold, label, labels, random, cur"):
        kind_of(dataclasses.replace(TINY, stage="captions", texts=texts))


def test_pictures_take_part_in_the_three_way_loss(tmp_path: Path) -> None:
    data = made_shards(tmp_path / "shards", n_clips=12, examples_per_shard=6)
    rows = [np.ones((int(i > 1), DIM), np.float32) * i for i in range(6)]
    store(data.shards[0], "images", rows, data.digest(0))  # two clips have no picture
    images, texts = (StoredTargets(data, kind, ENCODER) for kind in ("images", "captions"))
    both = PairedTargets(images, texts)
    assert (both.dim, both.usable(0).tolist()) == (2 * DIM, [2, 3, 4, 5])
    expected = np.concatenate([images.draw(0, 3, None), texts.draw(0, 3, None)])
    np.testing.assert_array_equal(both.draw(0, 3, None), expected)

    config = dataclasses.replace(
        TINY,
        stage="captions",
        texts="gold",
        batch_size=5,
        epochs=2.0,
        contrast=ContrastConfig(three_way=True),
    )
    run = read_run(train_stage(data.folder, tmp_path / "run", config))
    assert run.data["n_clips"] == 10
    scales = read_weights(tmp_path / "run")["log_scale"]
    assert scales.shape == (3,) and run.log_scale == pytest.approx(float(scales[2]))
    assert len(set(scales.tolist())) == 3  # each learns by itself
    chunked = dataclasses.replace(config, contrast=ContrastConfig(three_way=True, chunk=2))
    again = train_stage(data.folder, tmp_path / "chunked", chunked)
    torch.testing.assert_close(read_weights(again)["log_scale"], scales, atol=1e-4, rtol=0)
    for stage, contrast in (("pivot", {}), ("captions", {"duplicates": "ignored"})):
        with pytest.raises(ValueError, match="three_way"):
            dataclasses.replace(
                TINY,
                stage=stage,  # type: ignore[arg-type]
                texts=None if stage == "pivot" else "gold",
                contrast=ContrastConfig(three_way=True, **contrast),  # type: ignore[arg-type]
            )
