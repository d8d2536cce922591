"""Examples in WebDataset tar shards: the form in which training reads sound and pictures.

A folder holds shard-000000.tar, shard-000001.tar and so on. An example with key K is in one of them as

    K.flac                  its sound, at its own rate, with all its channels
    K.0.jpg, K.1.jpg ...    its frames in order; .png and .webp too
    K.json                  its facts (`ExampleFacts`)

A tar under its final name is complete: it is written aside as .part, synced and renamed. Beside
it lies shard-000000.index.jsonl, from which counts and places are read without a look at the tar.
It can be deleted at any time, and is made again when it is missing, damaged or older than the tar.

Shards of other programs can be read too: any sound that can be decoded, one or more pictures, and
a JSON object of which all fields may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsearch.errors import AudioError
from trainer.data.example import ExampleFacts, ShardError, facts_from, parse_facts
from trainer.data.recently_used import RecentlyUsed
from trainer.data.shard_index import Place, cut_off, read_index, read_summary
from trainer.data.sound_files import read_channels

Array = NDArray[np.float32]
#: A folder of shards, or several.
ShardPaths = Path | Sequence[Path]


class Shard:
    """One tar of examples, each member read by its place in the file when it is asked for.

    keys: the examples' keys in the order of the tar. digest: a short hash over keys, sizes and facts;
    side files hold it to notice that their shard was replaced. No file stays open, so a shard
    may be used by several threads and handed to other processes.
    Raises ShardError if the file is missing, no tar, cut off, or if an example lacks a member.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        summary, self._members = read_index(path)
        self.digest = summary.digest
        self.keys = [members.key for members in self._members]

    def __len__(self) -> int:
        return len(self._members)

    def facts(self, i: int) -> ExampleFacts:
        """The facts of example i; what another program's JSON does not say is taken from the sound."""
        members = self._members[i]
        raw = parse_facts(self._read([members.facts])[0], members.key, self.path)
        if not {"end_s", "sample_rate"} <= raw.keys():
            channels, sample_rate = self.audio(i)
            raw.setdefault("sample_rate", sample_rate)
            raw.setdefault("end_s", raw.get("begin_s", 0.0) + channels.shape[1] / sample_rate)
        return facts_from(raw, members.key, self.path)

    def audio(self, i: int) -> tuple[Array, int]:
        """The sound of example i, (channels, time) float32 in [-1, 1], and its sample rate in Hz."""
        try:
            sound = read_channels(self.audio_bytes(i))
        except AudioError as error:
            raise ShardError(
                f"{self.path}: the sound of example {self.keys[i]} cannot be decoded "
                f"({error.reason}); make the shard again"
            ) from error
        return sound.channels, sound.sample_rate

    def audio_bytes(self, i: int) -> bytes:
        """The sound of example i as the file it is stored as, FLAC in our own shards."""
        return self._read([self._members[i].audio])[0]

    def frames(self, i: int) -> list[bytes]:
        """The pictures of example i in order, as the files they are stored as."""
        return self._read(self._members[i].frames)

    def n_frames(self, i: int) -> int:
        """How many pictures example i has; reads nothing."""
        return len(self._members[i].frames)

    def _read(self, places: Iterable[Place]) -> list[bytes]:
        contents = []
        try:
            with open(self.path, "rb") as file:
                for place in places:
                    file.seek(place.offset)
                    contents.append(file.read(place.size))
                    if len(contents[-1]) < place.size:
                        raise cut_off(self.path)
        except OSError as error:
            raise ShardError(f"{self.path}: cannot be read ({error.strerror})") from error
        return contents


class ShardFolder:
    """A folder of shards, or several, one after the other.

    shards: their paths, sorted in each folder. counts: (n_shards,) int64 examples of each.
    Raises ShardError if there is no shard in a folder. A damaged shard is found when it is counted.
    """

    def __init__(self, folder: ShardPaths, *, n_open: int = 8) -> None:
        self.folders = (folder,) if isinstance(folder, Path) else tuple(folder)
        self.shards = [path for one in self.folders for path in _shards_in(one)]
        self._opened = RecentlyUsed(self._open, n_open)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Examples of each shard, from the first line of its index."""
        return np.array([read_summary(path).n_examples for path in self.shards], np.int64)

    def __len__(self) -> int:
        return int(self.counts.sum())

    def __str__(self) -> str:
        return ", ".join(map(str, self.folders))

    @property
    def folder(self) -> Path:
        """The folder, or the first of several."""
        return self.folders[0]

    def digest(self, n: int) -> str:
        """The digest of shard number n, from the first line of its index."""
        return read_summary(self.shards[n]).digest

    def open(self, n: int) -> Shard:
        """Shard number n; the ones used last stay open. Raises ShardError."""
        return self._opened(n)

    def _open(self, n: int) -> Shard:
        return Shard(self.shards[n])


def _shards_in(folder: Path) -> list[Path]:
    shards = sorted(folder.glob("*.tar"))
    if not shards:
        what = "no shards (*.tar)" if folder.is_dir() else "no such folder"
        raise ShardError(
            f"{folder}: {what}; make shards with `soundsearch train extract` or "
            "`soundsearch train shards`"
        )
    return shards
