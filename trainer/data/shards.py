"""Clips in WebDataset tar shards: the form in which training reads sound and pictures.

A folder holds shard-000000.tar, shard-000001.tar and so on. A clip with key K is in one of them as

    K.flac                  its sound, at its own rate, with all its channels
    K.0.jpg, K.1.jpg ...    its frames in order; .png and .webp too
    K.json                  its facts (`ClipFacts`)

A tar under its final name is complete: it is written aside as .part, synced and renamed. Beside
it lies shard-000000.index.jsonl, from which counts and places are read without a look at the tar.
It can be deleted at any time, and is made again when it is missing, damaged or older than the tar.

Shards of other programs can be read too: any sound that can be decoded, one or more pictures, and
a JSON object of which all fields may be missing.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import os
import re
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsearch.config import fill
from soundsearch.errors import AudioError, ConfigError, SoundsearchError
from soundsearch.files import put_in_place, write_text
from trainer.data.waveforms import read_channels

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]

#: The largest shards a network file system still likes are some hundred megabytes.
CLIPS_PER_SHARD = 500
#: Names of members: the key up to the first dot of the file name, then what it is.
MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
FRAME = re.compile(r"(?:(\d+)\.)?(?:jpg|jpeg|png|webp)")
AUDIO = frozenset(
    ["flac", "wav", "mp3", "ogg", "opus", "oga", "m4a", "mp4", "aac", "aif", "aiff", "wma", "caf"]
)
INDEX_FORMAT = 1
#: A tar file ends with two blocks of zeros.
TAR_END = bytes(2 * tarfile.BLOCKSIZE)


class ShardError(SoundsearchError):
    """A shard, or a file made from one, that is missing, damaged or does not fit."""


@dataclass(frozen=True)
class ClipFacts:
    """What is known of a clip besides its sound and its pictures.

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
class PackedClip:
    """A clip as it goes into a shard. audio: a FLAC file. frames: JPEG, PNG or WebP files."""

    facts: ClipFacts
    audio: bytes
    frames: tuple[bytes, ...] = ()


def image_suffix(image: bytes) -> str | None:
    """jpg, png or webp by how the file begins, or None for anything else."""
    if image.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if image.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "webp"
    return None


def shard_path(folder: Path, number: int) -> Path:
    """The path of the shard with this number."""
    return folder / f"shard-{number:06d}.tar"


class ShardWriter:
    """One shard being written: `add` clips, then `finish`. What is not finished stays a .part.

    Keys are the shard's number and the place in it, such as 000003-00017, so that no two clips of
    a folder share one and the same clips always give the same bytes.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.path = shard_path(folder, number)
        self.n_clips = 0
        self._number = number
        self._part = self.path.with_suffix(".tar.part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self._part, "wb")  # noqa: SIM115 - closed by `finish` and `close`
        except OSError as error:
            raise ShardError(f"{self._part}: cannot be written ({error.strerror})") from error
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, clip: PackedClip) -> str:
        """Append a clip and return its key. Raises ShardError for what no reader would accept."""
        times, n_frames = clip.facts.frame_times_s, len(clip.frames)
        if times and len(times) != n_frames:
            raise ShardError(
                f"{clip.facts.source}: {n_frames} frames and {len(times)} frame times; "
                "there must be as many, or no times"
            )
        suffixes = [image_suffix(frame) for frame in clip.frames]
        if None in suffixes:
            raise ShardError(
                f"{clip.facts.source}: frame {suffixes.index(None)} is no JPEG, PNG or WebP file"
            )
        key = f"{self._number:06d}-{self.n_clips:05d}"
        try:
            self._member(f"{key}.flac", clip.audio)
            for i, (frame, suffix) in enumerate(zip(clip.frames, suffixes, strict=True)):
                self._member(f"{key}.{i}.{suffix}", frame)
            self._member(f"{key}.json", json.dumps(asdict(clip.facts)).encode())
        except OSError as error:
            raise ShardError(f"{self._part}: cannot be written ({error.strerror})") from error
        self.n_clips += 1
        return key

    def _member(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))

    def finish(self) -> Path:
        """End the tar, sync it and give it its name, and write its index."""
        try:
            self._tar.close()
            self._file.close()
            put_in_place(self._part, self.path)
        except OSError as error:
            raise ShardError(f"{self.path}: cannot be written ({error.strerror})") from error
        _make_index(self.path)
        return self.path

    def close(self) -> None:
        """Let go of an unfinished shard; no effect on a finished one."""
        self._file.close()


def write_shards(
    clips: Iterable[PackedClip],
    folder: Path,
    *,
    clips_per_shard: int = CLIPS_PER_SHARD,
    first: int = 0,
) -> list[Path]:
    """Write clips in order into shards numbered from `first` on and return their paths.

    Every shard but the last holds clips_per_shard clips; no clips, no shard. Raises ShardError.
    """
    paths: list[Path] = []
    writer: ShardWriter | None = None
    try:
        for clip in clips:
            writer = writer or ShardWriter(folder, first + len(paths))
            writer.add(clip)
            if writer.n_clips == clips_per_shard:
                paths.append(writer.finish())
                writer = None
        if writer is not None:
            paths.append(writer.finish())
    finally:
        if writer is not None:
            writer.close()
    return paths


@dataclass(frozen=True)
class _Place:
    """Where a member's content lies in the tar, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class _Members:
    """The members of one clip."""

    key: str
    facts: _Place
    audio: _Place
    frames: tuple[_Place, ...]


@dataclass(frozen=True)
class _Summary:
    """The first line of an index: enough to know whether it is fresh, and the count."""

    format: int
    tar_bytes: int
    mtime_ns: int
    digest: str
    n_clips: int


class Shard:
    """One tar of clips, each member read by its place in the file when it is asked for.

    keys: the clips' keys in the order of the tar. digest: a short hash over keys, sizes and facts;
    side files hold it to notice that their shard was replaced. No file is kept open, so a shard
    may be used by several threads and handed to other processes.
    Raises ShardError if the file is missing, no tar, cut off, or if a clip lacks a member.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        summary, self._members = _index(path)
        self.digest = summary.digest
        self.keys = [members.key for members in self._members]

    def __len__(self) -> int:
        return len(self._members)

    def facts(self, i: int) -> ClipFacts:
        """The facts of clip i; what another program's JSON does not say is taken from the sound."""
        members = self._members[i]
        raw = _parse(self._read([members.facts])[0], members.key, self.path)
        if not {"end_s", "sample_rate"} <= raw.keys():
            channels, sample_rate = self.audio(i)
            raw.setdefault("sample_rate", sample_rate)
            raw.setdefault("end_s", raw.get("begin_s", 0.0) + channels.shape[1] / sample_rate)
        return _facts(raw, members.key, self.path)

    def audio(self, i: int) -> tuple[Array, int]:
        """The sound of clip i, (channels, time) float32 in [-1, 1], and its sample rate in Hz."""
        try:
            sound = read_channels(self.audio_bytes(i))
        except AudioError as error:
            raise ShardError(
                f"{self.path}: the sound of clip {self.keys[i]} cannot be decoded "
                f"({error.reason}); make the shard again"
            ) from error
        return sound.channels, sound.sample_rate

    def audio_bytes(self, i: int) -> bytes:
        """The sound of clip i as the file it is stored as, FLAC in our own shards."""
        return self._read([self._members[i].audio])[0]

    def frames(self, i: int) -> list[bytes]:
        """The pictures of clip i in order, as the files they are stored as."""
        return self._read(self._members[i].frames)

    def n_frames(self, i: int) -> int:
        """How many pictures clip i has; reads nothing."""
        return len(self._members[i].frames)

    def _read(self, places: Iterable[_Place]) -> list[bytes]:
        contents = []
        try:
            with open(self.path, "rb") as file:
                for place in places:
                    file.seek(place.offset)
                    contents.append(file.read(place.size))
                    if len(contents[-1]) < place.size:
                        raise _cut_off(self.path)
        except OSError as error:
            raise ShardError(f"{self.path}: cannot be read ({error.strerror})") from error
        return contents


class ShardFolder:
    """A folder of shards. shards: their paths, sorted. counts: (n_shards,) int64 clips of each.

    Raises ShardError if there is no shard in it. A damaged shard is found when it is counted.
    """

    def __init__(self, folder: Path, *, n_open: int = 8) -> None:
        self.folder = folder
        self.shards = sorted(folder.glob("*.tar"))
        if not self.shards:
            what = "no shards (*.tar)" if folder.is_dir() else "no such folder"
            raise ShardError(
                f"{folder}: {what}; make shards with `soundsearch train extract` or "
                "`soundsearch train shards`"
            )
        self._n_open = n_open
        self._opened: OrderedDict[int, Shard] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Clips of each shard, from the first line of its index."""
        return np.array([_summary(path).n_clips for path in self.shards], np.int64)

    def __len__(self) -> int:
        return int(self.counts.sum())

    def digest(self, n: int) -> str:
        """The digest of shard number n, from the first line of its index."""
        return _summary(self.shards[n]).digest

    def open(self, n: int) -> Shard:
        """Shard number n; the ones used last are kept. Raises ShardError."""
        with self._lock:
            shard = self._opened.get(n)
            if shard is None:
                shard = self._opened[n] = Shard(self.shards[n])
            self._opened.move_to_end(n)
            if len(self._opened) > self._n_open:
                self._opened.popitem(last=False)
            return shard

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _opened=OrderedDict())


def index_path(shard: Path) -> Path:
    """The index beside a shard."""
    return shard.with_suffix(".index.jsonl")


def _summary(path: Path) -> _Summary:
    """The first line of a shard's index, which is made if need be."""
    status = _status(path)
    try:
        with open(index_path(path), encoding="utf-8") as file:
            summary = fill(_Summary, json.loads(file.readline()))
            if _is_fresh(summary, status):
                return summary
    except (OSError, ValueError, TypeError, ConfigError):
        pass
    return _make_index(path)[0]


def _index(path: Path) -> tuple[_Summary, list[_Members]]:
    """A shard's whole index, which is made if need be."""
    status = _status(path)
    try:
        with open(index_path(path), encoding="utf-8") as file:
            summary = fill(_Summary, json.loads(file.readline()))
            members = [_from_row(json.loads(line)) for line in file]
        if _is_fresh(summary, status) and len(members) == summary.n_clips:
            return summary, members
    except (OSError, ValueError, TypeError, ConfigError):
        pass
    return _make_index(path)


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror})") from error


def _is_fresh(summary: _Summary, status: os.stat_result) -> bool:
    found = (INDEX_FORMAT, status.st_size, status.st_mtime_ns)
    return (summary.format, summary.tar_bytes, summary.mtime_ns) == found


def _make_index(path: Path) -> tuple[_Summary, list[_Members]]:
    """Go through a tar, check that it is whole, and write its index where that is permitted."""
    status = _status(path)
    members, digest = _scan(path)
    summary = _Summary(INDEX_FORMAT, status.st_size, status.st_mtime_ns, digest, len(members))
    target = index_path(path)
    rows = (asdict(summary), *(_to_row(clip) for clip in members))
    try:
        write_text(target, "".join(json.dumps(row) + "\n" for row in rows))
    except OSError as error:
        logger.info("%s: no index was written (%s)", path, error.strerror)
    return summary, members


def _to_row(clip: _Members) -> list[Any]:
    places = [(place.offset, place.size) for place in (clip.facts, clip.audio, *clip.frames)]
    return [clip.key, *places]


def _from_row(row: list[Any]) -> _Members:
    key, facts, audio, *frames = row
    return _Members(key, _Place(*facts), _Place(*audio), tuple(_Place(*at) for at in frames))


def _scan(path: Path) -> tuple[list[_Members], str]:
    """The clips of a tar in order, and the shard's digest. Raises ShardError."""
    found: dict[str, dict[str, _Place]] = {}
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                name = MEMBER.fullmatch(member.name)
                if not member.isfile() or name is None:
                    continue
                place = _Place(member.offset_data, member.size)
                digest.update(f"{member.name}\t{member.size}\n".encode("utf-8", "surrogateescape"))
                found.setdefault(name[1], {})[name[2].lower()] = place
            file.seek(tar.offset)
            if file.read(len(TAR_END)) != TAR_END:
                raise _cut_off(path)
            clips = [_clip(key, members, path) for key, members in found.items()]
            for clip in clips:
                file.seek(clip.facts.offset)
                content = file.read(clip.facts.size)
                digest.update(content)
                _check_facts(_parse(content, clip.key, path), clip, path)
    except tarfile.ReadError as error:
        if "end of data" in str(error) or "truncated" in str(error):
            raise _cut_off(path) from error
        raise ShardError(
            f"{path}: not an uncompressed tar file; make the shard again, or unpack it if it is "
            "compressed"
        ) from error
    except tarfile.TarError as error:
        raise ShardError(f"{path}: a damaged tar file ({error}); make the shard again") from error
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror})") from error
    if not clips:
        raise ShardError(f"{path}: holds no clips; a clip is K.flac and K.json, and K.0.jpg ...")
    return clips, digest.hexdigest()[:16]


def _cut_off(path: Path) -> ShardError:
    return ShardError(
        f"{path}: the tar file is cut off; delete it and run the command that made it again"
    )


def _clip(key: str, members: Mapping[str, _Place], path: Path) -> _Members:
    """One clip of the members that share a key. Raises ShardError if one is missing."""
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
    return _Members(key, members["json"], audio[0], tuple(place for _, _, place in frames))


def _lacks(what: str, found: str, path: Path) -> ShardError:
    return ShardError(f"{path}: a clip lacks {what} ({found}); make the shard again")


def _check_facts(raw: dict[str, Any], clip: _Members, path: Path) -> None:
    facts = _facts({"sample_rate": 0, "end_s": 0.0, **raw}, clip.key, path)
    n_times, n_frames = len(facts.frame_times_s), len(clip.frames)
    if n_times and n_times != n_frames:
        found = f"{clip.key} has {n_frames} frames and {n_times} frame times"
        raise _lacks("one of its frames", found, path)


def _parse(content: bytes, key: str, path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(content)
    except ValueError as error:
        raise ShardError(f"{path}: {key}.json is not JSON ({error})") from error
    if not isinstance(raw, dict):
        raise ShardError(f"{path}: {key}.json must be an object, not {type(raw).__name__}")
    return raw


def _facts(raw: dict[str, Any], key: str, path: Path) -> ClipFacts:
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
    return ClipFacts(
        source=source,
        begin_s=float(number("begin_s", 0.0)),
        end_s=float(number("end_s")),
        sample_rate=int(number("sample_rate")),
        frame_times_s=tuple(float(time_s) for time_s in times),
        captions=several("captions", str, "texts"),
        labels=several("labels", str, "texts"),
    )
