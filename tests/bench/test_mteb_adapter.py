from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundsearch.bench.mteb_adapter import MtebEncoder
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import BenchmarkError
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ, WORDS


@pytest.fixture
def adapter(tiny: EncoderBundle) -> MtebEncoder:
    return MtebEncoder("tiny", device="cpu")


def heard(word: str, seconds: float = 1.7) -> dict[str, Any]:
    """A clip as MTEB hands it over."""
    return {"array": tone(BAND_HZ[WORDS.index(word)], seconds), "sampling_rate": 8000}


def test_texts(adapter: MtebEncoder, tiny: EncoderBundle) -> None:
    found = adapter.encode([{"text": ["a hum", "hiss"]}, {"text": ["a hum"]}], task_metadata=None)
    assert found.shape == (3, 8) and found.dtype == np.float32
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[:1], Encoder(tiny, "cpu").embed_text(["a hum"]))


def test_clips_are_embedded_as_files_are(
    adapter: MtebEncoder, tiny: EncoderBundle, tmp_path: Path
) -> None:
    clips = [
        heard("hum"),
        {**heard("hiss"), "array": np.stack([heard("hiss")["array"]] * 2).tolist()},
    ]
    found = adapter.encode([{"audio": clips, "label": [0, 1]}])
    for row, word in zip(found, ("hum", "hiss"), strict=True):
        path = write(tmp_path / "clip.wav", heard(word)["array"], subtype="FLOAT")
        np.testing.assert_array_equal(row, Encoder(tiny, "cpu").embed_clip(path))
        assert row.argmax() == WORDS.index(word)


def test_nothing_at_all(adapter: MtebEncoder) -> None:
    assert adapter.encode([]).shape == (0, 8)


def test_silence_scores_0(adapter: MtebEncoder, caplog: pytest.LogCaptureFixture) -> None:
    silent = {"array": np.zeros(8000, np.float32), "sampling_rate": 8000}
    with caplog.at_level(logging.WARNING):
        found = adapter.encode([{"audio": [heard("hum")]}, {"audio": [heard("hum"), silent]}])
    assert found[2].tolist() == [0.0] * 8 and found[1].any()
    assert caplog.messages == [
        "clip 2 of the task: it is silent from beginning to end; it scores 0 against everything"
    ]


def test_a_clip_that_is_no_sound_is_named(adapter: MtebEncoder) -> None:
    bad = heard("hum")
    bad["array"][100] = np.nan
    with pytest.raises(BenchmarkError, match=r"^clip 1 of the task: it holds samples that are NaN"):
        adapter.encode([{"audio": [heard("hum"), bad]}])


@pytest.mark.parametrize("batch", [{"image": [0]}, {"text": ["a"], "audio": [heard("hum")]}])
def test_what_it_cannot_embed(adapter: MtebEncoder, batch: dict[str, Any]) -> None:
    with pytest.raises(BenchmarkError, match="embeds text or audio, not both as one"):
        adapter.encode([batch])


@pytest.mark.usefixtures("tiny")
def test_another_revision_or_device_is_refused(tiny: EncoderBundle) -> None:
    assert MtebEncoder("tiny", tiny.fingerprint)
    with pytest.raises(BenchmarkError, match=r"encoder tiny is revision [0-9a-f]+, not main"):
        MtebEncoder("tiny", "main")
    with pytest.raises(BenchmarkError, match="device 'tpu': expected cpu or cuda"):
        MtebEncoder("tiny", device="tpu")


def test_without_mteb_it_says_what_to_install(
    adapter: MtebEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mteb.models", None)
    with pytest.raises(BenchmarkError, match=r"pip install 'soundsearch\[mteb\]'"):
        _ = adapter.mteb_model_meta


# ---- in MTEB itself


@pytest.fixture
def mteb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "mteb"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("mteb")


FACTS: dict[str, Any] = {
    "description": "tones and words",
    "dataset": {"path": "none", "revision": "none"},
    "category": "t2a",
    "eval_splits": ["test"],
    "eval_langs": ["eng-Latn"],
    "modalities": ["audio", "text"],
}


def clips_of(words: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{**heard(word), "array": heard(word)["array"].tolist()} for word in words]


@pytest.mark.filterwarnings("default")
def test_a_zero_shot_task_of_mteb(mteb: Any, adapter: MtebEncoder) -> None:
    from datasets import Dataset, DatasetDict
    from mteb.abstasks import AbsTaskZeroShotClassification
    from mteb.abstasks.task_metadata import TaskMetadata

    class Tones(AbsTaskZeroShotClassification):
        metadata = TaskMetadata(
            name="Tones", type="AudioZeroshotClassification", main_score="accuracy", **FACTS
        )
        input_column_name = "audio"
        label_column_name = "label"

        def load_data(self, **_: Any) -> None:
            # the last label is wrong
            columns = {"audio": clips_of((*WORDS, "hum")), "label": [*range(8), 5]}
            self.dataset = DatasetDict({"test": Dataset.from_dict(columns)})
            self.data_loaded = True

        def get_candidate_labels(self) -> list[str]:
            return [f"this is a {word}" for word in WORDS]

    result = mteb.evaluate(adapter, Tones(), cache=None, co2_tracker=False, show_progress_bar=False)
    (scores,) = result.task_results[0].scores["test"]
    assert scores["accuracy"] == pytest.approx(8 / 9)
    assert result.model_name == "soundsearch/tiny"
    assert result.model_revision == adapter.encoder.bundle.fingerprint


@pytest.mark.filterwarnings("default")
def test_a_retrieval_task_of_mteb(mteb: Any, adapter: MtebEncoder) -> None:
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class Said(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="Said", type="Any2AnyRetrieval", main_score="hit_rate_at_1", **FACTS
        )

        def load_data(self, **_: Any) -> None:
            queries = {"id": [f"q{i}" for i in range(8)], "text": [f"the {w}" for w in WORDS]}
            corpus = {"id": [f"d{i}" for i in range(8)], "audio": clips_of(WORDS)}
            relevant: dict[str, dict[str, int]] = {f"q{i}": {f"d{i}": 1} for i in range(8)}
            relevant["q0"], relevant["q1"] = {"d1": 1}, {"d0": 1}  # two are said of the other
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": Dataset.from_dict(corpus),
                        "queries": Dataset.from_dict(queries),
                        "relevant_docs": relevant,
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    result = mteb.evaluate(adapter, Said(), cache=None, co2_tracker=False, show_progress_bar=False)
    (scores,) = result.task_results[0].scores["test"]
    assert scores["hit_rate_at_1"] == pytest.approx(6 / 8)
