"""The frozen CLIP: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import tokenizers
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from soundsearch.errors import SoundsearchError
from tests.trainer.tiny_clip import (
    DIM,
    IMAGE_SIZE,
    picture,
    tiny_config,
    tiny_model,
    write_tiny_clip,
)
from trainer.towers.clip_model import ClipChoice, FrozenClip, load_clip
from trainer.towers.clip_weights import ClipError, read_weights

# VIP-ANT fact sheet, section 3
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> FrozenClip:
    return load_clip(write_tiny_clip(tmp_path_factory.mktemp("clip")))


def by_hand(image: Image.Image) -> np.ndarray:
    """Resize the short side bicubic, crop the middle, normalise: with Pillow and NumPy alone."""
    rgb = image.convert("RGB")
    scale = IMAGE_SIZE / min(rgb.size)
    resized = rgb.resize(
        (int(rgb.width * scale), int(rgb.height * scale)), Image.Resampling.BICUBIC
    )
    left, top = (round((side - IMAGE_SIZE) / 2) for side in resized.size)
    cropped = resized.crop((left, top, left + IMAGE_SIZE, top + IMAGE_SIZE))
    unit = np.asarray(cropped, np.float32) / 255
    return ((unit - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)


@pytest.mark.parametrize("size", [(48, 40), (33, 90), (32, 32), (20, 17)])
def test_pictures_are_prepared_as_the_paper_says(clip: FrozenClip, size: tuple[int, int]) -> None:
    image = picture(3, *size)
    np.testing.assert_allclose(clip.pixels(image).numpy(), by_hand(image), atol=1e-6)


def test_any_picture_mode_is_taken(clip: FrozenClip) -> None:
    grey = picture().convert("L")
    palette = picture().convert("P")
    vectors = clip.embed_images([grey, palette, picture().convert("RGBA"), picture()])
    assert vectors.shape == (4, DIM) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[2], vectors[3], atol=1e-5)
    of_rgb = clip.embed_images([grey.convert("RGB"), palette.convert("RGB")])
    np.testing.assert_allclose(vectors[:2], of_rgb, atol=1e-5)


def test_the_published_weights_are_prepared_for_as_the_paper_says() -> None:
    published = open_clip.get_pretrained_cfg("ViT-B-32-quickgelu", "openai")
    assert (published["mean"], published["std"]) == (MEAN, STD)
    assert (published["interpolation"], published["resize_mode"]) == ("bicubic", "shortest")
    assert published["quick_gelu"]
    assert ClipChoice() == ClipChoice(model="ViT-B-32-quickgelu", pretrained="openai")


def test_tokens_are_clips(clip: FrozenClip) -> None:
    tokens = clip.tokenizer(["A photo of a cat"])[0].tolist()
    assert tokens == [49406, 320, 1125, 539, 320, 2368, 49407] + [0] * 70


def test_a_long_text_is_cut_and_keeps_its_end_mark(clip: FrozenClip) -> None:
    long = "rain " * 75
    tokens = clip.tokenizer([long + "on a roof"])[0].tolist()
    assert len(tokens) == 77 and tokens[-1] == 49407
    one, other, shorter = clip.embed_texts([long + "on a roof", long + "in a forest", "rain " * 70])
    np.testing.assert_array_equal(one, other)
    assert np.abs(one - shorter).max() > 1e-3


def test_vectors_are_the_models_own_and_not_normalised(clip: FrozenClip) -> None:
    model = tiny_model()
    images = [picture(i) for i in range(3)]
    with torch.no_grad():
        seen = model.encode_image(torch.from_numpy(np.stack([by_hand(image) for image in images])))
        read = model.encode_text(open_clip.tokenize(["a dog", "rain"]))
    np.testing.assert_allclose(clip.embed_images(images), seen.numpy(), atol=1e-4)
    np.testing.assert_allclose(clip.embed_texts(["a dog", "rain"]), read.numpy(), atol=1e-4)
    assert (np.abs(np.linalg.norm(clip.embed_images(images), axis=1) - 1) > 0.1).all()


def test_batches_change_nothing(clip: FrozenClip, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, images = [f"sound {i}" for i in range(7)], [picture(i) for i in range(7)]
    at_once = clip.embed_texts(texts), clip.embed_images(images)
    monkeypatch.setattr("trainer.towers.clip_model.BATCH_SIZE", 3)
    np.testing.assert_allclose(clip.embed_texts(texts), at_once[0], atol=1e-5)
    np.testing.assert_allclose(clip.embed_images(images), at_once[1], atol=1e-5)
    assert clip.embed_texts([]).shape == clip.embed_images([]).shape == (0, DIM)


def test_it_is_frozen(clip: FrozenClip) -> None:
    assert not clip.model.training
    assert not any(weights.requires_grad for weights in clip.model.parameters())
    assert clip.dim == DIM


def test_the_encoder_name_is_fit_for_files_and_tells_weights_apart(tmp_path: Path) -> None:
    one = load_clip(write_tiny_clip(tmp_path, name="My Clip_1"))
    other = load_clip(write_tiny_clip(tmp_path, name="My Clip_1", seed=1))
    assert one.encoder == f"my-clip-1-my-clip-1-0-{one.fingerprint[:8]}"
    assert len(one.fingerprint) == 64 and one.fingerprint != other.fingerprint


def test_the_fingerprint_is_of_what_is_computed_not_of_the_file(tmp_path: Path) -> None:
    safe = write_tiny_clip(tmp_path)
    saved = write_tiny_clip(tmp_path, ending=".pt")
    assert load_clip(saved).fingerprint == load_clip(safe).fingerprint
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(tiny_config(quick_gelu=False)))
    assert (
        load_clip(dataclasses.replace(safe, model=str(plain))).fingerprint
        != load_clip(safe).fingerprint
    )


def test_a_config_from_the_hub_and_a_training_checkpoint_are_read(tmp_path: Path) -> None:
    choice = write_tiny_clip(tmp_path)
    config = tmp_path / "open_clip_config.json"
    config.write_text(json.dumps({"model_cfg": tiny_config(), "preprocess_cfg": {}}))
    weights = {f"module.{name}": value for name, value in tiny_model().state_dict().items()}
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "epoch_3.pt")
    found = load_clip(ClipChoice(model=str(config), pretrained=str(tmp_path / "epoch_3.pt")))
    assert found.fingerprint == load_clip(choice).fingerprint


def test_a_config_by_file_gets_the_tokenizer_it_names(tmp_path: Path) -> None:
    words = {"<pad>": 0, "rain": 1, "roof": 2}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<pad>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>")
    fast.save_pretrained(tmp_path / "words")
    choice = write_tiny_clip(tmp_path)
    text = tiny_config()["text_cfg"] | {"hf_tokenizer_name": str(tmp_path / "words")}
    Path(choice.model).write_text(json.dumps(tiny_config(text_cfg=text)))
    tokens = load_clip(choice).tokenizer(["rain roof"])
    assert tokens.tolist() == [[1, 2] + [0] * 75]


# TorchScript, the form of OpenAI's own ViT-B-32.pt


def archive(path: Path, half: bool) -> Path:
    """The tiny model as OpenAI stores theirs: a traced archive with three numbers beside."""
    model: Any = tiny_model()
    for name in ("context_length", "vocab_size"):
        delattr(model, name)
    for name in ("input_resolution", "context_length", "vocab_size"):
        model.register_buffer(name, torch.tensor(77))
    inputs = {
        "encode_image": torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE),
        "encode_text": open_clip.tokenize(["a"]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace_module(model, inputs, check_trace=False)
        (traced.half() if half else traced).save(path)
    return path


def test_openais_own_archive_is_read(tmp_path: Path) -> None:
    choice = write_tiny_clip(tmp_path)
    exact = dataclasses.replace(choice, pretrained=str(archive(tmp_path / "exact.pt", half=False)))
    assert load_clip(exact).fingerprint == load_clip(choice).fingerprint
    halved = dataclasses.replace(choice, pretrained=str(archive(tmp_path / "half.pt", half=True)))
    clip = load_clip(halved)
    assert {weights.dtype for weights in clip.model.parameters()} == {torch.float32}
    expected = load_clip(choice).embed_texts(["rain on a roof"])
    np.testing.assert_allclose(clip.embed_texts(["rain on a roof"]), expected, atol=0.1)


class _Restoring(torch.nn.Module):
    """Its archive has code that runs on loading."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.ones(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return self.weights, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        print("loading runs this")  # noqa: T201
        self.weights, self.training = state


def test_an_archive_with_code_for_loading_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "restoring.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(_Restoring()).save(path)  # type: ignore[no-untyped-call]
        capfd.readouterr()
        torch.jit.load(path)  # type: ignore[no-untyped-call]
    assert "loading runs this" in capfd.readouterr().out  # else this tests nothing
    refused(lambda: read_weights(path), "runs code when it is loaded")
    assert "loading runs this" not in capfd.readouterr().out


# What is refused, in one line each


def refused(call: Any, *parts: str) -> None:
    with pytest.raises(ClipError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


class _Harm:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["torch", "torch, old", "pickle", "pickle as .bin"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    harm = {"state_dict": {"logit_scale": _Harm(tmp_path / "harmed")}}
    path = tmp_path / ("weights.bin" if how.endswith(".bin") else "weights.pt")
    if how.startswith("torch"):
        torch.save(harm, path, _use_new_zipfile_serialization=how == "torch")
    else:
        path.write_bytes(pickle.dumps(harm))
    choice = write_tiny_clip(tmp_path)
    with warnings.catch_warnings():
        refused(
            lambda: load_clip(dataclasses.replace(choice, pretrained=str(path))),
            str(path),
            "not a checkpoint that can be read safely",
        )
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.bin"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut off"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(lambda: read_weights(tmp_path / name), name, "not a checkpoint")


def test_a_cut_checkpoint_is_refused(tmp_path: Path) -> None:
    for ending in (".safetensors", ".pt"):
        path = Path(write_tiny_clip(tmp_path, ending=ending).pretrained)
        path.write_bytes(path.read_bytes()[:-1000])
        refused(lambda path=path: read_weights(path), "not a checkpoint")


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    choice = write_tiny_clip(tmp_path)
    save_file({"weight": torch.ones(3)}, tmp_path / "other.safetensors")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({}, tmp_path / "empty.pt")
    for name, reason in (
        ("other.safetensors", "none of its tensors is one of CLIP's"),
        ("list.pt", "holds no state dict"),
        ("empty.pt", "none of its tensors is one of CLIP's"),
    ):
        other = dataclasses.replace(choice, pretrained=str(tmp_path / name))
        refused(lambda other=other: load_clip(other), name, reason)


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    choice = write_tiny_clip(tmp_path)

    def against(**changes: Any) -> Any:
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(tiny_config(**changes)))
        return lambda: load_clip(dataclasses.replace(choice, model=str(path)))

    vision = tiny_config()["vision_cfg"]
    refused(against(embed_dim=8), "changed.json", "text_projection", "[16, 16]", "[16, 8]")
    refused(against(vision_cfg=vision | {"image_size": 64}), "visual.positional_embedding")
    refused(against(vision_cfg=vision | {"layers": 3}), "Missing", "visual.transformer.resblocks.2")
    refused(
        against(vision_cfg=vision | {"layers": 1}), "Unexpected", "visual.transformer.resblocks.1"
    )


def test_a_wrong_config_is_refused(tmp_path: Path) -> None:
    choice = write_tiny_clip(tmp_path)
    path = tmp_path / "config.json"

    def loading(text: str) -> Any:
        path.write_text(text)
        return lambda: load_clip(dataclasses.replace(choice, model=str(path)))

    refused(loading("{"), "config.json", "not valid JSON", "a model config of open_clip")
    refused(loading("[]"), "config.json", "found list", "a model config of open_clip")
    refused(loading("{}"), "it lacks embed_dim, text_cfg, vision_cfg")
    refused(loading('{"embed_dim": 4}'), "it lacks text_cfg, vision_cfg")
    refused(loading(json.dumps(tiny_config(unheard_of=1))), "no model can be built", "unheard_of")
    refused(loading(json.dumps(tiny_config(vision_cfg={"width": "wide"}))), "no model can be built")
    path.unlink()
    refused(lambda: load_clip(dataclasses.replace(choice, model=str(path))), "cannot be read")


def test_unknown_names_suggest_near_ones(tmp_path: Path) -> None:
    refused(
        lambda: load_clip(ClipChoice(model="vit-b-32-quickgellu")),
        "did you mean ViT-B-32-quickgelu",
    )
    refused(lambda: load_clip(ClipChoice(pretrained="opnai")), "did you mean openai?")
    refused(lambda: load_clip(ClipChoice(pretrained="gone.pt")), "gone.pt: no such file")
    refused(
        lambda: load_clip(dataclasses.replace(write_tiny_clip(tmp_path), pretrained="openai")),
        "tiny-clip.json",
        "expected the path of a checkpoint",
    )


def test_published_weights_for_another_activation_are_refused() -> None:
    refused(lambda: load_clip(ClipChoice(model="ViT-B/32")), "choose ViT-B-32-quickgelu")


def test_without_network_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**_: Any) -> str:
        raise OSError("Name or service not known")

    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", unreachable)
    hub = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(hub, "level", logging.INFO)
    refused(
        lambda: load_clip(ClipChoice()),
        "the weights 'openai' of ViT-B-32-quickgelu could not be downloaded",
        "--pretrained FILE",
    )
    assert hub.level == logging.INFO and logging.root.manager.disable == logging.NOTSET


def test_nothing_is_said_of_weights_that_come_a_moment_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_clip(write_tiny_clip(tmp_path))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_published_weights_that_were_damaged_on_the_way_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ("0" * 64)).write_bytes(b"half of the weights")
    cached = tmp_path / "open_clip_model.safetensors"
    cached.symlink_to(tmp_path / ("0" * 64))
    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", lambda **_: str(cached))
    with pytest.raises(SoundsearchError) as found:
        load_clip(ClipChoice())
    assert str(cached) in str(found.value) and "SHA-256" in str(found.value)


def test_published_weights_bring_their_own_preprocessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = write_tiny_clip(tmp_path)
    published = {"file": choice.pretrained, "quick_gelu": True, "mean": (0.5,) * 3}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny-Model", tiny_config())
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Tiny-Model", {"mine": published})
    clip = load_clip(ClipChoice(model="Tiny/Model", pretrained="mine"))
    assert clip.encoder == f"tiny-model-mine-{clip.fingerprint[:8]}"
    black = clip.pixels(Image.new("RGB", (40, 40)))[:, 0, 0].numpy()
    np.testing.assert_allclose(black, -0.5 / np.array(STD), rtol=1e-5)
    assert clip.fingerprint != load_clip(choice).fingerprint


@pytest.mark.parametrize("device", ["nowhere", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(tmp_path: Path, device: str) -> None:
    choice = write_tiny_clip(tmp_path)
    refused(lambda: load_clip(choice, device), f"no device {device!r}")
