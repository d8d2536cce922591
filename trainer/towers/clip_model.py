"""The frozen CLIP model: pictures and texts to vectors of one space, never trained here.

Models are open_clip's, by name or by file. Whatever is read is read as data: a checkpoint that
would run Python code is refused.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from soundsearch.config import read_json
from soundsearch.errors import ConfigError, SoundsearchError
from trainer.convert.download import check_hub_file

Array = NDArray[np.float32]

logger = logging.getLogger(__name__)

#: Pictures or texts that go through a tower at once.
BATCH_SIZE = 64
#: What checkpoints may hold beside the weights: sizes (OpenAI's archives), and what is computed.
NOT_WEIGHTS = frozenset(
    [
        "input_resolution",
        "context_length",
        "vocab_size",
        "attn_mask",
        "text.attn_mask",
        "text.transformer.embeddings.position_ids",
    ]
)


class ClipError(SoundsearchError):
    """A CLIP model that cannot be found, read or run as asked."""


@dataclass(frozen=True, kw_only=True)
class ClipChoice:
    """Which CLIP model.

    model: a name of open_clip, or the path of a JSON model config as open_clip has them.
    pretrained: a name of open_clip for published weights of that model, which are downloaded once,
    or the path of a checkpoint: .safetensors, a state dict saved by torch, or OpenAI's own .pt.
    """

    model: str = "ViT-B-32-quickgelu"
    pretrained: str = "openai"


class FrozenClip:
    """A CLIP model at work: in eval mode, in float32, without gradients.

    model: open_clip's module. tokenizer: texts -> (n, context_length) int64; what is longer than
    the context is cut, the last token that is left becoming the end mark. dim: length of a vector.
    fingerprint: SHA-256 over model config, picture preprocessing and weights. encoder: a short name
    that differs where any of them does, fit for file names.
    """

    def __init__(
        self,
        choice: ClipChoice,
        model: nn.Module,
        tokenizer: Callable[[list[str]], Tensor],
        transform: Callable[[Image.Image], Tensor],
        dim: int,
        fingerprint: str,
        device: torch.device,
    ) -> None:
        self.choice = choice
        self.model = model.to(device).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.dim = dim
        self.fingerprint = fingerprint
        self.encoder = "-".join(
            (_slug(choice.model), _slug(choice.pretrained), self.fingerprint[:8])
        )
        self.device = device
        self._transform = transform

    def pixels(self, image: Image.Image) -> Tensor:
        """What enters the image tower: (3, height, width) float32. Safe to call from threads.

        Resized to the short side (bicubic), cropped at the centre, normalised by CLIP's mean and
        standard deviation; other models of open_clip bring their own numbers.
        Source: VIP-ANT's preprocessing, which is CLIP's.
        """
        return self._transform(image.convert("RGB"))

    def embed_images(self, images: Sequence[Image.Image]) -> Array:
        """Pictures of any size and mode -> (n, dim) float32, not normalised."""
        parts = (
            self.embed_pixels(torch.stack([self.pixels(image) for image in images[part]]))
            for part in _batches(len(images))
        )
        return self._together(parts)

    @torch.inference_mode()
    def embed_pixels(self, pixels: Tensor) -> Array:
        """One batch of what `pixels` makes, (n, 3, height, width) -> (n, dim), not normalised."""
        vectors: Tensor = self.model.encode_image(pixels.to(self.device))  # type: ignore[operator]
        return vectors.float().cpu().numpy()

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Texts -> (n, dim) float32, not normalised. Longer ones are cut at the model's context.

        Source: CLIP. VIP-ANT's authors do not cut, and fail on texts of more than 77 tokens.
        """
        return self._together(self._embed_text_batch(texts[part]) for part in _batches(len(texts)))

    @torch.inference_mode()
    def _embed_text_batch(self, texts: Sequence[str]) -> Array:
        tokens = self.tokenizer(list(texts)).to(self.device)
        vectors: Tensor = self.model.encode_text(tokens)  # type: ignore[operator]
        return vectors.float().cpu().numpy()

    def _together(self, parts: Iterator[Array]) -> Array:
        return np.concatenate([np.empty((0, self.dim), np.float32), *parts])


def load_clip(choice: ClipChoice, device: str = "cpu") -> FrozenClip:
    """The model of this choice, ready to embed on this device (torch's names: cpu, cuda, cuda:1).

    Raises ClipError, one line, if the model or its weights are unknown, cannot be downloaded, are
    no CLIP checkpoint, would run code, or do not fit each other.
    """
    from open_clip import get_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2

    place = _device(device)
    config = _model_config(choice.model)
    published = _published(choice, config)
    path = _download(choice, published) if published else Path(choice.pretrained)
    name = _register(config) if _is_file_name(choice.model) else _name(choice.model)
    model = _build(name, choice, published)
    _load_weights(model, read_weights(path), choice, path)
    preprocessing = get_model_preprocess_cfg(model)
    return FrozenClip(
        choice=choice,
        model=model,
        tokenizer=_tokenizer(name, choice),
        transform=image_transform_v2(PreprocessCfg(**preprocessing), is_train=False),
        dim=int(config["embed_dim"]),
        fingerprint=_fingerprint(config, preprocessing, model),
        device=place,
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict of a CLIP checkpoint, on the CPU, in the file's own precision.

    Reads .safetensors; what torch saved, with `weights_only`, so that a pickle holding anything but
    tensors is refused; and TorchScript archives, as OpenAI's .pt files are. Of those only the
    weights are taken: TorchScript is not Python, no method of it is called, and an archive with the
    one method that loading itself would call (__setstate__) is refused.
    Raises ClipError for everything else.
    """
    try:
        found = _read_any(path)
    except ClipError:
        raise
    except OSError as error:
        raise ClipError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch and safetensors raise a dozen kinds for a damaged file
        reason = "; it holds more than weights" if "weights_only" in str(error) else ""
        raise ClipError(
            f"{path}: not a checkpoint that can be read safely{reason}; expected .safetensors, a "
            "state dict saved by torch, or OpenAI's .pt"
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]  # open_clip's own training checkpoints
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ClipError(f"{path}: not a CLIP checkpoint, it holds no state dict")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def _read_any(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                _refuse_code(archive, path)
                return _read_torchscript(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _refuse_code(archive: zipfile.ZipFile, path: Path) -> None:
    for name in archive.namelist():
        if name.endswith(".py") and b"__setstate__" in archive.read(name):
            raise ClipError(
                f"{path}: a TorchScript archive that runs code when it is loaded; "
                "expected one of weights alone"
            )


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the format is old, as are the files
        archive: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return archive.state_dict()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ClipError(
            f"no device {name!r} for the CLIP model here; expected cpu, or cuda with a GPU"
        ) from error
    return device


def _model_config(model: str) -> dict[str, Any]:
    """The open_clip config of a name or file; checked as far as names of entries go."""
    import open_clip

    if not _is_file_name(model):
        name = _name(model)
        known = open_clip.list_models()
        if name not in known:
            raise ClipError(f"no CLIP model is called {model!r}{_nearest(name, known)}")
        config: dict[str, Any] = open_clip.get_model_config(name)
        return config
    path = Path(model)
    try:
        read = read_json(path)
    except ConfigError as error:
        raise ClipError(f"{error}; expected a model config of open_clip") from error
    if isinstance(read.get("model_cfg"), dict):
        read = read["model_cfg"]  # open_clip_config.json, as it lies beside published weights
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(read)
    if missing:
        raise ClipError(
            f"{path}: not a model config of open_clip, it lacks {', '.join(sorted(missing))}"
        )
    return read


def _register(config: Mapping[str, Any]) -> str:
    """Make a config of the user's known to open_clip. Returns the name it goes by there."""
    import open_clip

    text = json.dumps(config)
    name = f"soundsearch-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if name not in open_clip.list_models():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.json"
            path.write_text(text, encoding="utf-8")
            open_clip.add_model_config(path)  # reads it at once
    return name


def _published(choice: ClipChoice, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What open_clip knows of published weights, preprocessing included; empty for a file."""
    import open_clip

    if _is_file_name(choice.pretrained):
        if not Path(choice.pretrained).is_file():
            raise ClipError(
                f"{choice.pretrained}: no such file; expected a checkpoint of {choice.model}"
            )
        return {}
    if _is_file_name(choice.model):
        raise ClipError(
            f"{choice.model}: published weights such as {choice.pretrained!r} belong to models by "
            "name; expected the path of a checkpoint (--pretrained FILE)"
        )
    name = _name(choice.model)
    published: Mapping[str, Any] = open_clip.get_pretrained_cfg(name, choice.pretrained)
    if not published:
        raise ClipError(
            f"no weights of {choice.model} are called {choice.pretrained!r}"
            f"{_nearest(choice.pretrained, open_clip.list_pretrained_tags_by_model(name))}"
        )
    if bool(published.get("quick_gelu")) != bool(config.get("quick_gelu")):
        asked = "QuickGELU" if published.get("quick_gelu") else "plain GELU"
        raise ClipError(
            f"the weights {choice.pretrained!r} of {choice.model} are for {asked}, the model is "
            f"not; choose {_other_activation(name)}"
        )
    return published


def _download(choice: ClipChoice, published: Mapping[str, Any]) -> Path:
    from open_clip.pretrained import download_pretrained

    logger.info("looking for the weights %r of %s", choice.pretrained, choice.model)
    try:
        with _quiet():
            path = Path(download_pretrained(dict(published)))
    except Exception as error:  # huggingface_hub, urllib and open_clip have many kinds
        raise ClipError(
            f"the weights {choice.pretrained!r} of {choice.model} could not be downloaded; with a "
            "file of them, give its path in place of the name (--pretrained FILE)"
        ) from error
    check_hub_file(path)  # open_clip itself checks what comes from elsewhere
    return path


def _build(name: str, choice: ClipChoice, published: Mapping[str, Any]) -> nn.Module:
    """The module with weights yet to come; no weights are downloaded."""
    import open_clip

    preprocessing = {key: value for key, value in published.items() if key != "size"}
    try:
        with _quiet():
            built: nn.Module = open_clip.create_model(
                name, pretrained_text=False, force_preprocess_cfg=preprocessing
            )
    except Exception as error:  # whatever a wrong number leads to, deep in another library
        raise ClipError(
            f"{choice.model}: no model can be built from this config ({_first(error)})"
        ) from error
    return built


@contextmanager
def _quiet() -> Iterator[None]:
    """Log no warning inside: of every retry, of weights that are loaded a moment later."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _load_weights(
    model: nn.Module, weights: dict[str, Tensor], choice: ClipChoice, path: Path
) -> None:
    """Load a state dict into the model. Nothing is resized: other shapes are another model.

    open_clip's own load_checkpoint resizes positional embeddings, and reads no TorchScript.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    weights = convert_state_dict(model, weights)
    wanted = model.state_dict()
    if "positional_embedding" in weights and "positional_embedding" not in wanted:
        weights = convert_to_custom_text_state_dict(weights)
    if "logit_scale" in weights and weights["logit_scale"].numel() == 1:
        weights["logit_scale"] = weights["logit_scale"].reshape(wanted["logit_scale"].shape)
    missing = sorted(wanted.keys() - weights.keys())
    unknown = sorted(weights.keys() - wanted.keys() - NOT_WEIGHTS)
    if len(missing) == len(wanted):
        raise ClipError(f"{path}: not a CLIP checkpoint, none of its tensors is one of CLIP's")
    if missing or unknown:
        what = f"lacks {missing[0]}" if missing else f"has {unknown[0]}"
        raise ClipError(f"{path}: not a checkpoint of {choice.model}, it {what}; choose its model")
    for name, value in wanted.items():
        if weights[name].shape != value.shape:
            raise ClipError(
                f"{path}: not a checkpoint of {choice.model}, {name} is "
                f"{tuple(weights[name].shape)} and {tuple(value.shape)} is expected; choose its model"
            )
    model.load_state_dict({name: weights[name] for name in wanted})


def _tokenizer(name: str, choice: ClipChoice) -> Callable[[list[str]], Tensor]:
    import open_clip

    try:
        tokenizer: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(name)
    except Exception as error:  # transformers and the hub have many kinds
        raise ClipError(f"the tokenizer of {choice.model} could not be downloaded") from error
    return tokenizer


def _fingerprint(
    config: Mapping[str, Any], preprocessing: Mapping[str, Any], model: nn.Module
) -> str:
    total = hashlib.sha256()
    total.update(json.dumps([config, preprocessing], sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        total.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        total.update(value.contiguous().numpy().reshape(-1).view(np.uint8))
    return total.hexdigest()


def _batches(n_things: int) -> Iterator[slice]:
    return (slice(start, start + BATCH_SIZE) for start in range(0, n_things, BATCH_SIZE))


def _is_file_name(text: str) -> bool:
    """Whether a model or checkpoint is meant as a path; ViT-B/32 is a name."""
    return (
        Path(text).suffix in (".json", ".pt", ".pth", ".bin", ".safetensors")
        or Path(text).is_file()
    )


def _name(model: str) -> str:
    return model.replace("/", "-")  # OpenAI writes ViT-B/32, open_clip ViT-B-32


def _slug(text: str) -> str:
    """A name or the stem of a path in lower case, other characters than a-z and 0-9 made hyphens."""
    name = Path(text).stem if _is_file_name(text) else text
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-") or "clip"


def _other_activation(model: str) -> str:
    plain = model.removesuffix("-quickgelu")
    return plain if plain != model else f"{model}-quickgelu"


def _nearest(word: str, known: Sequence[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=3)
    if near:
        return f"; did you mean {', '.join(by_lower[name] for name in near)}?"
    return f"; known are {', '.join(list(known)[:8])}" if 0 < len(known) <= 8 else ""


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
