"""Cut videos into examples: stretches of sound with the pictures of the same time.

Each video is decoded once, from its beginning where stretches cover it, and from shortly before
each stretch where they lie far apart. Of a stretch the video frames at b + i * (e - b) / 3 for
i = 0..3 are taken, b and e being its begin and end, where the frame at a time is the last one that
begins by then. Source: VIP-ANT (arXiv 2112.08995), frame times of its companion download scripts.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from soundsearch.errors import AudioError
from soundsearch.progress import Progress, Silent
from trainer.data.example import Example, ExampleFacts
from trainer.data.film import CUT_OFF_S, Film, NoVideoError
from trainer.data.manifest_examples import SPARE_S, file_digest
from trainer.data.pack import Outcome, Problem, Report, pack
from trainer.data.part import Part
from trainer.data.shard_writer import EXAMPLES_PER_SHARD
from trainer.data.sound_files import flac
from trainer.data.videos import Span, Video, digest_of, segmented_videos, whole_videos

if TYPE_CHECKING:
    import av

Array = NDArray[np.float32]

#: A gap between segments that is sought over rather than decoded.
SEEK_GAP_S = 10.0
#: Sound that ends so little before an example does reaches its end; codecs round by less.
SOUND_GAP_S = 0.1
#: An example that begins so long after the last picture has none.
PICTURE_GONE_S = 1.0
#: Times of frames that lie so little apart are the same.
SAME_TIME_S = 1e-4
#: When the sound is so far ahead of the pictures, no more pictures are waited for.
PATIENCE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """How examples are cut.

    example_s: the longest example. shortest_s: a last remainder below it is dropped. n_frames: pictures of each.
    size: short side in pixels to which larger frames are shrunk. quality: of their JPEG, 1 to 95.
    """

    example_s: float = 10.0
    shortest_s: float = 1.0
    n_frames: int = 4
    size: int = 256
    quality: int = 90

    def __post_init__(self) -> None:
        if not 0 < self.shortest_s <= self.example_s:
            raise ValueError(
                f"need 0 < shortest_s <= example_s, not {self.shortest_s} and {self.example_s}"
            )
        if self.n_frames < 1 or self.size < 1 or not 1 <= self.quality <= 95:
            raise ValueError("need n_frames and size of 1 or more and a quality from 1 to 95")


def extract(
    folder: Path,
    out: Path,
    config: ExtractConfig,
    *,
    segments: Path | None = None,
    examples_per_shard: int = EXAMPLES_PER_SHARD,
    n_workers: int | None = None,
    part: Part | None = None,
    progress: Progress | None = None,
) -> Report:
    """Shards in `out` of the examples of all videos below a folder; an interrupted run goes on.

    segments: a CSV file that names the examples; default: each video from beginning to end.
    n_workers: videos decoded at a time; default: one a core. part: the videos to work on.
    Raises ShardError as `pack` does, and ManifestError for the CSV file.
    """
    progress = progress or Silent()
    progress.begin("finding videos")
    videos = segmented_videos(segments, folder) if segments else whole_videos(folder)
    digest = (
        {"segments_digest": file_digest(segments)}
        if segments
        else {"videos_digest": digest_of(videos)}
    )
    return pack(
        videos,
        lambda video: read_examples(video, config),
        out,
        {"command": "train extract", "videos": len(videos), **digest, **asdict(config)},
        examples_per_shard=examples_per_shard,
        n_workers=n_workers or os.cpu_count() or 1,
        part=part,
        progress=progress,
    )


def frame_times(begin_s: float, end_s: float, n_frames: int) -> list[float]:
    """When an example's frames are taken: from its begin to its end, evenly; one alone in the middle."""
    if n_frames == 1:
        return [(begin_s + end_s) / 2]
    return [begin_s + i * (end_s - begin_s) / (n_frames - 1) for i in range(n_frames)]


def read_examples(video: Video, config: ExtractConfig) -> Iterator[Outcome]:
    """The examples of a video in the order of their begins, then its problem if it has one."""
    n_examples = 0
    reasons: list[str] = []
    try:
        for found in _examples(video, config):
            if isinstance(found, str):
                reasons.append(found)
            else:
                n_examples += 1
                yield found
    except AudioError as error:
        reasons.append(error.reason)
    except NoVideoError as error:
        reasons.append(str(error))
    if n_examples == 0 and not reasons:
        reasons.append(f"it is shorter than {config.shortest_s:g} s")
    if reasons:
        yield Problem(video.name, "; ".join(reasons), n_examples)


def _examples(video: Video, config: ExtractConfig) -> Iterator[Example | str]:
    """Examples, and reasons why there are not more."""
    with closing(Film(video.folder / video.name)) as film:
        spans = _spans(video, film.sound_s, config)
        usable = [
            replace(span, end_s=min(span.end_s, film.sound_s))
            for span in sorted(spans, key=lambda span: span.begin_s)
            if min(span.end_s, film.sound_s) - span.begin_s >= config.shortest_s
            and (span.end_s <= film.sound_s or not film.is_cut_off)
        ]
        if video.spans is not None and len(usable) < len(spans):
            yield (
                f"{len(spans) - len(usable)} of {len(spans)} segments lie beyond the end of its "
                f"sound ({film.sound_s:.1f} s) or are shorter than {config.shortest_s:g} s"
            )
        for group in _groups(usable):
            for facts, channels, frames in _cut(film, group, video.ytid or video.name, config):
                yield Example(facts, flac(channels, film.sample_rate, film.bits), frames)
        yield from film.complaints()


def _spans(video: Video, sound_s: float, config: ExtractConfig) -> Sequence[Span]:
    """The spans of a video; a video that is no longer than its one span is that span already."""
    if video.spans is None:
        return _consecutive(sound_s, config)
    if video.ytid is not None:
        (span,) = video.spans
        if sound_s <= span.end_s - span.begin_s + SPARE_S:
            return [replace(span, begin_s=0.0, end_s=sound_s)]
    return video.spans


def _consecutive(sound_s: float, config: ExtractConfig) -> list[Span]:
    n_spans = int(np.ceil(sound_s / config.example_s))
    return [Span(i * config.example_s, (i + 1) * config.example_s) for i in range(n_spans)]


def _groups(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans that are decoded in one go: each begins where the one before ends, or soon after."""
    groups: list[list[Span]] = []
    for span in spans:
        if groups and 0 <= span.begin_s - groups[-1][-1].end_s <= SEEK_GAP_S:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


#: An example before its sound is encoded.
_Cut = tuple[ExampleFacts, Array, tuple[bytes, ...]]


def _cut(film: Film, spans: Sequence[Span], source: str, config: ExtractConfig) -> Iterator[_Cut]:
    """The examples of spans that follow each other, after a seek if the first is far off."""
    begin_s = spans[0].begin_s
    if begin_s > SEEK_GAP_S and film.seek(begin_s):
        try:
            yield from _one_pass(film, spans, source, config, sought=True)
            return
        except _LandedLateError:
            pass  # a damaged index
    film.rewind()
    yield from _one_pass(film, spans, source, config, sought=False)


def _one_pass(
    film: Film, spans: Sequence[Span], source: str, config: ExtractConfig, *, sought: bool
) -> Iterator[_Cut]:
    sound = _Sound(film.sample_rate)
    pictures = _Pictures(spans, config, film.pixel_aspect)
    waiting = deque(spans)

    def example(span: Span) -> Iterator[_Cut]:
        channels, end_s = sound.cut(span.begin_s, span.end_s)
        frames = [frame for frame in pictures.of_next() if frame.time_s <= end_s + CUT_OFF_S]
        if not frames or frames[-1].time_s < span.begin_s - PICTURE_GONE_S:
            film.n_without_pictures += 1
            return
        facts = ExampleFacts(
            source=source,
            begin_s=span.begin_s,
            end_s=end_s,
            sample_rate=film.sample_rate,
            frame_times_s=tuple(frame.time_s for frame in frames),
            captions=span.captions,
            labels=span.labels,
        )
        yield facts, channels, tuple(frame.jpeg for frame in frames)

    for time_s, content in film.decoded():
        if isinstance(content, np.ndarray):
            if sought and sound.end_s is None and (time_s or 0.0) > spans[0].begin_s + SOUND_GAP_S:
                raise _LandedLateError
            film.end_s = max(film.end_s, sound.add(content, time_s))
        else:
            film.end_s = max(film.end_s, pictures.add(content, time_s))
        while waiting and sound.has(waiting[0].end_s):
            if not pictures.are_ready() and not sound.has(waiting[0].end_s + PATIENCE_S):
                break
            yield from example(waiting.popleft())
        if not waiting:
            return
    # The end of the file: what is left gets what there is.
    film.is_cut_off = film.end_s < film.declared_s - CUT_OFF_S
    for span in waiting:
        is_whole = sound.has(span.end_s - SOUND_GAP_S) and pictures.reach(span.end_s - CUT_OFF_S)
        if film.is_cut_off and not is_whole:
            break
        if sound.has(span.begin_s + config.shortest_s):
            yield from example(span)
        else:
            film.n_without_sound += 1


class _LandedLateError(Exception):
    """A seek led to a place after the one asked for."""


class _Sound:
    """The sound of a pass, from which examples are cut in order. end_s: of what has come so far."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._blocks: list[Array] = []
        self._begin = 0  # place in the video of the first sample held
        self._end: int | None = None

    @property
    def end_s(self) -> float | None:
        return None if self._end is None else self._end / self._rate

    def has(self, time_s: float) -> bool:
        """Whether the sound up to a time has come."""
        return self._end is not None and self._end >= round(time_s * self._rate)

    def add(self, block: Array, begin_s: float | None) -> float:
        """Take the next samples; returns where they end. begin_s: where the first ones begin."""
        if self._end is None:
            self._begin = self._end = round((begin_s or 0.0) * self._rate)
        self._blocks.append(block)
        self._end += block.shape[1]
        return self._end / self._rate

    def cut(self, begin_s: float, end_s: float) -> tuple[Array, float]:
        """The samples of a stretch and where they end; what lies before the end is let go."""
        held = np.concatenate(self._blocks, axis=1)
        begin, end = round(begin_s * self._rate), round(end_s * self._rate)
        n_late = max(0, self._begin - begin)  # sound that begins after the pictures
        channels = held[:, max(0, begin - self._begin) : max(0, end - self._begin)]
        channels = np.pad(channels, ((0, 0), (min(n_late, end - begin), 0)))
        n_gone = min(max(0, end - self._begin), held.shape[1])
        self._blocks, self._begin = [held[:, n_gone:].copy()], self._begin + n_gone
        return channels, (begin + channels.shape[1]) / self._rate


@dataclass(frozen=True)
class _Frame:
    time_s: float
    jpeg: bytes


class _Pictures:
    """The frames of a pass: the last one that begins by each time that an example wants."""

    def __init__(self, spans: Iterable[Span], config: ExtractConfig, pixel_aspect: float) -> None:
        self._config, self._aspect = config, pixel_aspect
        self._wanted = deque(
            deque(frame_times(span.begin_s, span.end_s, config.n_frames)) for span in spans
        )
        self._picked: deque[list[_Frame]] = deque([[]])
        self._latest: tuple[float, av.VideoFrame] | None = None
        self._encoded: _Frame | None = None

    def add(self, frame: av.VideoFrame, time_s: float | None) -> float:
        """Take the next frame; returns its time. One without a time has that of the one before."""
        if time_s is None:
            time_s = self._latest[0] if self._latest else 0.0
        while self._wanted and self._wanted[0][0] < time_s - SAME_TIME_S:
            self._pick(self._latest or (time_s, frame))
        self._latest = time_s, frame
        return time_s

    def _pick(self, latest: tuple[float, av.VideoFrame] | None) -> None:
        """Take this frame for the next wanted time."""
        self._wanted[0].popleft()
        if latest is not None:
            if self._encoded is None or self._encoded.time_s != latest[0]:
                jpeg = _jpeg(latest[1], self._aspect, self._config)
                self._encoded = _Frame(latest[0], jpeg) if jpeg else None
            if self._encoded is not None:
                self._picked[-1].append(self._encoded)
        if not self._wanted[0]:
            self._wanted.popleft()
            self._picked.append([])

    def are_ready(self) -> bool:
        """Whether the next example has all its frames."""
        return len(self._picked) > 1

    def reach(self, time_s: float) -> bool:
        """Whether a frame at or after a time has come."""
        return self._latest is not None and self._latest[0] >= time_s

    def of_next(self) -> list[_Frame]:
        """The frames of the next example; the last frame is taken where no later one has come."""
        while not self.are_ready():
            self._pick(self._latest)
        return self._picked.popleft()


def _jpeg(frame: av.VideoFrame, pixel_aspect: float, config: ExtractConfig) -> bytes | None:
    """A frame the way it is meant to be seen, shrunk; None if it cannot be converted."""
    import av

    width, height = frame.width * pixel_aspect, float(frame.height)
    scale = min(1.0, config.size / min(width, height))
    file = io.BytesIO()
    try:
        image = frame.to_image(
            width=max(1, round(width * scale)),
            height=max(1, round(height * scale)),
            interpolation="AREA",
        )
        if frame.rotation:
            image = image.rotate(frame.rotation, expand=True)
        image.save(file, "JPEG", quality=config.quality)
    except (av.FFmpegError, ValueError, OSError):
        return None
    return file.getvalue()
