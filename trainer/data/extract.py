"""Videos to clips: stretches of sound with the frames that were shown meanwhile.

Each video is decoded once, from its beginning where clips cover it, and from near each clip where
they lie far apart. Of a clip the frames at b + i * (e - b) / 3 for i = 0..3 are taken, b and e
being its begin and end, where the frame at a time is the last one that is shown by then. Source:
VIP-ANT (arXiv 2112.08995), frame times of its companion download scripts.
"""

from __future__ import annotations

import hashlib
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

from soundsearch.audio.demux import (
    FFmpegDecoder,
    SoundTrack,
    end_of,
    ffmpeg_errors,
    open_container,
    packets_of,
    start_of,
)
from soundsearch.audio.recording import is_silent, unreadable
from soundsearch.audio.suffixes import VIDEO_SUFFIXES, may_hold_sound
from soundsearch.errors import AudioError
from soundsearch.files import open_regular
from soundsearch.progress import Progress
from trainer.data.manifests import ManifestError
from trainer.data.pack import Problem, Report, Sources, Told, pack
from trainer.data.shards import CLIPS_PER_SHARD, ClipFacts, PackedClip, ShardError
from trainer.data.sources import (
    CsvGroups,
    Row,
    as_seconds,
    captions_of,
    csv_columns,
    file_digest,
    labels_of,
)
from trainer.data.waveforms import flac

if TYPE_CHECKING:
    import av

Array = NDArray[np.float32]

#: A gap between segments that is sought over rather than decoded.
SEEK_GAP_S = 10.0
#: Sound that ends so little before a clip does reaches its end; codecs round by less.
SOUND_GAP_S = 0.1
#: So much less than its header tells makes a video cut off; headers round by less.
CUT_OFF_S = 1.0
#: A clip that begins so long after the last picture has none.
PICTURE_GONE_S = 1.0
#: Times of frames so near to each other are the same.
SAME_TIME_S = 1e-4
#: A header that promises more seconds than the file could hold is not believed.
LEAST_BYTES_PER_S = 50
#: When the sound is so far ahead of the pictures, no more pictures are waited for.
PATIENCE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """How clips are cut.

    clip_s: the longest clip. shortest_s: a last remainder below it is dropped. n_frames: a clip.
    size: short side in pixels to which larger frames are shrunk. quality: of their JPEG, 1 to 95.
    """

    clip_s: float = 10.0
    shortest_s: float = 1.0
    n_frames: int = 4
    size: int = 256
    quality: int = 90

    def __post_init__(self) -> None:
        if not 0 < self.shortest_s <= self.clip_s:
            raise ValueError(
                f"need 0 < shortest_s <= clip_s, not {self.shortest_s} and {self.clip_s}"
            )
        if self.n_frames < 1 or self.size < 1 or not 1 <= self.quality <= 95:
            raise ValueError("need n_frames and size of 1 or more and a quality from 1 to 95")


@dataclass(frozen=True)
class Span:
    """A stretch of a video that becomes a clip, in seconds, and what is said of it."""

    begin_s: float
    end_s: float
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Video:
    """A video of a folder. name: its path below it. spans: its clips; None: one after the other."""

    folder: Path
    name: str
    spans: tuple[Span, ...] | None = None


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
    segment are one clip with several captions. Raises ManifestError naming the line.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        missing = {"file", "begin_s", "end_s"} - set(columns := csv_columns(path))
        if missing:
            raise ManifestError(
                f"{path}: lacks {', '.join(sorted(missing))}; its columns are "
                f"{', '.join(columns)}; expected file,begin_s,end_s (caption, labels)"
            )
        self._folder = folder
        self._groups = CsvGroups(path, "file", _check_segment)

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, i: int) -> Video:
        rows = self._groups[i]
        spans: dict[tuple[float, float], list[Row]] = {}
        for row in rows:
            spans.setdefault((float(row["begin_s"]), float(row["end_s"])), []).append(row)
        return Video(
            self._folder,
            rows[0]["file"],
            tuple(Span(*span, captions_of(r), labels_of(r)) for span, r in spans.items()),
        )


def _check_segment(row: Row, where: str) -> None:
    if not row["file"]:
        raise ManifestError(f"{where}: file is empty")
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


def extract(
    folder: Path,
    out: Path,
    config: ExtractConfig,
    *,
    segments: Path | None = None,
    clips_per_shard: int = CLIPS_PER_SHARD,
    n_workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Shards in `out` of the clips of all videos below a folder; an interrupted run goes on.

    segments: a CSV file that names the clips; default: each video from beginning to end.
    n_workers: videos decoded at a time; default: one a core.
    Raises ShardError as `pack` does, and ManifestError for the CSV file.
    """
    videos: Sources[Video]
    if segments is None:
        videos = whole = WholeVideos(folder)
        which = {"videos": len(whole), "videos_digest": whole.digest()}
    else:
        videos = SegmentedVideos(segments, folder)
        which = {"videos": len(videos), "segments_digest": file_digest(segments)}
    return pack(
        videos,
        lambda video: read_clips(video, config),
        out,
        {"command": "train extract", **which, **asdict(config)},
        clips_per_shard=clips_per_shard,
        n_workers=n_workers or os.cpu_count() or 1,
        progress=progress,
    )


def frame_times(begin_s: float, end_s: float, n_frames: int) -> list[float]:
    """When a clip's frames are taken: from its begin to its end, evenly; one alone in the middle."""
    if n_frames == 1:
        return [(begin_s + end_s) / 2]
    return [begin_s + i * (end_s - begin_s) / (n_frames - 1) for i in range(n_frames)]


def read_clips(video: Video, config: ExtractConfig) -> Iterator[Told]:
    """The clips of a video in the order of their begins, then its problem if it has one."""
    n_clips = 0
    reasons: list[str] = []
    try:
        for found in _clips(video, config):
            if isinstance(found, str):
                reasons.append(found)
            else:
                n_clips += 1
                yield found
    except AudioError as error:
        reasons.append(error.reason)
    except _NoVideoError as error:
        reasons.append(str(error))
    if n_clips == 0 and not reasons:
        reasons.append(f"it is shorter than {config.shortest_s:g} s")
    if reasons:
        yield Problem(video.name, "; ".join(reasons), n_clips)


class _NoVideoError(Exception):
    """A file of which nothing can be taken, with the reason."""


def _clips(video: Video, config: ExtractConfig) -> Iterator[PackedClip | str]:
    """Clips, and reasons why there are not more."""
    with closing(_Film(video.folder / video.name)) as film:
        spans = _consecutive(film.sound_s, config) if video.spans is None else video.spans
        kept = [
            replace(span, end_s=min(span.end_s, film.sound_s))
            for span in sorted(spans, key=lambda span: span.begin_s)
            if min(span.end_s, film.sound_s) - span.begin_s >= config.shortest_s
            and (span.end_s <= film.sound_s or not film.is_cut_off)
        ]
        if video.spans is not None and len(kept) < len(spans):
            yield (
                f"{len(spans) - len(kept)} of {len(spans)} segments lie beyond the end of its "
                f"sound ({film.sound_s:.1f} s) or are shorter than {config.shortest_s:g} s"
            )
        for group in _groups(kept):
            for facts, channels, frames in _cut(film, group, video.name, config):
                yield PackedClip(facts, flac(channels, film.sample_rate, film.bits), frames)
        yield from film.complaints()


def _consecutive(sound_s: float, config: ExtractConfig) -> list[Span]:
    n_spans = int(np.ceil(sound_s / config.clip_s))
    return [Span(i * config.clip_s, (i + 1) * config.clip_s) for i in range(n_spans)]


def _groups(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans that are decoded in one go: each begins where the one before ends, or soon after."""
    groups: list[list[Span]] = []
    for span in spans:
        if groups and 0 <= span.begin_s - groups[-1][-1].end_s <= SEEK_GAP_S:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


#: A clip before its sound is encoded.
_Cut = tuple[ClipFacts, Array, tuple[bytes, ...]]


def _cut(film: _Film, spans: Sequence[Span], source: str, config: ExtractConfig) -> Iterator[_Cut]:
    """The clips of spans that follow each other, after a seek if the first is far off."""
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
    film: _Film, spans: Sequence[Span], source: str, config: ExtractConfig, *, sought: bool
) -> Iterator[_Cut]:
    sound = _Sound(film.sample_rate)
    pictures = _Pictures(spans, config, film.pixel_aspect)
    waiting = deque(spans)

    def clip(span: Span) -> Iterator[_Cut]:
        channels, end_s = sound.cut(span.begin_s, span.end_s)
        frames = [frame for frame in pictures.of_next() if frame.time_s <= end_s + CUT_OFF_S]
        if not frames or frames[-1].time_s < span.begin_s - PICTURE_GONE_S:
            film.n_without_pictures += 1
            return
        facts = ClipFacts(
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
            yield from clip(waiting.popleft())
        if not waiting:
            return
    # The end of the file: what is left gets what there is.
    film.is_cut_off = film.end_s < film.told_s - CUT_OFF_S
    for span in waiting:
        is_whole = sound.has(span.end_s - SOUND_GAP_S) and pictures.reach(span.end_s - CUT_OFF_S)
        if film.is_cut_off and not is_whole:
            break
        if sound.has(span.begin_s + config.shortest_s):
            yield from clip(span)
        else:
            film.n_without_sound += 1


class _LandedLateError(Exception):
    """A seek led to a place after the one asked for."""


class _Film:
    """An opened video with sound and pictures; times count from its beginning, in seconds.

    sound_s: where its sound ends. told_s: where it all ends by its header. end_s: how far it has
    been read. is_cut_off: whether it ended long before told_s. n_damaged: packets left out.
    n_without_pictures, n_without_sound: clips dropped for want of any.
    Raises AudioError or _NoVideoError for what cannot be opened or lacks one of the two.
    """

    def __init__(self, path: Path) -> None:
        self.end_s = self.sound_s = self.told_s = 0.0
        self.is_cut_off = False
        self.n_damaged = self.n_without_pictures = self.n_without_sound = 0
        self._track_index: int | None = None
        try:
            self._file = open_regular(path, buffering=0)  # closed by `close`
        except OSError as error:
            raise unreadable(error) from error
        try:
            self._n_bytes = os.fstat(self._file.fileno()).st_size
            if self._n_bytes == 0:
                raise _NoVideoError("the file is empty (0 bytes)")
            self._open()
            self._find_ends()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        import av

        self._errors = ffmpeg_errors()
        try:
            self._container = open_container(self._file)
        except self._errors as error:
            raise _NoVideoError("no video, or cut off before its index") from error
        pictures = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic
            and stream.codec_context is not None
        ]
        if not pictures:
            without = "pictures" if self._container.streams.audio else "sound track"
            raise _NoVideoError(f"it has no {without}")
        self._pictures = pictures[0]
        self._pictures.thread_type = "NONE"  # videos are decoded side by side instead
        if self._track_index is None:
            self._choose_track()
        self._sound = self._container.streams[self._track_index]
        self._decoder = SoundTrack(self._sound, self._container, self.sample_rate, self.n_channels)
        self.pixel_aspect = float(self._pictures.sample_aspect_ratio or 1)
        self._start_s = start_of(self._container)
        self._is_at_start = True

    def _choose_track(self) -> None:
        """The sound track that a search reads, too, and what its first frame says of it."""
        self._container.close()
        with closing(FFmpegDecoder(self._file, is_silent=is_silent)) as found:
            self._track_index = found.track
            self.sample_rate, self.n_channels = found.sample_rate, found.n_channels
            self.bits = found.bits
        self._open()

    def _find_ends(self) -> None:
        """By the header where it tells how long the sound is; else by going through the packets."""
        told_s = end_of(self._container) or 0.0
        self.told_s = told_s if told_s <= self._n_bytes / LEAST_BYTES_PER_S else 0.0
        if self.told_s and self._sound.duration and self._sound.time_base:
            end = (self._sound.start_time or 0) + self._sound.duration
            self.sound_s = min(float(end * self._sound.time_base) - self._start_s, self.told_s)
            return
        for stream, end_s in self._packet_ends():
            self.end_s = max(self.end_s, end_s)
            if stream == self._sound.index:
                self.sound_s = max(self.sound_s, end_s)
        self.is_cut_off = self.end_s < self.told_s - CUT_OFF_S
        self.rewind()

    def _packet_ends(self) -> Iterator[tuple[int, float]]:
        """When each packet of sound and pictures ends; nothing is decoded."""
        self._is_at_start = False
        try:
            for packet in self._container.demux(self._sound, self._pictures):
                if packet.pts is not None and packet.time_base is not None:
                    end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    yield packet.stream.index, end - self._start_s
        except self._errors:
            return  # decoding will come to it too

    def seek(self, time_s: float) -> bool:
        """Go to a key frame at or before a time; whether that succeeded."""
        import av

        self.rewind()
        self._is_at_start = False
        try:
            self._container.seek(int((time_s + self._start_s) * av.time_base))
        except self._errors:
            return False
        return True

    def rewind(self) -> None:
        """Go back to the beginning, unless nothing has been read yet."""
        if not self._is_at_start:
            self._container.close()
            self._open()

    def decoded(self) -> Iterator[tuple[float | None, Array | av.VideoFrame]]:
        """Sound (channels, time) and pictures from here on as they come.

        With each picture comes its time, with each block of sound the time of the first one.
        """
        self._is_at_start = False
        track = self._decoder
        try:
            streams = self._sound.index, self._pictures.index
            for packet in packets_of(self._container, streams, track.fail):
                if packet.stream.index == self._sound.index:
                    for block in track.decode(packet):
                        yield track.start_s, block
                else:
                    yield from self._decoded_pictures(packet)
            for block in track.finish():
                yield track.start_s, block
        finally:
            self.n_damaged += track.n_damaged

    def _decoded_pictures(self, packet: av.Packet) -> Iterator[tuple[float | None, av.VideoFrame]]:
        try:
            frames = list(packet.decode())
        except self._errors:
            self.n_damaged += 1
            return
        for frame in frames:
            yield None if frame.time is None else frame.time - self._start_s, frame

    def complaints(self) -> Iterator[str]:
        """What was wrong with it, once all clips have been asked for."""
        if self.n_without_pictures:
            yield f"clips left out for want of pictures: {self.n_without_pictures}"
        if self.n_without_sound:
            yield f"clips left out for want of sound: {self.n_without_sound}"
        if self.is_cut_off:
            yield f"it is cut off or damaged after {self.end_s:.1f} s of {self.told_s:.1f} s"
        elif self.n_damaged:
            yield f"damaged packets were left out: {self.n_damaged}"

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        self._file.close()


class _Sound:
    """The sound of a pass, from which clips are cut in order. end_s: of what has come so far."""

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
        return self._append(block) / self._rate

    def _append(self, block: Array) -> int:
        self._blocks.append(block)
        self._end = (self._end or 0) + block.shape[1]
        return self._end

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
    """The frames of a pass: the one that is shown at each time at which a clip wants one."""

    def __init__(self, spans: Iterable[Span], config: ExtractConfig, pixel_aspect: float) -> None:
        self._config, self._aspect = config, pixel_aspect
        self._wanted = deque(
            deque(frame_times(span.begin_s, span.end_s, config.n_frames)) for span in spans
        )
        self._picked: deque[list[_Frame]] = deque([[]])
        self._shown: tuple[float, av.VideoFrame] | None = None
        self._encoded: _Frame | None = None

    def add(self, frame: av.VideoFrame, time_s: float | None) -> float:
        """Take the next frame; returns its time. One without a time is shown with the one before."""
        if time_s is None:
            time_s = self._shown[0] if self._shown else 0.0
        while self._wanted and self._wanted[0][0] < time_s - SAME_TIME_S:
            self._pick(self._shown or (time_s, frame))
        self._shown = time_s, frame
        return time_s

    def _pick(self, shown: tuple[float, av.VideoFrame] | None) -> None:
        """Let this frame be the next wanted one."""
        self._wanted[0].popleft()
        if shown is not None:
            if self._encoded is None or self._encoded.time_s != shown[0]:
                jpeg = _jpeg(shown[1], self._aspect, self._config)
                self._encoded = _Frame(shown[0], jpeg) if jpeg else None
            if self._encoded is not None:
                self._picked[-1].append(self._encoded)
        if not self._wanted[0]:
            self._wanted.popleft()
            self._picked.append([])

    def are_ready(self) -> bool:
        """Whether the next clip has all its frames."""
        return len(self._picked) > 1

    def reach(self, time_s: float) -> bool:
        """Whether a frame at or after a time has come."""
        return self._shown is not None and self._shown[0] >= time_s

    def of_next(self) -> list[_Frame]:
        """The frames of the next clip; the last frame is taken where no later one has come."""
        while not self.are_ready():
            self._pick(self._shown)
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
