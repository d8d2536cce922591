"""The videos of a folder, and which stretches of them become examples."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from soundsearch.audio.suffixes import VIDEO_SUFFIXES, may_hold_sound
from soundsearch.bench.datasets.audioset import is_segments, parse_segment
from soundsearch.files import open_regular
from soundsearch.tables import Table
from trainer.data.example import ShardError
from trainer.data.lines import Lines, ManifestError
from trainer.data.manifest_examples import Cells, GroupedRows, as_seconds, captions_of, labels_of


@dataclass(frozen=True)
class Span:
    """A stretch of a video that becomes an example, in seconds, and what is said of it."""

    begin_s: float
    end_s: float
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Video:
    """A video of a folder.

    name: its path below it. spans: its examples; None: one after the other. ytid: of a video of
    AudioSet, whose only span it holds, or is already.
    """

    folder: Path
    name: str
    spans: tuple[Span, ...] | None = None
    ytid: str | None = None


def find_videos(folder: Path) -> list[str]:
    """Names of all videos below a folder, by their endings, sorted. Raises ShardError."""
    if not folder.is_dir():
        raise ShardError(f"{folder}: no such folder; give the one that holds the videos")
    names = [
        os.path.relpath(os.path.join(place, name), folder)
        for place, _, files in os.walk(folder)
        for name in files
        if not name.startswith(".")
        and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES
        and may_hold_sound(os.path.join(place, name))
    ]
    if not names:
        raise ShardError(
            f"{folder}: holds no videos (files ending in {' '.join(sorted(VIDEO_SUFFIXES))})"
        )
    return sorted(names)


class SegmentedVideos:
    """The videos that a CSV file of segments names, read when they are asked for.

    Columns file, begin_s, end_s, and caption and labels if they are known; rows of the same
    segment are one example with several captions. Raises ManifestError naming the line.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        table = Table(path, ManifestError)
        table.require(["file", "begin_s", "end_s"])
        self._folder = folder
        self._groups = GroupedRows(table, ["file"], _check_segment)

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, i: int) -> Video:
        rows = self._groups[i]
        spans: dict[tuple[float, float], list[Cells]] = {}
        for row in rows:
            spans.setdefault((float(row["begin_s"]), float(row["end_s"])), []).append(row)
        return Video(
            self._folder,
            rows[0]["file"],
            tuple(Span(*span, captions_of(r), labels_of(r)) for span, r in spans.items()),
        )


def segmented_videos(path: Path, folder: Path) -> SegmentedVideos | AudioSetVideos:
    """The videos that a file of segments names: our own columns, or AudioSet as it is published."""
    try:
        with open_regular(path) as file:
            beginning = file.read(1000)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror})") from error
    kind = AudioSetVideos if is_segments(beginning) else SegmentedVideos
    return kind(path, folder)


class AudioSetVideos:
    """The videos of a list of AudioSet, found below a folder by the names that programs give them.

    A video is called as a recording in `manifest_examples.py`. One that is missing is named by its YTID.
    Raises ManifestError naming the line.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._segments, self._folder = Lines(path, parse_segment), folder
        self._names = {
            os.path.splitext(os.path.basename(name))[0]: name for name in find_videos(folder)
        }

    def __len__(self) -> int:
        return len(self._segments)

    def __getitem__(self, i: int) -> Video:
        segment = self._segments[i]
        name = next(
            (self._names[stem] for stem in segment.stems if stem in self._names), segment.ytid
        )
        span = Span(segment.begin_s, segment.end_s, labels=segment.labels)
        return Video(self._folder, name, (span,), segment.ytid)


def _check_segment(row: Cells, where: str) -> None:
    begin_s, end_s = (as_seconds(row[name], f"{where}: {name}") for name in ("begin_s", "end_s"))
    if not 0 <= begin_s < end_s:
        raise ManifestError(
            f"{where}: need 0 <= begin_s < end_s, not {row['begin_s']} and {row['end_s']}"
        )


class WholeVideos:
    """The videos of a folder, each to be cut from its beginning to its end. names: their paths."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.names = folder, find_videos(folder)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Video:
        return Video(self._folder, self.names[i])

    def digest(self) -> str:
        """A short hash over the videos' paths and sizes, by which other files are noticed."""
        digest = hashlib.sha256()
        for name in self.names:
            path = self._folder / name
            n_bytes = path.stat().st_size if path.exists() else -1
            digest.update(f"{name}\t{n_bytes}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]
