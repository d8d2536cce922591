"""Where the members of a shard lie in its tar, and the index beside it that says so."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tarfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from soundsearch.config import fill
from soundsearch.errors import ConfigError
from soundsearch.files import write_text
from trainer.data.example import ShardError, facts_from, parse_facts, renamed

logger = logging.getLogger(__name__)

#: Names of members: the key up to the first dot of the file name, then what it is.
MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
FRAME = re.compile(r"(?:(\d+)\.)?(?:jpg|jpeg|png|webp)")
AUDIO = frozenset(
    ["flac", "wav", "mp3", "ogg", "opus", "oga", "m4a", "mp4", "aac", "aif", "aiff", "wma", "caf"]
)
INDEX_FORMAT = 1
#: A tar file ends with two blocks of zeros.
TAR_END = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class Place:
    """Where a member's content lies in the tar, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class Members:
    """The members of one example."""

    key: str
    facts: Place
    audio: Place
    frames: tuple[Place, ...]


@dataclass(frozen=True)
class Summary:
    """The first line of an index: enough to know whether it is fresh, and the count."""

    format: int
    tar_bytes: int
    mtime_ns: int
    digest: str
    n_examples: int


def index_path(shard: Path) -> Path:
    """The index beside a shard."""
    return shard.with_suffix(".index.jsonl")


def read_summary(path: Path) -> Summary:
    """The first line of a shard's index, which is made if need be."""
    status = _status(path)
    try:
        with open(index_path(path), encoding="utf-8") as file:
            summary = fill(Summary, renamed(json.loads(file.readline())))
            if _is_fresh(summary, status):
                return summary
    except (OSError, ValueError, TypeError, ConfigError):
        pass
    return make_index(path)[0]


def read_index(path: Path) -> tuple[Summary, list[Members]]:
    """A shard's whole index, which is made if need be."""
    status = _status(path)
    try:
        with open(index_path(path), encoding="utf-8") as file:
            summary = fill(Summary, renamed(json.loads(file.readline())))
            members = [_from_row(json.loads(line)) for line in file]
        if _is_fresh(summary, status) and len(members) == summary.n_examples:
            return summary, members
    except (OSError, ValueError, TypeError, ConfigError):
        pass
    return make_index(path)


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror})") from error


def _is_fresh(summary: Summary, status: os.stat_result) -> bool:
    found = (INDEX_FORMAT, status.st_size, status.st_mtime_ns)
    return (summary.format, summary.tar_bytes, summary.mtime_ns) == found


def make_index(path: Path) -> tuple[Summary, list[Members]]:
    """Go through a tar, check that it is whole, and write its index where that is permitted."""
    status = _status(path)
    members, digest = _scan(path)
    summary = Summary(INDEX_FORMAT, status.st_size, status.st_mtime_ns, digest, len(members))
    target = index_path(path)
    rows = (asdict(summary), *(_to_row(example) for example in members))
    try:
        write_text(target, "".join(json.dumps(row) + "\n" for row in rows))
    except OSError as error:
        logger.info("%s: no index was written (%s)", path, error.strerror)
    return summary, members


def _to_row(example: Members) -> list[Any]:
    places = [
        (place.offset, place.size) for place in (example.facts, example.audio, *example.frames)
    ]
    return [example.key, *places]


def _from_row(row: list[Any]) -> Members:
    key, facts, audio, *frames = row
    return Members(key, Place(*facts), Place(*audio), tuple(Place(*at) for at in frames))


def _scan(path: Path) -> tuple[list[Members], str]:
    """The examples of a tar in order, and the shard's digest. Raises ShardError."""
    found: dict[str, dict[str, Place]] = {}
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                name = MEMBER.fullmatch(member.name)
                if not member.isfile() or name is None:
                    continue
                place = Place(member.offset_data, member.size)
                digest.update(f"{member.name}\t{member.size}\n".encode("utf-8", "surrogateescape"))
                found.setdefault(name[1], {})[name[2].lower()] = place
            file.seek(tar.offset)
            if file.read(len(TAR_END)) != TAR_END:
                raise cut_off(path)
            examples = [_example(key, members, path) for key, members in found.items()]
            for example in examples:
                file.seek(example.facts.offset)
                content = file.read(example.facts.size)
                digest.update(content)
                _check_facts(parse_facts(content, example.key, path), example, path)
    except tarfile.ReadError as error:
        if "end of data" in str(error) or "truncated" in str(error):
            raise cut_off(path) from error
        raise ShardError(
            f"{path}: not an uncompressed tar file; make the shard again, or unpack it if it is "
            "compressed"
        ) from error
    except tarfile.TarError as error:
        raise ShardError(f"{path}: a damaged tar file ({error}); make the shard again") from error
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror})") from error
    if not examples:
        raise ShardError(
            f"{path}: holds no examples; an example is K.flac and K.json, and K.0.jpg ..."
        )
    return examples, digest.hexdigest()[:16]


def cut_off(path: Path) -> ShardError:
    """The error for a tar that ends too early."""
    return ShardError(
        f"{path}: the tar file is cut off; delete it and run the command that made it again"
    )


def _example(key: str, members: Mapping[str, Place], path: Path) -> Members:
    """One example of the members that share a key. Raises ShardError if one is missing."""
    audio = [place for name, place in members.items() if name in AUDIO]
    frames = sorted(
        (int(match[1] or 0), place.offset, place)
        for name, place in members.items()
        if (match := FRAME.fullmatch(name))
    )
    numbers = [number for number, _, _ in frames]
    if not audio:
        raise _lacks(f"{key}.flac", f"it has {', '.join(sorted(members))}", path)
    if "json" not in members:
        raise _lacks(f"{key}.json", f"it has {', '.join(sorted(members))}", path)
    if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise _lacks("one of its frames", f"it has {numbers}", path)
    return Members(key, members["json"], audio[0], tuple(place for _, _, place in frames))


def _lacks(what: str, found: str, path: Path) -> ShardError:
    return ShardError(f"{path}: an example lacks {what} ({found}); make the shard again")


def _check_facts(raw: dict[str, Any], example: Members, path: Path) -> None:
    facts = facts_from({"sample_rate": 0, "end_s": 0.0, **raw}, example.key, path)
    n_times, n_frames = len(facts.frame_times_s), len(example.frames)
    if n_times and n_times != n_frames:
        found = f"{example.key} has {n_frames} frames and {n_times} frame times"
        raise _lacks("one of its frames", found, path)
