"""FFmpeg through PyAV: opening a container, what kind it is, and the packets in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import av

#: Containers whose time stamps never pause, except in films: a gap in them is lost sound.
CONTINUOUS = frozenset(["flac", "ogg", "mp3", "wv", "caf"])
#: Containers with a clock of their own, so that sound may begin late. In others time stamps are
#: counted from the packets, of which the first ones may be no sound.
CLOCKED = frozenset(
    [
        "asf",
        "avi",
        "dv",
        "flv",
        "gxf",
        "matroska",
        "mov",
        "mpeg",
        "mpegts",
        "mxf",
        "nut",
        "ogg",
        "rm",
        "wtv",
    ]
)
#: Containers that say where each packet ends. In other files packets are found by their first
#: bytes, so that what is no sound at all may look like one.
PACKETED = frozenset(
    ["mov", "matroska", "asf", "avi", "flv", "caf", "ogg", "rm", "mxf", "wtv", "wv", "tta"]
)
#: So many failures of the demultiplexer in a row, without a packet between them, end the file.
MOST_FAILURES = 100


class FFmpegSource:
    """A file as FFmpeg reads it: a seek to where a damaged header points may fail in silence."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell = file.read, file.tell
        self._file = file

    def seek(self, offset: int, whence: int) -> int:
        """As of a file, or -1."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1


def ffmpeg_errors() -> tuple[type[Exception], ...]:
    """What PyAV raises for a file that it cannot read."""
    import av

    return av.FFmpegError, OSError, ValueError, EOFError


def open_container(
    file: BinaryIO, form: str | None = None, options: dict[str, str] | None = None
) -> Any:
    """A PyAV container of a file, read from its beginning.

    Args:
        file: Opened for reading; closing the container leaves it open.
        form: FFmpeg's name of the format, None to detect it.
        options: For FFmpeg's demultiplexer.

    Raises:
        ffmpeg_errors: One of those that it lists, where FFmpeg cannot open the file.
    """
    import av

    av.logging.set_level(None)
    file.seek(0)
    # A list of other files (a playlist, say) must not make us open them.
    safe = {"protocol_whitelist": "", **(options or {})}
    return av.open(FFmpegSource(file), format=form, options=safe)


def start_of(container: Any) -> float:
    """The time stamp, in seconds, at which a player shows 0: where the earliest stream starts."""
    import av

    return float((container.start_time or 0) / av.time_base)


def end_of(container: Any) -> float | None:
    """How long the file declares to be, in seconds from its start; None where it does not."""
    import av

    if container.duration is None:
        return None
    end_s = float(container.duration / av.time_base)
    # Matroska counts from 0, wherever its first time stamp lies.
    return end_s - (start_of(container) if form_of(container) == "matroska" else 0.0)


def form_of(container: Any) -> str:
    """The short name of a container's format, such as mov."""
    return str(container.format.name.split(",")[0])


def has_pictures(container: Any) -> bool:
    """Whether it is a film. Covers of albums are streams of pictures, too."""
    import av

    cover = av.stream.Disposition.attached_pic
    return any(not stream.disposition & cover for stream in container.streams.video)


def packets_of(
    container: Any, indices: Sequence[int], failed: Callable[[], None]
) -> Iterator[av.Packet]:
    """The packets of some streams from here on, past what the demultiplexer cannot read.

    indices: numbers of the streams. failed: is called whenever the demultiplexer fails.
    """
    streams = [container.streams[i] for i in indices]
    errors = ffmpeg_errors()
    n_failures = 0
    while n_failures < MOST_FAILURES:
        try:
            for packet in container.demux(streams):
                yield packet
                n_failures = 0
            return
        except EOFError:
            return
        except errors:
            n_failures += 1
            failed()
