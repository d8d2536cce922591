"""CLAP models as bundles: the embeddings of transformers, for any text and any length of sound."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    PreTrainedTokenizerFast,
)

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.towers import Encoder
from tests.sounds import noise, tone, write
from trainer.bundle_export import TEXTS, ExportError
from trainer.convert import ConversionError
from trainer.convert.clap import DEFAULT, _check_published, build_clap, bundle_name

RATE = 8000
WORDS = "a the and dog barks rain thunder clock piano loud slow"
PAD = 1


def write_clap(folder: Path, **changes: Any) -> Path:
    """A ClapModel of a few thousand random weights, saved as the published ones are."""
    audio = ClapAudioConfig(
        window_size=4,
        num_mel_bins=16,
        spec_size=64,
        patch_size=4,
        patch_stride=[4, 4],
        patch_embeds_hidden_size=8,
        hidden_size=16,
        depths=[2, 1],  # the second block of a stage looks across the borders of windows
        num_attention_heads=[2, 2],
        num_hidden_layers=2,
        projection_dim=12,
        enable_fusion=changes.get("enable_fusion", False),
    )
    text = ClapTextConfig(
        vocab_size=400,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        projection_dim=12,
        pad_token_id=PAD,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ClapModel(
            ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=12)
        )
        with torch.no_grad():
            for weights in model.parameters():
                if weights.ndim > 1:
                    weights.normal_(0, 0.0 if changes.get("dead") else 0.4)
            if changes.get("dead"):
                model.text_projection.linear2.bias.fill_(1.0)
            norm = model.audio_model.audio_encoder.batch_norm
            norm.running_mean.uniform_(-60, -40)
            norm.running_var.uniform_(100, 300)
    model.save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=RATE,
        hop_length=80,
        max_length_s=2,
        fft_window_size=256,
        frequency_min=50,
        frequency_max=3800,
        truncation=changes.get("truncation", "rand_trunc"),
        padding=changes.get("padding", "repeatpad"),
    ).save_pretrained(folder)
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *alphabet]
    inner = tokenizers.Tokenizer(
        tokenizers.models.BPE({token: i for i, token in enumerate(vocabulary)}, [])
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=512,
    ).save_pretrained(folder)
    (folder / "README.md").write_text(
        "---\ntags:\n- audio\nlicense: apache-2.0\n---\n\n# A model\n"
    )
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clap(tmp_path_factory.mktemp("published") / "CLAP-tiny")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, original: Path) -> EncoderBundle:
    return build_clap(tmp_path_factory.mktemp("bundles") / "clap-tiny", str(original))


def oracle_audio(original: Path, waveform: np.ndarray) -> np.ndarray:
    extractor = ClapFeatureExtractor.from_pretrained(original)
    inputs = extractor(waveform, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        found = ClapModel.from_pretrained(original).eval().get_audio_features(**inputs)
    return found.pooler_output[0].numpy()


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.75, 1.001, 1.99, 2.0])
def test_sounds_up_to_a_window_embed_as_in_transformers(
    original: Path, bundle: EncoderBundle, tmp_path: Path, seconds: float
) -> None:
    waveform = noise(seconds, RATE) + tone(440, seconds, RATE)
    path = write(tmp_path / "a.wav", waveform, RATE, "FLOAT")
    spans, found = Encoder(bundle, "cpu", 1).embed_file(path)
    assert spans == [(0.0, pytest.approx(seconds, abs=1e-3))]
    np.testing.assert_allclose(found[0], oracle_audio(original, waveform), atol=1e-3)


def test_each_window_of_a_long_sound_embeds_as_in_transformers(
    original: Path, bundle: EncoderBundle, tmp_path: Path
) -> None:
    waveform = np.concatenate([tone(200, 2.0, RATE), noise(1.5, RATE), tone(1500, 1.7, RATE)])
    path = write(tmp_path / "a.wav", waveform, RATE, "FLOAT")
    spans, found = Encoder(bundle, "cpu", 1).embed_file(path)
    assert [start for start, _ in spans] == [0.0, 1.0, 2.0, 3.0, pytest.approx(3.2)]
    wanted = np.stack(
        [oracle_audio(original, waveform[round(a * RATE) : round(b * RATE)]) for a, b in spans]
    )
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert (found @ found.T).min() < 0.95  # they are not all one


def test_texts_embed_as_in_transformers(original: Path, bundle: EncoderBundle) -> None:
    from transformers import AutoTokenizer

    texts = ["thunder", "a dog", "", "two", "a clock", "é 雨"]
    tokenizer = AutoTokenizer.from_pretrained(original)
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    assert (inputs["input_ids"] == PAD).any()
    with torch.no_grad():
        found = ClapModel.from_pretrained(original).eval().get_text_features(**inputs)
    encoder = Encoder(bundle, "cpu", 1)
    wanted = found.pooler_output.numpy()
    np.testing.assert_allclose(encoder.embed_text(texts), wanted, atol=1e-3)
    alone = np.concatenate([encoder.embed_text([text]) for text in texts])
    np.testing.assert_allclose(alone, wanted, atol=1e-3)
    assert (wanted @ wanted.T).min() < 0.95
    longest = encoder.embed_text(["loud " * 100])  # more tokens than there are positions
    assert np.isfinite(longest).all() and bundle.text.max_tokens == 22


def test_the_bundle_says_where_it_comes_from(original: Path, bundle: EncoderBundle) -> None:
    assert (bundle.name, bundle.dim) == ("clap-tiny", 12)
    assert bundle.licence == "apache-2.0, as the card of CLAP-tiny says"
    assert "model.safetensors with SHA-256" in bundle.provenance
    assert (bundle.audio.sample_rate, bundle.audio.window_s, bundle.audio.hop_s) == (8000, 2.0, 1.0)
    assert (bundle.features.n_mels, bundle.features.n_frames) == (16, 201)
    assert bundle.text.prompt == "This is a sound of {}."
    assert "build clap --from" in bundle.file("model_card.md").read_text(encoding="utf-8")
    assert bundle_name(DEFAULT) == "clap" and bundle_name("a/b/Larger_CLAP") == "larger_clap"


@pytest.mark.parametrize("changes", [{"enable_fusion": True}, {"truncation": "fusion"}])
def test_models_with_fusion_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = write_clap(tmp_path / "fused", **changes)
    with pytest.raises(
        ConversionError, match=r"fused: a CLAP model with fusion, .* without fusion, such as laion/"
    ):
        build_clap(tmp_path / "out", str(folder))
    assert not (tmp_path / "out").exists()


def test_a_dead_text_tower_is_named(tmp_path: Path) -> None:
    folder = write_clap(tmp_path / "dead", dead=True)
    with pytest.raises(ExportError, match=rf"text tower is collapsed: {len(TEXTS)} texts"):
        build_clap(tmp_path / "out", str(folder))


def test_an_incomplete_model_is_refused(original: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(original, tmp_path / "part")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if not k.startswith("text_projection")},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(
        ConversionError, match=r"part: not a complete CLAP model, 4 weights are missing"
    ):
        build_clap(tmp_path / "out", str(folder))


def test_what_is_no_model_is_named_in_one_line(original: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    other = shutil.copytree(original, tmp_path / "other")
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    for source in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(ConversionError, match="no CLAP model that can be loaded") as found:
            build_clap(tmp_path / "out", str(source))
        assert "\n" not in str(found.value)
    with pytest.raises(ConversionError):
        build_clap(tmp_path / "out", str(other))


def test_an_unknown_way_with_short_sounds_is_refused(tmp_path: Path) -> None:
    folder = write_clap(tmp_path / "odd", padding="mirror")
    with pytest.raises(
        ConversionError, match="short sounds by 'mirror', expected one of repeatpad"
    ):
        build_clap(tmp_path / "out", str(folder))


def test_weights_of_the_hub_that_are_not_those_it_published_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = tmp_path / ("0" * 64)
    blob.write_bytes(b"half of the weights")
    cached = tmp_path / "model.safetensors"
    cached.symlink_to(blob)
    asked = []

    def found(source: str, name: str, revision: str | None) -> str | None:
        asked.append((source, revision))
        return str(cached) if name == cached.name else None

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", found)
    with pytest.raises(ConversionError, match="SHA-256"):
        _check_published("someone/clap", "a1b2")
    assert asked == [("someone/clap", "a1b2")]
