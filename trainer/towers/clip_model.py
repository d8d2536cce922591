"""The frozen CLIP model: images and texts to vectors of one space. It is never trained here.

Models are those of open_clip, by name or by file.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from soundsearch.config import read_json
from soundsearch.errors import ConfigError
from trainer.convert.download import check_hub_file
from trainer.towers.clip_weights import ClipError, load_weights

Array = NDArray[np.float32]
T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Images or texts in one batch of a tower.
BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class ClipChoice:
    """Which CLIP model, and which weights of it.

    Attributes:
        model: A name of open_clip, or the path of a JSON model config in open_clip's format.
        pretrained: A name of open_clip for published weights of that model, which are downloaded
            once; or the path of a checkpoint: .safetensors, a state dict saved by torch, or
            OpenAI's own .pt.
    """

    model: str = "ViT-B-32-quickgelu"
    pretrained: str = "openai"


class FrozenClip:
    """A CLIP model in eval mode, in float32, without gradients.

    Attributes:
        choice: Model and weights, as they were chosen.
        model: The module of open_clip.
        tokenizer: Texts to token ids, (n, context_length) int64. A longer text is truncated, and
            its last token becomes the end token.
        dim: Numbers in a vector.
        fingerprint: SHA-256 over model config, image preprocessing and weights.
        encoder: A short name, fit for file names, that differs where any of these does.
        device: Where the model runs.
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
        self.encoder = "-".join((_slug(choice.model), _slug(choice.pretrained), fingerprint[:8]))
        self.device = device
        self._transform = transform

    def pixels(self, image: Image.Image) -> Tensor:
        """Return the input of the image tower, (3, height, width) float32. Thread-safe.

        The image is resized to the short side (bicubic), cropped at the centre, and normalised by
        CLIP's mean and standard deviation; other models of open_clip have their own numbers.
        Source: VIP-ANT's preprocessing (`cvap/data/image/transform.py`), which is CLIP's.
        """
        return self._transform(image.convert("RGB"))

    def embed_images(self, images: Sequence[Image.Image]) -> Array:
        """Embed images of any size and mode, (n, dim) float32, not normalised."""
        return self._concatenated(
            self.embed_pixels(torch.stack([self.pixels(image) for image in batch]))
            for batch in _batches(images)
        )

    @torch.inference_mode()
    def embed_pixels(self, pixels: Tensor) -> Array:
        """Embed one batch of `pixels`, (n, 3, height, width) -> (n, dim), not normalised."""
        vectors: Tensor = self.model.encode_image(pixels.to(self.device))  # type: ignore[operator]
        return vectors.float().cpu().numpy()

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Embed texts, (n, dim) float32, not normalised; long ones are truncated to the context.

        Source: CLIP. VIP-ANT's code does not truncate, and fails on texts of more than 77 tokens.
        """
        encode: Any = self.model.encode_text
        return self._concatenated(
            encode(self.tokenizer(list(batch)).to(self.device)).float().cpu().numpy()
            for batch in _batches(texts)
        )

    def _concatenated(self, batches: Iterable[Array]) -> Array:
        return np.concatenate([np.empty((0, self.dim), np.float32), *batches])


def load_clip(choice: ClipChoice, device: str = "cpu") -> FrozenClip:
    """Load a CLIP model.

    Args:
        choice: Model and weights.
        device: A name of torch: cpu, cuda, cuda:1.

    Raises:
        ClipError: Model, weights or device are unknown; the weights cannot be downloaded, are no
            CLIP checkpoint, would run code, or are those of another model.
    """
    from open_clip import get_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2

    place = _device(device)
    config = _model_config(choice.model)
    published = _published(choice, config)
    path = _download(choice, published) if published else Path(choice.pretrained)
    name = _register(config) if _is_file_name(choice.model) else _name(choice.model)
    model = _build(name, choice, published)
    load_weights(model, path, choice.model)
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
    """Return the open_clip config of a name or a file. Only the names of its entries are checked."""
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
        read = read["model_cfg"]  # the open_clip_config.json of published weights
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(read)
    if missing:
        raise ClipError(
            f"{path}: not a model config of open_clip, it lacks {', '.join(sorted(missing))}"
        )
    return read


def _register(config: Mapping[str, Any]) -> str:
    """Register a config with open_clip. Returns its name there."""
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
    """Return open_clip's entry on published weights, with their preprocessing; empty for a file."""
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
        wanted = "QuickGELU" if published.get("quick_gelu") else "plain GELU"
        plain = name.removesuffix("-quickgelu")
        raise ClipError(
            f"the weights {choice.pretrained!r} of {choice.model} are for {wanted}, the model is "
            f"not; choose {plain if plain != name else f'{name}-quickgelu'}"
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
    """Build the module with random weights; nothing is downloaded."""
    import open_clip

    preprocessing = {key: value for key, value in published.items() if key != "size"}
    try:
        with _quiet():
            built: nn.Module = open_clip.create_model(
                name, pretrained_text=False, force_preprocess_cfg=preprocessing
            )
    except Exception as error:  # a wrong number fails anywhere in other libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ClipError(
            f"{choice.model}: no model can be built from this config ({reason})"
        ) from error
    return built


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings of open_clip: of retries, and of weights that are loaded afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


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


def _batches(inputs: Sequence[T]) -> Iterator[Sequence[T]]:
    return (inputs[i : i + BATCH_SIZE] for i in range(0, len(inputs), BATCH_SIZE))


def _is_file_name(text: str) -> bool:
    """Return whether a text is a path, not a name; ViT-B/32 is a name."""
    return (
        Path(text).suffix in (".json", ".pt", ".pth", ".bin", ".safetensors")
        or Path(text).is_file()
    )


def _name(model: str) -> str:
    return model.replace("/", "-")  # OpenAI writes ViT-B/32, open_clip ViT-B-32


def _slug(text: str) -> str:
    """Return a name, or the stem of a path, in lower case with hyphens for other characters."""
    name = Path(text).stem if _is_file_name(text) else text
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-") or "clip"


def _nearest(word: str, known: Sequence[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    if close := difflib.get_close_matches(word.lower(), by_lower, n=3):
        return f"; did you mean {', '.join(by_lower[name] for name in close)}?"
    return f"; known are {', '.join(known[:8])}" if 0 < len(known) <= 8 else ""
