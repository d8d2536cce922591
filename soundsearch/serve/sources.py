"""Recordings as files: found by their ids, opened only inside their roots, told by what plays them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from soundsearch.files import open_regular
from soundsearch.search.show import find_recording
from soundsearch.serve.http_errors import RequestError
from soundsearch.store import Reader, Recording
from soundsearch.urls import is_url

#: What browsers play: by the format that `RecordingFacts.format` begins with, the type of content,
#: the endings of names that go with it (none for any), and the codecs where it names one.
BROWSER_TYPES: dict[str, tuple[str, Sequence[str], Sequence[str]]] = {
    "WAV": ("audio/wav", (), ()),
    "WAVEX": ("audio/wav", (), ()),
    "FLAC": ("audio/flac", (), ("FLAC",)),
    "OGG": ("audio/ogg", (), ("VORBIS", "OPUS", "FLAC")),
    "MP3": ("audio/mpeg", (".mp3", ".mpga"), ("MP3",)),
    "MPEG": ("audio/mpeg", (".mp3", ".mpga"), ()),
    "AAC": ("audio/aac", (".aac", ".adts"), ("AAC",)),
    "MOV": ("audio/mp4", (".m4a", ".m4b", ".m4r", ".mp4", ".m4v"), ("AAC", "MP3", "FLAC")),
    "MATROSKA": ("audio/webm", (".webm", ".weba"), ("OPUS", "VORBIS")),
}
#: Encodings of WAV files that browsers play, by their tag and bits a sample: PCM and float.
WAV_ENCODINGS = {(1, 8), (1, 16), (1, 24), (1, 32), (3, 32)}
#: The tag of a WAV file whose encoding stands further on.
EXTENSIBLE = 0xFFFE
#: So much of a WAV file is looked through for its encoding.
WAV_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class Source:
    """A recording whose file is there, inside its root.

    Attributes:
        recording: What is stored of it.
        path: Where its file really lies, without links.
        format: As of `RecordingFacts`.
    """

    recording: Recording
    path: Path
    format: str | None


def source_of(reader: Reader, recording_id: int) -> Source:
    """Return the file of a recording.

    Raises:
        UnknownRecordingError: There is no such recording.
        RequestError: Its file is not there now (404), or a link leads out of its root (403).
    """
    recording = find_recording(reader, recording_id)
    facts = reader.facts(recording)
    named = facts.path
    if is_url(named):
        raise RequestError(404, f"{named}: it lies at a URL; download it, and open the copy")
    # The root itself may have moved behind a link; a file that is a root may not have.
    root = os.path.realpath(named.parent if recording.is_root else facts.root)
    real = os.path.realpath(named)
    expected = os.path.join(root, named.name) if recording.is_root else root
    if not os.path.exists(real):
        raise RequestError(
            404, f"{named}: not there now; mount its disk, or run: soundsearch index"
        )
    if real != expected and (recording.is_root or not Path(real).is_relative_to(expected)):
        raise RequestError(
            403,
            f"{named}: a link leads out of {facts.root}; index the folder that it leads to: "
            "soundsearch index FOLDER",
        )
    return Source(recording, Path(real), facts.format)


def opened(source: Source) -> BinaryIO:
    """Open the file of a source. Raises RequestError (404) if that is not possible."""
    try:
        file = open_regular(source.path)
    except OSError as error:
        raise RequestError(
            404, f"{source.path}: it cannot be read ({error.strerror or error})"
        ) from error
    if os.path.realpath(source.path) != str(source.path):  # a link took its place just now
        file.close()
        raise RequestError(403, f"{source.path}: it was replaced by a link; ask again")
    return file


def browser_type(path: Path, format_: str | None) -> str | None:
    """Return the type of content as which browsers play a recording; None if they do not.

    Args:
        path: Of the recording; its file is not looked at.
        format_: As of `RecordingFacts`.
    """
    container, _, codec = (format_ or "").upper().partition("/")
    type_, suffixes, codecs = BROWSER_TYPES.get(container, ("", (), ()))
    codec = codec.removeprefix("LIB").removesuffix("FLOAT")  # what FFmpeg calls its decoders
    if (suffixes and path.suffix.lower() not in suffixes) or (codec and codec not in codecs):
        return None
    return type_ or None


def plays_as(file: BinaryIO, source: Source) -> str | None:
    """Return the type as `browser_type`, after a look into the file: not every WAV is PCM."""
    found = browser_type(source.path, source.format)
    if found != "audio/wav":
        return found
    head = file.read(WAV_HEAD_BYTES)
    file.seek(0)
    return found if _wav_encoding(head) in WAV_ENCODINGS else None


def _wav_encoding(head: bytes) -> tuple[int, int] | None:
    """The tag and the bits a sample of a WAV file that begins so; None if it is none."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    place = 12
    while place + 24 <= len(head):
        size = int.from_bytes(head[place + 4 : place + 8], "little")
        if head[place : place + 4] == b"fmt ":
            tag, bits = (
                int.from_bytes(head[place + at : place + at + 2], "little") for at in (8, 22)
            )
            if tag == EXTENSIBLE:
                tag = int.from_bytes(head[place + 32 : place + 34], "little")
            return tag, bits
        place += 8 + size + size % 2
    return None
