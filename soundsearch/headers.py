"""What the bytes of a sound file tell before, or without, decoding it.

In: a file opened for reading, or what a library noted about one. Out: whether it begins as a known
container, whether it ends as it should, and how long it says it is. A length that is only told is
held against what was decoded in `audio.py`.
"""

from __future__ import annotations

import os
import re
from typing import BinaryIO

#: How the files begin that libsndfile is asked to read. Anything else it takes for MP3, and its
#: MP3 decoder prints notes of its own to stderr.
SNDFILE_MAGIC = frozenset(
    [b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"fLaC", b"OggS", b"caff", b".snd", b"dns."]
)
#: How libsndfile notes that a WAV, AIFF or AU file ends before its sound should.
CUT_SHORT = re.compile(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
#: The same of W64, where it tells the sizes of the whole file, and then that of the sound.
CUT_SHORT_W64 = re.compile(
    r"^riff *: (\d+) \(should be (\d+)\)$.*?^data *: (\d+)$", re.MULTILINE | re.DOTALL
)
#: The same of RF64: sizes of the whole file, then the samples found and those told.
CUT_SHORT_RF64 = re.compile(
    r"^ *Riff size *: (\d+) \(should be (\d+)\)$.*?"
    r"^\*\*\* Calculated frame count (\d+) does not match value from 'ds64' chunk of (\d+)",
    re.MULTILINE | re.DOTALL,
)
#: Sizes from here on are written by programs that do not know yet how long the sound will be.
OPEN_END_BYTES = 0x7FFFF000
#: No page of an Ogg stream is longer; its last one is marked as the end.
OGG_PAGE_BYTES = 65307


def size_of(file: BinaryIO) -> int:
    """Bytes of a file, or of a part of one."""
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    return size


def peek(file: BinaryIO, offset: int, n_bytes: int) -> bytes:
    """Bytes from anywhere in a file, for one that is read by a decoder at the same time."""
    here = file.tell()
    file.seek(offset)
    found = file.read(n_bytes)
    file.seek(here)
    return found


def begins_as_sound(file: BinaryIO) -> bool:
    """Whether a file begins as a known container does; what marks an MP3 is too short to tell."""
    head = peek(file, 0, 12)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64"):  # pictures and films may be RIFF, too
        return head[8:] == b"WAVE"
    if head[:4] == b"FORM":
        return head[8:] in (b"AIFF", b"AIFC")
    return head[:4] in SNDFILE_MAGIC | {b"wvpk", b"\x1a\x45\xdf\xa3"} or head[4:8] == b"ftyp"


def lacks_its_end(ogg: BinaryIO) -> bool:
    """Whether the last page of an Ogg stream is cut off, or does not say that it is the last."""
    tail = peek(ogg, max(0, os.fstat(ogg.fileno()).st_size - OGG_PAGE_BYTES), OGG_PAGE_BYTES)
    page = tail[tail.rfind(b"OggS\0") :]  # the last byte alone where there is none
    if len(page) < 27:  # a header is longer
        return True
    lengths = page[27 : 27 + page[26]]
    return not page[5] & 4 or len(page) < 27 + page[26] + sum(lengths)


def mp3_frames(file: BinaryIO) -> int | None:
    """How many frames an MP3 counts in its first one (Xing, Info or VBRI), behind any ID3 tag."""
    head = peek(file, 0, 10)
    start = 0
    if head[:3] == b"ID3":
        start = 10 + sum(
            byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=False)
        )
    found = re.search(
        rb"(?:Xing|Info)...[\x01\x03\x05\x07\x09\x0b\x0d\x0f]|VBRI.{10}",
        peek(file, start, 64),
        re.DOTALL,
    )
    if found is None:
        return None
    return int.from_bytes(peek(file, start + found.end(), 4))


def told_frames(n_frames: int, log: str) -> float:
    """Frames by the header, also of a file that was cut short, of which libsndfile's log tells.

    n_frames: those that libsndfile finds.
    """
    told = found = 0
    if cut := CUT_SHORT.search(log):
        told, found = int(cut[1]), int(cut[2])
        if told >= OPEN_END_BYTES:
            return n_frames
    elif cut := CUT_SHORT_W64.search(log):
        told = int(cut[3])
        found = told - int(cut[1]) + int(cut[2])
    elif (cut := CUT_SHORT_RF64.search(log)) and int(cut[1]) > int(cut[2]):
        told, found = int(cut[4]), int(cut[3])
    return n_frames * told / found if found > 0 else n_frames


def clock_s(text: str) -> float | None:
    """Seconds of a Matroska tag such as 00:01:10.023000000."""
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return None
