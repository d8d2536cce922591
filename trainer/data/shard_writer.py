"""Write examples into shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from soundsearch.files import put_in_place
from trainer.data.example import Example, ShardError, image_suffix
from trainer.data.shard_index import make_index

#: The largest shards a network file system still likes are some hundred megabytes.
EXAMPLES_PER_SHARD = 500


def shard_path(folder: Path, number: int) -> Path:
    """The path of the shard with this number."""
    return folder / f"shard-{number:06d}.tar"


class ShardWriter:
    """One shard being written: `add` examples, then `finish`. What is not finished stays a .part.

    Keys are the shard's number and the place in it, such as 000003-00017, so that no two examples of
    a folder share one and the same examples always give the same bytes.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.path = shard_path(folder, number)
        self.n_examples = 0
        self._number = number
        self._part = self.path.with_suffix(".tar.part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self._part, "wb")  # noqa: SIM115 - closed by `finish` and `close`
        except OSError as error:
            raise ShardError(f"{self._part}: cannot be written ({error.strerror})") from error
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, example: Example) -> str:
        """Append an example and return its key. Raises ShardError for what no reader would accept."""
        times, n_frames = example.facts.frame_times_s, len(example.frames)
        if times and len(times) != n_frames:
            raise ShardError(
                f"{example.facts.source}: {n_frames} frames and {len(times)} frame times; "
                "there must be as many, or no times"
            )
        suffixes = [image_suffix(frame) for frame in example.frames]
        if None in suffixes:
            raise ShardError(
                f"{example.facts.source}: frame {suffixes.index(None)} is no JPEG, PNG or WebP file"
            )
        key = f"{self._number:06d}-{self.n_examples:05d}"
        try:
            self._member(f"{key}.flac", example.audio)
            for i, (frame, suffix) in enumerate(zip(example.frames, suffixes, strict=True)):
                self._member(f"{key}.{i}.{suffix}", frame)
            self._member(f"{key}.json", json.dumps(asdict(example.facts)).encode())
        except OSError as error:
            raise ShardError(f"{self._part}: cannot be written ({error.strerror})") from error
        self.n_examples += 1
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
        make_index(self.path)
        return self.path

    def close(self) -> None:
        """Let go of an unfinished shard; no effect on a finished one."""
        self._file.close()


def write_shards(
    examples: Iterable[Example],
    folder: Path,
    *,
    examples_per_shard: int = EXAMPLES_PER_SHARD,
    first: int = 0,
) -> list[Path]:
    """Write examples in order into shards numbered from `first` on and return their paths.

    Every shard but the last holds examples_per_shard examples; no examples, no shard. Raises ShardError.
    """
    paths: list[Path] = []
    writer: ShardWriter | None = None
    try:
        for example in examples:
            writer = writer or ShardWriter(folder, first + len(paths))
            writer.add(example)
            if writer.n_examples == examples_per_shard:
                paths.append(writer.finish())
                writer = None
        if writer is not None:
            paths.append(writer.finish())
    finally:
        if writer is not None:
            writer.close()
    return paths
