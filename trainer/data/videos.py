"""The videos of a folder, and which stretches of them become examples."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from soundsearch.audio.suffixes import VIDEO_SUFFIXES, may_hold_sound
from soundsearch.bench.datasets.audioset import Segment, is_segments, parse_segment
from soundsearch.files import open_regular
from soundsearch.tables import Table
from trainer.data.example import ShardError
from trainer.data.lines import Lines, ManifestError
from trainer.data.manifest_examples import Cells, GroupedRows, as_seconds, captions_of, labels_of
from trainer.data.pack import Mapped, Sources


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


def whole_videos(folder: Path) -> Mapped[Video]:
    """The videos of a folder, each to be cut from its beginning to its end. Raises ShardError."""
    return Mapped(find_videos(folder), functools.partial(Video, folder))


def digest_of(videos: Sources[Video]) -> str:
    """A short hash over the videos' paths and sizes, by which other files are noticed."""
    digest = hashlib.sha256()
    for i in range(len(videos)):
        path = videos[i].folder / videos[i].name
        n_bytes = path.stat().st_size if path.exists() else -1
        digest.update(f"{videos[i].name}\t{n_bytes}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def segmented_videos(path: Path, folder: Path) -> Mapped[Video]:
    """The videos that a file of segments names, read when they are asked for.

    The file is a list of AudioSet as it is published; or has the columns file, begin_s, end_s, and
    caption and labels if they are known, where rows of the same segment are one example with several
    captions. Raises ManifestError naming the line.
    """
    try:
        with open_regular(path) as file:
            beginning = file.read(1000)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror})") from error
    if is_segments(beginning):
        return _audioset_videos(path, folder)
    table = Table(path, ManifestError)
    table.require(["file", "begin_s", "end_s"])
    groups = GroupedRows(table, ["file"], _check_segment)
    return Mapped(groups, functools.partial(_of_rows, folder))


def _of_rows(folder: Path, rows: list[Cells]) -> Video:
    spans: dict[tuple[float, float], list[Cells]] = {}
    for row in rows:
        spans.setdefault((float(row["begin_s"]), float(row["end_s"])), []).append(row)
    found = (Span(*span, captions_of(some), labels_of(some)) for span, some in spans.items())
    return Video(folder, rows[0]["file"], tuple(found))


def _audioset_videos(path: Path, folder: Path) -> Mapped[Video]:
    """The videos of a list of AudioSet, found below a folder by the names that programs give them.

    A video is called as a recording in `manifest_examples.py`. One that is missing is named by its
    YTID.
    """
    segments = Lines(path, parse_segment)
    names = {os.path.splitext(os.path.basename(name))[0]: name for name in find_videos(folder)}

    def video(segment: Segment) -> Video:
        name = next((names[stem] for stem in segment.stems if stem in names), segment.ytid)
        span = Span(segment.begin_s, segment.end_s, labels=segment.labels)
        return Video(folder, name, (span,), segment.ytid)

    return Mapped(segments, video)


def _check_segment(row: Cells, where: str) -> None:
    begin_s, end_s = (as_seconds(row[name], f"{where}: {name}") for name in ("begin_s", "end_s"))
    if not 0 <= begin_s < end_s:
        raise ManifestError(
            f"{where}: need 0 <= begin_s < end_s, not {row['begin_s']} and {row['end_s']}"
        )
