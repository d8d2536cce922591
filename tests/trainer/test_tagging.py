"""Probe and fine-tuning on AudioSet: clips with any number of classes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from soundsearch.bench.datasets import DataSetError
from soundsearch.bench.result_files import read_result
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.towers import Encoder
from tests import made_benchmarks as made
from tests.conftest import Run
from tests.made_benchmarks import classes_of_the_tiny_encoder, small_is_whole  # noqa: F401
from tests.trainer.test_supervised import QUICK, run  # noqa: F401
from trainer.finetune import Classifier, finetune
from trainer.probe import fit_logistic, probe_bundle, probe_run
from trainer.supervised import loss_of, read_labelled

pytestmark = pytest.mark.usefixtures("small_is_whole", "classes_of_the_tiny_encoder")


@pytest.fixture
def audioset(tmp_path: Path) -> Path:
    """A clip of each class in each list; the training list has one class more."""
    root = made.audioset(tmp_path / "audioset")
    made.audioset(root, split="balanced_train", first="A")
    path = root / "balanced_train_segments.csv"
    path.write_text(path.read_text().replace('"/m/00001"', '"/m/00001,/m/99999"'))
    return root


@pytest.mark.parametrize("l2", [0.1, 3.0])
def test_a_class_by_itself_is_that_of_scikit_learn(
    l2: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    monkeypatch.setattr("trainer.probe.AT_A_TIME", 17)  # some of the vectors at a time
    rng = np.random.default_rng(0)
    target = rng.random((60, 3)) < 0.4
    vectors = (rng.normal(size=(60, 5)) + 0.7 * target @ np.eye(3, 5)).astype(np.float32)
    weights, bias = fit_logistic(vectors, target, 3, l2=l2)
    mean, std = vectors.mean(0, dtype=np.float64), vectors.std(0, dtype=np.float64)
    for i in range(3):
        other = linear_model.LogisticRegression(C=1 / l2, tol=1e-10, max_iter=10_000)
        other.fit((vectors - mean) / std, target[:, i])
        theirs = other.decision_function((vectors - mean) / std)
        np.testing.assert_allclose((vectors @ weights + bias)[:, i], theirs, atol=1e-4)


def test_the_loss_is_that_of_each_class_alone() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    target = torch.tensor([[True, False], [True, True]])
    share = torch.sigmoid(logits).numpy()
    wanted = -np.log(np.where(target.numpy(), share, 1 - share)).mean()
    assert loss_of(logits, target).item() == pytest.approx(wanted, rel=1e-6)
    head = Classifier(torch.nn.Identity(), 4, 3, tags=True)
    assert head.linear.bias is None and not head.log_scale.requires_grad
    assert head.log_scale.exp() == 1


def test_a_bundle_is_probed(tiny: EncoderBundle, audioset: Path) -> None:
    data, encoder = read_labelled(f"audioset={audioset}"), Encoder(tiny, "cpu")
    result = probe_bundle(encoder, data, EmbeddingCache(None, encoder), l2=0.01)
    assert (result.task, result.n_clips, result.n_texts) == ("tagging", 8, 8)
    assert result.directions[0].name == "tagging-linear-probe" and result.run.split == "eval"
    assert result.directions[0].numbers["mAP"].value == 1
    assert "learnt from 8 clips of balanced_train" in result.run.windows
    # With the classes of the training clips shifted by one, the wrong clips come first.
    path = audioset / "balanced_train_segments.csv"
    text = path.read_text()
    for i in range(8):
        text = text.replace(f'"/m/0000{i}', f'"/m/x{(i + 1) % 8}')
    path.write_text(text.replace("/m/x", "/m/0000"))
    wrong = probe_bundle(
        encoder, read_labelled(f"audioset={audioset}"), EmbeddingCache(None, encoder), l2=0.01
    )
    assert wrong.directions[0].numbers["mAP"].value < 0.6


def test_a_run_is_probed_with_what_is_there(run: Path, audioset: Path) -> None:  # noqa: F811
    sounds = sorted((audioset / "audio").glob("A*.wav"))
    sounds[0].unlink()
    sounds[1].write_bytes(b"no sound")
    next((audioset / "audio").glob("-*rumble*")).unlink()
    data = read_labelled(f"audioset={audioset}")
    with pytest.raises(DataSetError, match=r"audioset eval: 1 of 8 .*rumble.*--allow-missing"):
        probe_run(run, data)
    result = probe_run(run, data, allow_missing=True)
    assert (result.n_clips, result.n_texts, result.run.n_skipped) == (7, 8, 1)
    assert "learnt from 6 clips" in result.run.windows
    assert 0 < result.directions[0].numbers["mAP"].value <= 1


def test_a_tower_is_tuned(run: Path, audioset: Path, tmp_path: Path) -> None:  # noqa: F811
    metrics = pytest.importorskip("sklearn.metrics")
    data = read_labelled(f"audioset={audioset}")
    config = dataclasses.replace(QUICK, epochs=24)
    result = finetune(run, data, tmp_path / "tuned", config)
    assert result.directions[0].name == "tagging-fine-tuning"
    scores = np.load(tmp_path / "tuned/eval/scores-0024.npy")
    assert scores.shape == (8, 9)  # with the class that the training list alone has
    tagged = data.measured.tagged  # type: ignore[union-attr]
    wanted = metrics.average_precision_score(tagged[:, :8], scores[:, :8], average="macro")
    found = result.directions[0].numbers["mAP"].value
    assert found == pytest.approx(wanted, abs=1e-6)
    log = [json.loads(x) for x in (tmp_path / "tuned/eval/log.jsonl").read_text().splitlines()]
    measured = [each["mAP"] for each in log if "epoch" in each]
    assert len(measured) == 24 and measured[-1] == pytest.approx(found, abs=1e-4)
    losses = [each["loss"] for each in log if "loss" in each]
    assert len(losses) > 1 and losses[-1] < losses[0]
    best = finetune(run, data, tmp_path / "tuned", config, epoch="best")
    assert best.directions[0].numbers["mAP"].value == pytest.approx(max(measured), abs=1e-4)


def test_typed(
    soundsearch: Run,
    run: Path,  # noqa: F811
    audioset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOUNDSEARCH_CACHE", str(tmp_path / "cache"))
    place = f"audioset={audioset}"
    done = soundsearch("train", "probe", place, "--model", run, "--json", "probe.json")
    assert "audioset eval, tagging-linear-probe: 8 queries, 8 candidates" in done.stdout
    assert read_result(Path("probe.json")).task == "tagging"
    wrong = soundsearch(
        "train", "probe", place, "--model", run, "--learn", "unbalanced_train", code=1
    )
    assert "unbalanced_train_segments.csv" in wrong.stderr


def test_what_is_learnt_is_not_measured(audioset: Path) -> None:
    made.audioset(audioset, split="balanced_train")  # the segments of eval
    with pytest.raises(DataSetError, match="both eval and balanced_train"):
        read_labelled(f"audioset={audioset}")
