"""Encoder bundles: a folder that holds all that is needed to use an encoder.

    bundle.json      every fact about the encoder: this module reads, checks and writes it
    audio.onnx       features (n, n_mels, n_frames) float32 -> embeddings (n, dim) float32
    text.onnx        input_ids, attention_mask (n, n_tokens) int64 -> embeddings (n, dim) float32
    tokenizer.json   a tokenizer of the `tokenizers` library
    background.npy   embeddings (n, dim) float16 of ordinary sounds, if scores are calibrated
    background_texts.npy  embeddings (n, dim) float16 of ordinary texts, if searches are, too
    model_card.md    for people, with a head that the Hugging Face hub reads
    training.json    every setting of its training, if it was trained here

A new encoder is data: the code knows no particular encoder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.features import FEATURE_KINDS, FeatureConfig
from soundsearch.audio.windows import AudioConfig
from soundsearch.config import fill, read_json
from soundsearch.descriptors import stop_if_ran_out
from soundsearch.errors import BundleError, ConfigError
from soundsearch.files import sha256_of, write_text

#: Format of bundle.json that this version reads and writes.
BUNDLE_FORMAT = 1
MANIFEST = "bundle.json"
AUDIO_TOWER = "audio.onnx"
TEXT_TOWER = "text.onnx"
TOKENIZER = "tokenizer.json"
BACKGROUND = "background.npy"
CARD = "model_card.md"
#: Names of languages, by the codes in the head of a model card; of others the code is shown.
LANGUAGES = {"en": "English"}
BACKGROUND_TEXTS = "background_texts.npy"


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How texts enter the text tower.

    Attributes:
        max_tokens: Longer texts are truncated to so many tokens, start and end token included.
        prompt: Sentence that a bare label is put into, at {}. Free text is embedded as it is.
    """

    max_tokens: int
    prompt: str = "{}"

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, not {self.max_tokens}")
        if self.prompt.count("{}") != 1:
            raise ValueError(f"prompt must hold {{}} once, for the label: {self.prompt!r}")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """An increasing logistic curve: 1 / (1 + exp(-(slope * z + offset)))."""

    slope: float
    offset: float

    def __post_init__(self) -> None:
        if self.slope <= 0:
            raise ValueError(f"slope must be above 0, not {self.slope}")

    def height(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the heights at z, of any shape, in [0, 1]."""
        return np.exp(-np.logaddexp(0.0, -(self.slope * z + self.offset)))


@dataclass(frozen=True, kw_only=True)
class RelevanceConfig:
    """Curves that turn cosines into a relevance in [0, 1]; see `calibration.py`.

    Attributes:
        text: Of a text and a recording.
        audio: Of two recordings.
        search: Of a text and the recordings of a library; None for `text`.
    """

    text: Curve
    audio: Curve
    search: Curve | None = None


@dataclass(frozen=True, kw_only=True)
class EncoderBundle:
    """The content of bundle.json, and the folder that it describes.

    Attributes:
        folder: Folder of the bundle's files.
        name: Name by which users choose the encoder.
        version: Version of the weights.
        description: One sentence.
        dim: Numbers in an embedding.
        audio: Sample rate, length and spacing of windows, channels.
        features: How a window becomes log-mel features.
        text: How texts enter the text tower.
        licence: Of the weights.
        provenance: What the weights were made from.
        results: Measured numbers, each with the command that reproduces it.
        files: Name -> SHA-256, for every file but bundle.json.
        relevance: Calibration of the scores; None if scores are cosines. With it there is
            background.npy.
    """

    folder: Path = field(compare=False)
    name: str
    version: str
    description: str
    dim: int
    audio: AudioConfig
    features: FeatureConfig
    text: TextConfig
    licence: str
    provenance: str
    results: Mapping[str, Any]
    files: Mapping[str, str]
    relevance: RelevanceConfig | None = None

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"dim must be 1 or more, not {self.dim}")
        missing = {AUDIO_TOWER, TEXT_TOWER, TOKENIZER} - set(self.files)
        if missing:
            raise ValueError(f"files lacks {', '.join(sorted(missing))}")
        for name in self.files:
            if Path(name).name != name:
                raise ValueError(f"files may only name files of the bundle's folder, not {name!r}")
        if self.relevance is not None and BACKGROUND not in self.files:
            raise ValueError(f"files lacks {BACKGROUND}, which relevance needs")
        searches = self.relevance is not None and self.relevance.search is not None
        if searches and BACKGROUND_TEXTS not in self.files:
            raise ValueError(f"files lacks {BACKGROUND_TEXTS}, which relevance.search needs")

    @classmethod
    def read(cls, folder: Path) -> EncoderBundle:
        """Read and check bundle.json. The files that it lists are checked when they are used.

        Raises:
            BundleError: bundle.json is missing or not valid; the message names the file, the
                value found and the value expected.
        """
        path = folder / MANIFEST
        try:
            facts = read_json(path)
        except ConfigError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                missing = f"{folder}: no encoder bundle here, {MANIFEST} is missing"
                raise BundleError(missing) from error
            raise BundleError(f"{error}; restore the bundle") from error
        found = facts.pop("format", None)
        if found != BUNDLE_FORMAT:
            raise BundleError(
                f"{path}: bundle format {found}, this version reads {BUNDLE_FORMAT}; "
                "use a matching version of soundsearch"
            )
        features = facts.get("features")
        kind = features.pop("kind", None) if isinstance(features, dict) else None
        if not isinstance(kind, str) or kind not in FEATURE_KINDS:
            known = ", ".join(FEATURE_KINDS)
            raise BundleError(f"{path}: features.kind is {kind!r}, known are {known}")
        try:
            facts["features"] = fill(FEATURE_KINDS[kind], features, f"{path}: features.")
            return fill(cls, {**facts, "folder": folder}, f"{path}: ")
        except ConfigError as error:
            raise BundleError(str(error)) from error

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides an embedding, 64 hexadecimal digits.

        That is: dim, windows, features, text settings, and the files of both towers and the
        tokenizer. Indexes store it.
        """
        facts = self.to_dict()
        decisive = {key: facts[key] for key in ("dim", "audio", "features", "text")}
        decisive["files"] = {
            name: self.files[name] for name in (AUDIO_TOWER, TEXT_TOWER, TOKENIZER)
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def language(self) -> str | None:
        """The language of texts that the model card names; None if there is none that does."""
        try:
            card = (self.folder / CARD).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        found = re.match(r"---\n(?:(?!---).*\n)*?language: *(\w+)\n", card)
        return None if found is None else LANGUAGES.get(found[1], found[1])

    def to_dict(self) -> dict[str, Any]:
        """Return the content of bundle.json without its format number, as plain values."""
        facts = dataclasses.asdict(self)
        del facts["folder"]
        facts["features"] = {"kind": self.features.kind, **facts["features"]}
        return facts

    def file(self, name: str) -> Path:
        """Return the path of one of the bundle's `files` after checking its SHA-256.

        Raises:
            BundleError: The file is missing, or is not the one that bundle.json describes.
        """
        path = self.folder / name
        try:
            found = sha256_of(path)
        except OSError as error:
            stop_if_ran_out(error)
            raise BundleError(
                f"{path}: the encoder {self.name} lacks this file ({error.strerror}); restore the bundle"
            ) from error
        if found != self.files[name]:
            raise BundleError(
                f"{path}: damaged, its SHA-256 is {found[:12]}..., "
                f"{MANIFEST} says {self.files[name][:12]}...; restore the bundle"
            )
        return path

    def write(self) -> None:
        """Write bundle.json into `folder`, atomically. Raises OSError."""
        text = json.dumps({"format": BUNDLE_FORMAT, **self.to_dict()}, indent=2, ensure_ascii=False)
        write_text(self.folder / MANIFEST, f"{text}\n")
