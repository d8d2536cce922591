"""One member of a training shard: its files and its facts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundsearch.errors import SoundsearchError

#: Names in index and progress files of earlier versions -> names now.
RENAMED = {
    "clip": "example",
    "clip_s": "example_s",
    "clips_per_shard": "examples_per_shard",
    "n_clips": "n_examples",
}


class ShardError(SoundsearchError):
    """A shard, or a file made from one, that is missing, damaged or does not fit."""


@dataclass(frozen=True)
class ExampleFacts:
    """What is known of an example besides its sound and its pictures.

    source: the file it was cut from. begin_s, end_s: where in it. sample_rate: Hz.
    frame_times_s: when in the source each frame is shown; empty where pictures have no time.
    """

    source: str
    begin_s: float
    end_s: float
    sample_rate: int
    frame_times_s: tuple[float, ...] = ()
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Example:
    """An example as it goes into a shard. audio: a FLAC file. frames: JPEG, PNG or WebP files."""

    facts: ExampleFacts
    audio: bytes
    frames: tuple[bytes, ...] = ()


def renamed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts from a file by the names that they have now. Raises TypeError for no mapping."""
    if not isinstance(stored, Mapping):
        raise TypeError(f"expected an object, found {stored!r}")
    return {RENAMED.get(name, name): value for name, value in stored.items()}


def image_suffix(image: bytes) -> str | None:
    """jpg, png or webp by how the file begins, or None for anything else."""
    if image.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if image.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "webp"
    return None


def parse_facts(content: bytes, key: str, path: Path) -> dict[str, Any]:
    """The JSON object in a member K.json. Raises ShardError, also for other JSON."""
    try:
        raw = json.loads(content)
    except ValueError as error:
        raise ShardError(f"{path}: {key}.json is not JSON ({error})") from error
    if not isinstance(raw, dict):
        raise ShardError(f"{path}: {key}.json must be an object, not {type(raw).__name__}")
    return raw


def facts_from(raw: dict[str, Any], key: str, path: Path) -> ExampleFacts:
    """The facts in a JSON object; what it says beyond them is left aside. Raises ShardError."""

    def number(name: str, default: float | None = None) -> float:
        value = raw.get(name, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise wrong(name, value, "a number")
        return value

    def several(name: str, kind: type | tuple[type, ...], what: str) -> tuple[Any, ...]:
        values = raw.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
            raise wrong(name, values, f"a list of {what}")
        return tuple(values)

    def wrong(name: str, value: object, expected: str) -> ShardError:
        return ShardError(f"{path}: {name} in {key}.json must be {expected}, not {value!r}")

    source = raw.get("source", key)
    if not isinstance(source, str):
        raise wrong("source", source, "a text")
    times = several("frame_times_s", (int, float), "numbers")
    return ExampleFacts(
        source=source,
        begin_s=float(number("begin_s", 0.0)),
        end_s=float(number("end_s")),
        sample_rate=int(number("sample_rate")),
        frame_times_s=tuple(float(time_s) for time_s in times),
        captions=several("captions", str, "texts"),
        labels=several("labels", str, "texts"),
    )
