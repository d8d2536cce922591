"""Side files of vectors: what is written comes back, and none is read for the wrong shard."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from trainer.data.example import ShardError
from trainer.data.vectors import (
    ShardVectors,
    VectorsFacts,
    encoders_of,
    vectors_path,
    write_vectors,
)

FACTS = VectorsFacts("images", "tiny-abc", "ViT-tiny", "made", "ab" * 32, 3)


def _rows(counts: list[int]) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=(n, 3)).astype(np.float32) for n in counts]


@given(counts=st.lists(st.integers(0, 4), max_size=6))
def test_vectors_come_back_in_half_precision(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("vectors") / "shard-000000.images.tiny-abc.safetensors"
    rows = _rows(counts)
    write_vectors(path, rows, FACTS, "digest")
    vectors = ShardVectors(path, "digest")
    assert (len(vectors), vectors.facts) == (len(counts), FACTS)
    assert np.diff(vectors.first).tolist() == counts
    for i, row in enumerate(rows):
        assert vectors.of(i).dtype == np.float32
        np.testing.assert_array_equal(vectors.of(i), row.astype(np.float16))
    with pytest.raises(IndexError):
        vectors.of(len(counts))


def test_the_format_is_safetensors_as_written_down(tmp_path: Path) -> None:
    path = tmp_path / "x.images.e.safetensors"
    write_vectors(path, _rows([2, 0, 1]), FACTS, "digest")
    with safe_open(path, "numpy") as file:
        assert file.get_tensor("vectors").shape == (3, 3)
        assert file.get_tensor("vectors").dtype == np.float16
        assert file.get_tensor("first").tolist() == [0, 2, 2, 3]
        assert file.metadata() == {
            "kind": "images",
            "encoder": "tiny-abc",
            "model": "ViT-tiny",
            "pretrained": "made",
            "fingerprint": "ab" * 32,
            "dim": "3",
            "shard": "digest",
        }


def test_vectors_are_not_normalised(tmp_path: Path) -> None:
    path = tmp_path / "x.images.e.safetensors"
    write_vectors(path, [np.full((1, 3), 100.0, np.float32)], FACTS, "digest")
    np.testing.assert_array_equal(ShardVectors(path, None).of(0), [[100.0, 100.0, 100.0]])


def test_a_vector_is_lent_without_a_way_back_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.images.e.safetensors"
    write_vectors(path, _rows([1]), FACTS, "digest")
    vectors = ShardVectors(path, None)
    vectors.of(0)[:] = 0
    assert vectors.of(0).any()


def test_vectors_of_another_shard_are_refused(tmp_path: Path) -> None:
    path = vectors_path(tmp_path / "shard-000000.tar", "images", "tiny-abc")
    write_vectors(path, _rows([1]), FACTS, "old")
    with pytest.raises(ShardError, match=r"made from another shard \(old, this one is new\)"):
        ShardVectors(path, "new")
    assert len(ShardVectors(path, None)) == 1


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("images", "embed-images FOLDER"),
        ("captions", "embed-captions FOLDER"),
        ("labels", "embed-captions FOLDER --texts labels"),
        ("labels-joined", "embed-captions FOLDER --texts labels-joined"),
    ],
)
def test_missing_vectors_name_the_command_that_makes_them(
    tmp_path: Path, kind: str, command: str
) -> None:
    path = vectors_path(tmp_path / "shard-000000.tar", kind, "e")
    assert path.name == f"shard-000000.{kind}.e.safetensors"
    with pytest.raises(ShardError) as caught:
        ShardVectors(path, None)
    command = f"soundsearch train {command}".replace("FOLDER", str(tmp_path))
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).endswith(f"run `{command}`")


@pytest.mark.parametrize("n_bytes", [0, 5, 100, -1])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, n_bytes: int) -> None:
    path = tmp_path / "x.images.e.safetensors"
    write_vectors(path, _rows([4]), FACTS, "digest")
    os.truncate(path, n_bytes % path.stat().st_size)
    with pytest.raises(
        ShardError, match=r"damaged or no safetensors file .*embed-images"
    ) as caught:
        ShardVectors(path, "digest")
    assert "\n" not in str(caught.value)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "x.images.e.safetensors"
    path.write_text("Dear library, these are no vectors.\n" * 10)
    with pytest.raises(ShardError, match="no safetensors file"):
        ShardVectors(path, None)
    save_file({"weights": np.zeros(3, np.float16)}, path, {"kind": "other"})
    with pytest.raises(ShardError, match="not a file of vectors"):
        ShardVectors(path, None)
    save_file({"weights": np.zeros(3, np.float16)}, path)
    with pytest.raises(ShardError, match="not a file of vectors"):
        ShardVectors(path, None)


@pytest.mark.parametrize("first", [[0, 2], [1, 3], [0, 3, 2, 3], []])
def test_offsets_that_do_not_fit_are_refused(tmp_path: Path, first: list[int]) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "x.images.e.safetensors"
    write_vectors(path, _rows([3]), FACTS, "digest")
    with safe_open(path, "numpy") as file:
        vectors, metadata = file.get_tensor("vectors"), file.metadata()
    save_file({"vectors": vectors, "first": np.array(first, np.int64)}, path, metadata)
    with pytest.raises(ShardError, match="its tensors do not fit each other"):
        ShardVectors(path, None)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_vectors_that_half_precision_cannot_hold_are_not_written(
    tmp_path: Path, value: float
) -> None:
    path = tmp_path / "x.images.e.safetensors"
    with pytest.raises(ShardError, match="not finite in float16"):
        write_vectors(path, [np.full((1, 3), value, np.float32)], FACTS, "digest")
    assert list(tmp_path.iterdir()) == []


def test_encoders_are_told_by_kind(tmp_path: Path) -> None:
    shard = tmp_path / "shard-000000.tar"
    for kind, encoder in (
        ("labels", "a"),
        ("labels-joined", "b"),
        ("images", "vit-b-16.2-c"),
        ("images", "a"),
    ):
        facts = replace(FACTS, kind=kind, encoder=encoder)
        write_vectors(vectors_path(shard, kind, encoder), _rows([1]), facts, "digest")
    assert encoders_of(tmp_path, "images") == ["a", "vit-b-16.2-c"]
    assert encoders_of(tmp_path, "labels") == ["a"]
    assert encoders_of(tmp_path, "labels-joined") == ["b"]
    assert encoders_of(tmp_path, "captions") == []
