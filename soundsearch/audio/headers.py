"""What the bytes of a sound file say of it, without decoding it.

In: a file opened for reading. Out: whether it begins as a known container, where its sound begins,
whether it ends as it should, and how long it declares to be.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

#: How the files begin that libsndfile is asked to read. Anything else it takes for MP3, and its
#: MP3 decoder prints notes of its own to stderr.
SNDFILE_MAGIC = frozenset(b"RIFF RIFX RF64 riff FORM fLaC OggS caff .snd dns. ALaw".split())
#: Sizes from here on are written by programs that do not know yet how long the sound will be.
OPEN_END_BYTES = 0x7FFFF000
#: The first MPEG frame of an MP3 is sought in so many bytes behind its tags.
MPEG_SYNC_BYTES = 1 << 16
MPEG_SYNC = re.compile(rb"\xff[\xe2-\xff][\x10-\xef]")
#: The flag of an ID3 tag that is followed by ten bytes more.
ID3_HAS_FOOTER = 0x10
#: The object of an ASF header that declares its length lies in its first bytes.
ASF_HEADER_BYTES = 1 << 16
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_IS_LIVE = 1
#: How the tag of an FLV begins that declares the size of the file, a double.
FLV_SIZE = b"\0\x08filesize\0"
FLV_HEADER_BYTES = 1 << 16
#: Programs that write AVI count as many bytes too much: headers of chunks, and padding.
AVI_SLACK_BYTES = 2048
#: How tags begin that stand behind the sound of any kind of file, or between MPEG frames.
TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
#: How the formats begin that other bytes may stand in front of, by ending.
MAGIC = {
    ".wav .wave .bwf .rf64 .bw64": rb"(?:RIFF|RIFX|RF64|BW64)....WAVE",
    ".aif .aiff .aifc": rb"FORM....AIF[FC]",
    ".w64": rb"riff\x2e\x91\xcf\x11",
    ".flac": rb"fLaC[\x00\x80]\0\0\x22",
    ".ogg .oga .opus .spx .ogv .ogx .ogm": rb"OggS\0\x02",
    ".caf": rb"caff\0\x01",
    ".au .snd": rb"\.snd\0\0",
    ".m4a .m4b .m4r .m4v .mp4 .mov .qt .3gp .3g2 .f4a .f4v": rb"\0\0..ftyp",
    ".mka .mkv .mk3d .webm .weba": rb"\x1aE\xdf\xa3",
    ".wma .wmv .asf": rb"0&\xb2u\x8ef\xcf\x11",
    ".avi .divx": rb"RIFF....AVI ",
    ".wv": rb"wvpk",
    ".tta": rb"TTA[12]",
    ".ape": rb"MAC ",
    ".amr .awb": rb"#!AMR",
    ".tak": rb"tBaK",
}
#: It is sought in so many bytes; so many zeros may stand in front of any file.
PREFIX_BYTES = 1 << 20
PADDING_BYTES = 1 << 26
#: Bytes searched at a time.
SEARCH_BYTES = 1 << 20
#: Pages of an Ogg stream: how they begin, with the version, how long their headers are without the
#: lengths of segments, and the flag of a page that begins a stream.
OGG_MAGIC = b"OggS"
OGG_PAGE = OGG_MAGIC + b"\0"
OGG_HEADER_BYTES = 27
OGG_BEGINS = 2
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


def ogg_links(ogg: BinaryIO) -> list[int]:
    """Where the links of an Ogg file begin: one, but for files put one after the other.

    A page that begins a stream, behind pages that do not, begins a link.
    """
    starts: list[int] = []
    place: int | None = 0
    begins_before = False
    while place is not None:
        head = peek(ogg, place, OGG_HEADER_BYTES + 255)
        if len(head) < OGG_HEADER_BYTES:
            break
        if head[:5] != OGG_PAGE:
            place = _find(ogg, OGG_PAGE, place + 1)
            continue
        begins = bool(head[5] & OGG_BEGINS)
        if begins and not begins_before:
            starts.append(place)
        begins_before = begins
        n_segments = head[26]
        place += OGG_HEADER_BYTES + n_segments + sum(head[OGG_HEADER_BYTES:][:n_segments])
    return starts or [0]


def _find(file: BinaryIO, wanted: bytes, start: int) -> int | None:
    """The next place of some bytes in a file."""
    while len(block := peek(file, start, SEARCH_BYTES)) >= len(wanted):
        if (found := block.find(wanted)) >= 0:
            return start + found
        start += len(block) - len(wanted) + 1
    return None


def first_byte(file: BinaryIO) -> int:
    """Where the first byte lies that is not zero; 0 if there is none in PADDING_BYTES."""
    for start in range(0, PADDING_BYTES, SEARCH_BYTES):
        block = peek(file, start, SEARCH_BYTES)
        if rest := block.lstrip(b"\0"):
            return start + len(block) - len(rest)
        if len(block) < SEARCH_BYTES:
            break
    return 0


def sound_begins(file: BinaryIO, suffix: str) -> int | None:
    """Where, behind other bytes, the format begins that an ending names (".wav"), if it does."""
    pattern = next((magic for suffixes, magic in MAGIC.items() if suffix in suffixes.split()), None)
    found = pattern and re.search(pattern, peek(file, 0, PREFIX_BYTES), re.DOTALL)
    return found.start() if found else None


def lacks_its_end(ogg: BinaryIO) -> bool:
    """Whether the last page of an Ogg stream is cut off, or does not say that it is the last."""
    tail = peek(ogg, max(0, size_of(ogg) - OGG_PAGE_BYTES), OGG_PAGE_BYTES)
    page = tail[tail.rfind(b"OggS\0") :]  # the last byte alone where there is none
    if len(page) < 27:  # a header is longer
        return True
    lengths = page[27 : 27 + page[26]]
    return not page[5] & 4 or len(page) < 27 + page[26] + sum(lengths)


@dataclass(frozen=True)
class MpegCount:
    """What the first MPEG frame of an MP3 counts.

    Attributes:
        n_mpeg_frames: Frames, of 1152 or 576 samples a channel.
        has_all_bytes: Whether the file has as many bytes as are counted.
    """

    n_mpeg_frames: int
    has_all_bytes: bool


def mpeg_count(file: BinaryIO) -> MpegCount | None:
    """What an MP3 counts in its first MPEG frame (Xing, Info or VBRI), behind any ID3 tags."""
    start = _behind_id3(file)
    head = peek(file, start, MPEG_SYNC_BYTES)
    if (first := MPEG_SYNC.search(head)) is None:
        return None
    head = head[first.start() : first.start() + 200]
    fields = re.search(rb"(?:Xing|Info)\0\0\0([\x01-\x0f])", head[:64])
    if fields is not None and fields[1][0] & 1:
        place, n_bytes = fields.end(), 0
        if fields[1][0] & 2:
            n_bytes = int.from_bytes(head[place + 4 : place + 8])
    elif (fields := re.search(rb"VBRI.{6}(.{4})", head[:64], re.DOTALL)) is not None:
        place, n_bytes = fields.end(), int.from_bytes(fields[1])
    else:
        return None
    left = size_of(file) - start - first.start()
    n_mpeg_frames = int.from_bytes(head[place : place + 4])
    return MpegCount(n_mpeg_frames, has_all_bytes=0 < n_bytes <= left)


def _behind_id3(file: BinaryIO) -> int:
    """Where an MP3 goes on behind the ID3 tags in front of it; seven bits of each byte count."""
    start = 0
    while (head := peek(file, start, 10))[:3] == b"ID3" and len(head) == 10:
        for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True):
            start += (byte & 0x7F) << shift
        start += 20 if head[5] & ID3_HAS_FOOTER else 10
    return start


@dataclass(frozen=True)
class AsfFacts:
    """What an ASF or WMA file declares: its bytes, and its seconds of sound and pictures."""

    n_bytes: int
    seconds: float


def asf_facts(file: BinaryIO) -> AsfFacts | None:
    """What the header of an ASF or WMA file declares; None of other files and of live streams."""
    head = peek(file, 0, ASF_HEADER_BYTES)
    place = head.find(ASF_FILE_PROPERTIES) + 40  # behind identifiers and the object's own size
    if place < 40 or len(head) < place + 52:
        return None
    n_bytes, _, _, played, _, preroll_ms, flags = struct.unpack(
        "<QQQQQQI", head[place : place + 52]
    )
    if flags & ASF_IS_LIVE:
        return None
    return AsfFacts(n_bytes, max(0.0, played / 1e7 - preroll_ms / 1e3))


def lacks_bytes(file: BinaryIO) -> bool:
    """Whether an AVI, FLV, ASF or WMA file is shorter than it declares."""
    size, end = size_of(file), 0
    magic = peek(file, 0, 4)
    if magic[:3] == b"FLV":
        head = peek(file, 0, FLV_HEADER_BYTES)
        number = head.partition(FLV_SIZE)[2][:8]
        return len(number) == 8 and bool(struct.unpack(">d", number)[0] > size)
    if magic != b"RIFF":
        facts = asf_facts(file)
        return facts is not None and facts.n_bytes > size
    while (head := peek(file, end, 12))[:4] == b"RIFF" and head[8:] in (b"AVI ", b"AVIX"):
        n_bytes = int.from_bytes(head[4:8], "little")
        if n_bytes >= OPEN_END_BYTES:
            return False
        end += 8 + n_bytes + n_bytes % 2
    return end > size + AVI_SLACK_BYTES


def clock_s(text: str) -> float | None:
    """Seconds of a Matroska tag such as 00:01:10.023000000."""
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return None


def goes_on(file: BinaryIO, form: str) -> bool:
    """Whether FLAC or Ogg goes on where libsndfile has read what the header declares.

    file: at the place up to which it was read.
    """
    ahead = peek(file, file.tell(), 1 << 18)
    if form == "OGG":
        return b"OggS\0" in ahead
    return any(_is_flac_frame(ahead[i : i + 16]) for i in _places(ahead, b"\xff"))


def _places(content: bytes, what: bytes) -> Iterator[int]:
    place = content.find(what)
    while place >= 0:
        yield place
        place = content.find(what, place + 1)


def _is_flac_frame(head: bytes) -> bool:
    """Whether the header of a FLAC frame stands here, by its sync word and its checksum."""
    if len(head) < 16 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return False
    size_code, rate_code = head[2] >> 4, head[2] & 15
    if size_code == 0 or rate_code == 15 or head[3] >> 4 > 10:
        return False
    n_leading = 8 - (head[4] ^ 0xFF).bit_length()  # ones in front: the number's length, as in UTF-8
    end = 4 + max(1, n_leading)
    end += {6: 1, 7: 2}.get(size_code, 0) + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    return n_leading != 1 and end < 16 and _crc8(head[:end]) == head[end]


def _crc8(content: bytes) -> int:
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x107) if value & 0x80 else value << 1
    return value
