"""VIP-ANT's checkpoints as bundles: the scores of the authors' protocol, and honest refusals."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from soundsearch.choices import VipAntVariant
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import SoundsearchError
from soundsearch.files import sha256_of
from tests.sounds import noise, tone, write
from tests.trainer.authors import as_the_authors
from tests.trainer.convert.made_checkpoint import SETTINGS, TINY, tower_of, write_checkpoint
from tests.trainer.tiny_clip import tiny_model, write_tiny_clip
from trainer.bundle_export import ExportError
from trainer.convert import ConversionError, vip_ant
from trainer.convert.vip_ant import DEFAULT, VARIANTS, build_vip_ant, bundle_name
from trainer.towers.clip_model import ClipChoice
from trainer.towers.vit import VitConfig

LABELS = ("dog", "thunder storm", "clock tick", "a baby crying")


@pytest.fixture(scope="module")
def clip_patch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A small CLIP in the place of ViT-B/32, whose weights are at hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vip_ant, "CLIP", write_tiny_clip(tmp_path_factory.mktemp("clip")))
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "00004140.pth"
    return write_checkpoint(path, tower_of().state_dict())


@pytest.fixture(scope="module")
def bundle(
    tmp_path_factory: pytest.TempPathFactory, clip_patch: None, checkpoint: Path
) -> EncoderBundle:
    out = tmp_path_factory.mktemp("bundles") / "vip-ant"
    return build_vip_ant(out, checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("seconds", "sample_rate"), [(0.4, 16000), (4.0, 44100), (10.0, 22050), (13.0, 22050)]
)
def test_sounds_and_labels_score_as_in_the_authors_protocol(
    bundle: EncoderBundle, tmp_path: Path, seconds: float, sample_rate: int
) -> None:
    left = noise(seconds, sample_rate) * np.linspace(0.2, 1, round(seconds * sample_rate))
    both = np.stack([left.astype(np.float32), tone(700, seconds, sample_rate)], axis=1)
    path = write(tmp_path / "clip.wav", both, sample_rate, subtype="FLOAT")
    with torch.no_grad():
        norms = tuple(SETTINGS["running"]["audio"]["norms"])
        features = torch.from_numpy(as_the_authors(both.T.copy(), sample_rate, norms=norms))
        audio = torch.nn.functional.normalize(tower_of()(features[None]), dim=-1)[0].numpy()
        import open_clip

        model: Any = tiny_model()
        tokens = open_clip.SimpleTokenizer()([f"the sound of {label}" for label in LABELS])
        texts = model.encode_text(tokens).numpy()
    encoder = Encoder(bundle, "cpu", 1)
    prompts = [bundle.text.prompt.format(label) for label in LABELS]
    found_audio = encoder.embed_clip(path)
    found_texts = encoder.embed_text(prompts, normalise=False)
    np.testing.assert_allclose(found_audio, audio, atol=3e-3)
    lengths = np.linalg.norm(texts, axis=1)
    np.testing.assert_allclose(found_texts, texts, atol=3e-3 * lengths.max())
    np.testing.assert_allclose(found_texts @ found_audio, texts @ audio, atol=8e-3 * lengths.max())
    unit = encoder.embed_text(prompts)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-5)


def test_the_bundle_says_where_it_comes_from(bundle: EncoderBundle, checkpoint: Path) -> None:
    assert bundle.name == "vip-ant" and bundle.dim == 16
    assert sha256_of(checkpoint) in bundle.provenance and "00004140.pth" in bundle.provenance
    assert "MIT" in bundle.licence
    assert (bundle.features.mean, bundle.features.std) == (-4.5, 5.5)
    assert bundle.features.n_frames == 1000 and bundle.audio.window_s == 10.05
    assert (bundle.audio.sample_rate, bundle.audio.channels, bundle.audio.clip) == (
        None,
        "first",
        "centre",
    )
    card = bundle.file("model_card.md").read_text(encoding="utf-8")
    assert "soundsearch models build vip-ant" in card
    assert '"use_lars": true' in bundle.file("training.json").read_text(encoding="utf-8")
    assert bundle.results["export"]["audio_difference"] < 5e-3


def test_longer_clips_get_stretched_positions(checkpoint: Path) -> None:
    found = vip_ant.read_checkpoint(checkpoint)
    config = vip_ant._vit_config(found, VARIANTS["at-clotho-18s"].n_frames)
    assert config.n_frames == 1800
    assert vip_ant._tower(found, config).misc.positional_embedding.shape == (556, 16)


def settings(**audio: Any) -> dict[str, Any]:
    changed = copy.deepcopy(SETTINGS)
    changed["running"]["audio"] |= audio
    return changed


@pytest.mark.parametrize(
    ("norms", "expected"),
    [([-4.0, 3.0], (-4.0, 3.0)), ([], (0.0, 1.0)), (None, (-4.93839311, 5.75751113))],
)
def test_norms_are_those_of_the_run(
    tmp_path: Path, norms: list[float] | None, expected: tuple[float, float]
) -> None:
    path = write_checkpoint(
        tmp_path / "a.pth", tower_of().state_dict(), settings=settings(norms=norms)
    )
    assert vip_ant._norms(vip_ant.read_checkpoint(path)) == expected


def broken(**changes: Tensor | None) -> dict[str, Tensor]:
    state = tower_of().state_dict()
    for name, value in changes.items():
        if value is None:
            del state[name]
        else:
            state[name] = value
    return state


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (broken(**{"post_encoder.ln.bias": None}), r"post_encoder\.ln\.bias: missing"),
        (
            broken(**{"pre_encoder.conv1.weight": None}),
            r"conv1\.weight is missing, expected 4 axes",
        ),
        (
            broken(**{"post_encoder.proj": torch.ones(3)}),
            r"post_encoder\.proj is of shape \(3,\), expected 2 axes",
        ),
        (broken(**{"misc.extra": torch.ones(3)}), r"misc\.extra: unknown weight"),
        (
            broken(**{"encoder.resblocks.0.mlp.c_fc.weight": torch.ones(9, 16)}),
            r"c_fc\.weight: its shape is \(9, 16\), expected \(64, 16\)",
        ),
        (
            broken(**{"misc.positional_embedding": torch.ones(308, 16)}),
            r"positional_embedding has 308 rows",
        ),
        (
            tower_of(dataclasses.replace(TINY, dim=24)).state_dict(),
            r"its vectors have 24 numbers, those of CLIP .* 16",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named_in_one_line_and_leave_nothing(
    clip_patch: None, tmp_path: Path, state: dict[str, Tensor], message: str
) -> None:
    path = write_checkpoint(tmp_path / "bad.pth", state)
    with pytest.raises(ConversionError, match=rf"bad\.pth: .*{message}") as found:
        build_vip_ant(tmp_path / "out" / "vip-ant", checkpoint=path)
    assert "\n" not in str(found.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_there_is_replaced_only_by_force(
    bundle: EncoderBundle, clip_patch: None, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="there is an encoder already; replace it with --force"):
        build_vip_ant(bundle.folder, checkpoint=checkpoint)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(ExportError, match="not an encoder; choose another place"):
        build_vip_ant(tmp_path / "mine", checkpoint=checkpoint, force=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "irreplaceable"
    assert EncoderBundle.read(bundle.folder) == bundle


def test_without_network_the_line_says_what_to_give(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vip_ant, "downloads_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(vip_ant, "BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(vip_ant, "CLIP", ClipChoice())
    with pytest.raises(
        ConversionError, match=r"00004140\.pth: cannot be fetched .*--checkpoint FILE"
    ):
        build_vip_ant(tmp_path / "out")

    def offline(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("open_clip.pretrained.download_pretrained", offline)
    with pytest.raises(
        ConversionError, match=r"text tower cannot be loaded: .* --clip FILE"
    ) as found:
        build_vip_ant(tmp_path / "out", checkpoint=checkpoint)
    assert "\n" not in str(found.value)
    with pytest.raises(SoundsearchError, match=r"nowhere\.pt: no such file"):
        build_vip_ant(tmp_path / "out", checkpoint=checkpoint, clip=Path("nowhere.pt"))


def test_a_fetched_checkpoint_is_used_again(
    checkpoint: Path, clip_patch: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vip_ant, "downloads_folder", lambda: tmp_path / "cache")
    variant = VARIANTS["esc50"]
    assert variant.url == (
        "https://storage.googleapis.com/ai2-mosaic-public/projects/vipant/model/"
        "01FFQTZK9YBPRDQHHR6157AGBR/00083391.pth"
    )
    kept = tmp_path / "cache" / "vip-ant" / variant.file
    kept.parent.mkdir(parents=True)
    kept.write_bytes(checkpoint.read_bytes())
    assert vip_ant._download(variant) == kept


def test_a_file_of_another_variant_is_told_by_its_name(checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "00043681.pth"
    other.write_bytes(checkpoint.read_bytes())
    message = r"not the checkpoint of at-clotho; add --variant clotho or --variant clotho-18s"
    with pytest.raises(ConversionError, match=message):
        build_vip_ant(tmp_path / "out", checkpoint=other)
    assert vip_ant._of_variant(other, "clotho-18s") == other
    assert vip_ant._of_variant(tmp_path / "mine.pth", "clotho") == tmp_path / "mine.pth"


def test_a_checkpoint_of_another_sha256_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    expected = "0" * 64
    with pytest.raises(ConversionError, match=expected) as found:
        build_vip_ant(tmp_path / "out" / "vip-ant", checkpoint=checkpoint, sha256=expected)
    assert str(checkpoint) in str(found.value) and sha256_of(checkpoint) in str(found.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_command_line_offers_every_variant() -> None:
    assert set(get_args(VipAntVariant)) == set(VARIANTS)
    assert bundle_name(DEFAULT) == "vip-ant" and bundle_name("esc50") == "vip-ant-esc50"


def test_a_file_of_the_published_size_is_read_whole(tmp_path: Path) -> None:
    """152 tensors, 88,045,824 numbers, and the frozen image tower that older files also hold."""
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in tower_of(VitConfig()).state_dict().items()}
    state = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    image = {**state, "misc.positional_embedding": torch.ones(1).expand(50, 768)}
    path = write_checkpoint(tmp_path / "00083391.pth", state, image=image)
    found = vip_ant.read_checkpoint(path)
    assert len(found.audio) == 152 and sum(v.numel() for v in found.audio.values()) == 88_045_824
    config = vip_ant._vit_config(found, None)
    assert config == VitConfig()
    tower = vip_ant._tower(found, config)
    assert {k: tuple(v.shape) for k, v in tower.state_dict().items()} == shapes
