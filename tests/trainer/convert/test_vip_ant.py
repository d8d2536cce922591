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
from torchaudio.compliance import kaldi

from soundsearch.audio.features import KaldiFbank
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
from trainer.convert.authors_front_end import authors_front_end
from trainer.convert.vip_ant import DEFAULT, VARIANTS, build_vip_ant, bundle_name
from trainer.front_ends import VIP_ANT, FrontEnd, with_frames
from trainer.towers.clip_model import ClipChoice
from trainer.towers.vit import VitConfig, vit_from_authors

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
    n_frames = VARIANTS["at-clotho-18s"].n_frames
    assert n_frames == 1800
    config = vip_ant.vit_config(found, with_frames(authors_front_end(found), n_frames))
    assert config.n_frames == 1800
    assert vip_ant._tower(found, config).misc.positional_embedding.shape == (556, 16)


def settings(**audio: Any) -> dict[str, Any]:
    changed = copy.deepcopy(SETTINGS)
    changed["running"]["audio"] |= audio
    return changed


@pytest.mark.parametrize(
    ("variant", "max_len", "trained"), [("us8k-4s", 400, None), ("esc50-5s", 500, 1000)]
)
def test_clips_of_4_and_5_seconds_score_as_in_the_authors_protocol(
    clip_patch: None, tmp_path: Path, variant: VipAntVariant, max_len: int, trained: int | None
) -> None:
    """Trained at that length, or at 10 s and used at that length: positions from row 6 on."""
    config = dataclasses.replace(TINY, n_frames=trained or max_len)
    whole = tower_of(config)
    path = write_checkpoint(
        tmp_path / "a.pth", whole.state_dict(), settings=settings(max_len=config.n_frames)
    )
    used = None if trained is None else variant
    bundle = build_vip_ant(tmp_path / "out", used or DEFAULT, checkpoint=path)
    assert (bundle.features.n_frames, bundle.audio.window_s) == (max_len, max_len / 100 + 0.05)
    assert bundle.audio.hop_s == max_len / 200
    tower = vit_from_authors(whole.state_dict(), dataclasses.replace(config, n_frames=max_len))
    sound = tone(500, 7.0, 16000) * np.linspace(0.2, 1, 7 * 16000).astype(np.float32)
    clip = write(tmp_path / "clip.wav", sound, 16000, subtype="FLOAT")
    norms = tuple(SETTINGS["running"]["audio"]["norms"])
    features = torch.from_numpy(as_the_authors(sound[None], 16000, max_len, norms))
    with torch.no_grad():
        audio = torch.nn.functional.normalize(tower(features[None]), dim=-1)[0].numpy()
    np.testing.assert_allclose(Encoder(bundle, "cpu", 1).embed_clip(clip), audio, atol=3e-3)


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
    features = authors_front_end(vip_ant.read_checkpoint(path)).features
    assert (features.mean, features.std) == expected


def front_end_of(tmp_path: Path, changed: dict[str, Any]) -> FrontEnd:
    path = write_checkpoint(tmp_path / "a.pth", {"a": torch.ones(1)}, settings=changed)
    return authors_front_end(vip_ant.read_checkpoint(path))


def test_the_published_settings_are_the_published_front_end(tmp_path: Path) -> None:
    published = settings(
        norms=[-4.93839311, 5.75751113],
        eval_norms=False,
        normalized=False,
        dither=0.0,
        tile_audio=False,
        frame_shift=10,
        htk_compat=True,
        use_energy=False,
        window_type="hanning",
        zero_mean_wf=True,
        transform_audio=False,
        audio_transforms=[],
        transform_fbank=True,
        fbank_transforms=[["FrequencyMasking", [32]], ["TimeMasking", [200]]],
    )
    assert front_end_of(tmp_path, published) == VIP_ANT
    two_views = settings(norms=[])
    two_views["running"]["multi_view"] = True
    found = front_end_of(tmp_path, two_views).features
    assert (found.mean, found.std) == (-4.93839311, 5.75751113)


def test_other_settings_of_the_front_end_are_used(tmp_path: Path) -> None:
    other = settings(window_type="povey", low_freq=50, high_freq=8000, num_mel_bins=64, max_len=512)
    found = front_end_of(tmp_path, other)
    features = found.features
    assert isinstance(features, KaldiFbank)
    assert (features.window, features.f_min, features.f_max) == ("povey", 50.0, 8000.0)
    assert (features.n_mels, features.n_frames, found.audio.window_s) == (64, 512, 5.17)
    samples = noise(3.0, 22050)
    fbank = kaldi.fbank(
        torch.from_numpy(samples)[None],
        sample_frequency=22050,
        window_type="povey",
        num_mel_bins=64,
        low_freq=50,
        high_freq=8000,
        dither=0.0,
    )
    found_log_mel = features.log_mel(samples, 22050)
    np.testing.assert_allclose(found_log_mel, fbank.numpy().T, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dither", 1.0),
        ("window_type", "hamming"),
        ("use_energy", True),
        ("frame_shift", 5),
        ("tile_audio", True),
        ("mean_channel", True),
        ("snip_edges", False),
        ("eval_norms", True),
        ("high_freq", -400),
        ("sample_rate", 16000),
        ("max_len", 9.5),
    ],
)
def test_a_front_end_that_cannot_be_computed_is_refused_by_name(
    tmp_path: Path, name: str, value: object
) -> None:
    with pytest.raises(ConversionError, match=rf"a\.pth: .*{name}.* {value!r}") as caught:
        front_end_of(tmp_path, settings(**{name: value}))
    assert "\n" not in str(caught.value) and "expected" in str(caught.value)


def test_unknown_settings_of_the_front_end_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    front_end_of(tmp_path, settings(reverb=3))
    assert "not known here are passed over: reverb" in caplog.text


def test_the_older_layout_of_a_tower_is_refused_by_name(clip_patch: None, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "old.pth", {"encoder.conv1.weight": torch.ones(8, 1, 4, 4)})
    with pytest.raises(
        ConversionError, match=r"old\.pth: an older layout .*encoder\.conv1\.weight"
    ):
        build_vip_ant(tmp_path / "out", checkpoint=path)


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
        build_vip_ant(tmp_path / "out", checkpoint=checkpoint, clip_weights=Path("nowhere.pt"))


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
    config = vip_ant.vit_config(found, authors_front_end(found))
    assert config == VitConfig()
    tower = vip_ant._tower(found, config)
    assert {k: tuple(v.shape) for k, v in tower.state_dict().items()} == shapes
