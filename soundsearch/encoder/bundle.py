"""Encoder bundles: a folder that holds all that is needed to use an encoder rightly.

    bundle.json      every fact about the encoder: this module reads, checks and writes it
    audio.onnx       features (n, n_mels, n_frames) float32 -> embeddings (n, dim) float32
    text.onnx        input_ids, attention_mask (n, n_tokens) int64 -> embeddings (n, dim) float32
    tokenizer.json   a tokenizer of the `tokenizers` library
    background.npy   embeddings (n, dim) float16 of ordinary sounds, if scores are calibrated
    model_card.md    for people, its head as the Hugging Face hub reads it
    training.json    every setting it was trained with, if it was

A new encoder is data: nothing about a particular one stands in the code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soundsearch.audio.features import FEATURE_KINDS, FeatureConfig
from soundsearch.audio.windows import ADDED_LATER, AudioConfig
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


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How a bundle wants its texts.

    max_tokens: longer texts are cut. prompt: sentence that a bare label is put into (at {});
    free text is embedded as it was typed.
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
    """A rising logistic curve: 1 / (1 + exp(-(slope * z + offset)))."""

    slope: float
    offset: float

    def __post_init__(self) -> None:
        if self.slope <= 0:
            raise ValueError(f"slope must be above 0, not {self.slope}")


@dataclass(frozen=True, kw_only=True)
class RelevanceConfig:
    """How cosines become a relevance from 0 to 1 (see `relevance.py`), by the kind of query."""

    text: Curve
    audio: Curve


@dataclass(frozen=True, kw_only=True)
class EncoderBundle:
    """The facts of bundle.json. Frozen and complete; `folder` is where the files lie.

    dim: length of an embedding. files: name -> SHA-256, for every file but bundle.json.
    results: measured numbers, each with the command that reproduces it.
    relevance: None where scores are not calibrated, and are cosines; else there is background.npy.
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
    relevance: RelevanceConfig | None = field(default=None, metadata=ADDED_LATER)

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

    @classmethod
    def read(cls, folder: Path) -> EncoderBundle:
        """Read and check bundle.json. The files it lists are checked when they are used.

        Raises BundleError naming the file, what was found and what is expected.
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
        """SHA-256 of all that decides an embedding: both towers, tokenizer, front end, windows."""
        decisive = {
            "dim": self.dim,
            "audio": _told(self.audio),
            "features": {"kind": self.features.kind, **_told(self.features)},
            "text": _told(self.text),
            "files": {name: self.files[name] for name in (AUDIO_TOWER, TEXT_TOWER, TOKENIZER)},
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def file(self, name: str) -> Path:
        """Path of one of the bundle's files, its SHA-256 checked.

        Raises BundleError if it is missing or not the file that bundle.json describes.
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
        facts = {
            "format": BUNDLE_FORMAT,
            **_told(self),
            "audio": _told(self.audio),
            "features": {"kind": self.features.kind, **_told(self.features)},
            "text": _told(self.text),
        }
        del facts["folder"]
        if self.relevance is not None:
            facts["relevance"] = dataclasses.asdict(self.relevance)
        text = json.dumps(facts, indent=2, ensure_ascii=False)
        write_text(self.folder / MANIFEST, f"{text}\n")


def _told(config: AudioConfig | FeatureConfig | TextConfig | EncoderBundle) -> dict[str, Any]:
    """Fields as bundle.json and the fingerprint tell it.

    A field that was added later is left out at its default: bundles from before keep their
    fingerprint, which indexes are held to, and versions from before read what does without it.
    """
    return {
        f.name: value
        for f in dataclasses.fields(config)
        if (value := getattr(config, f.name)) != f.default or "added later" not in f.metadata
    }
