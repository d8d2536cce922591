"""Sound files whose header declares less sound than there is.

A recorder writes the sizes into its file when it is stopped. Where it loses power they stay zero, or
what they were when it wrote them last; beyond 4 GiB they overflow. In: an opened file. Out: where its
sound lies, how much of it the header declares, and a header that declares all of it, so that
libsndfile can read the file. What follows the sound in a file whose sizes are right (chunks, tags,
zeros) is not taken for sound.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, cast

from soundsearch.audio.file_part import FilePart
from soundsearch.audio.headers import OPEN_END_BYTES, TAGS, peek, size_of

Order = Literal["little", "big"]

#: As much more than declared must be there; less may be the rest of a block.
EXTRA_S = 0.1
#: Files of more chunks in front of their sound are left to the decoders.
MOST_CHUNKS = 1000
#: No chunk that describes an encoding is longer.
LONGEST_CHUNK = 1 << 16
#: What text is made of.
TEXT = bytes([9, 10, 13, *range(0x20, 0x7F)])
#: Chunks that stand behind the sound, also where they are cut off.
KNOWN_CHUNKS = frozenset(
    b"LIST fact bext iXML cue  smpl inst JUNK junk PAD  FLLR PEAK id3  ID3  axml chna plst labl "
    b"note umid link _PMX aXML acid DISP afsp cart MARK INST MIDI AESD APPL COMT NAME AUTH (c)  "
    b"ANNO CHAN FVER kuki pakt info strg mark regn midi ovvw peak uuid free edct chan".split(b" ")
)
#: Bytes of a sample of AU, by its encoding.
AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
#: The rest of the GUIDs of W64's chunks; that of "riff" alone differs.
W64_GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")
#: What libsndfile reads of CAF as it lies there.
CAF_PLAIN = (b"lpcm", b"ulaw", b"alaw")


@dataclass(frozen=True)
class Understated:
    """Where the sound of such a file lies.

    Attributes:
        form: Such as "WAV".
        header: Of a whole file of the same encoding, with n_bytes of sound behind it.
        start: The first byte of the sound in the file.
        n_bytes: How many there are; 0 in a file of chunks without sound.
        declared_bytes: How many the header declares; None where it leaves that open.
    """

    form: str
    header: bytes
    start: int
    n_bytes: int
    declared_bytes: int | None

    def with_header(self, file: BinaryIO) -> BinaryIO:
        """The sound of the file behind the new header, as a file for reading."""
        return cast(BinaryIO, FilePart(file, self.start, self.start + self.n_bytes, self.header))


def find_understated(file: BinaryIO) -> Understated | None:
    """The sound of a file whose header declares less of it than there is; None for other files."""
    find = _FINDERS.get(peek(file, 0, 4))
    return find(file) if find is not None else None


@dataclass(frozen=True)
class _Layout:
    """How chunks are written: id, size (which may count both, too), content, padding."""

    id_bytes: int = 4
    size_bytes: int = 4
    order: Order = "little"
    align: int = 2
    counts_itself: bool = False

    @property
    def head_bytes(self) -> int:
        return self.id_bytes + self.size_bytes

    def chunks(self, file: BinaryIO, place: int) -> Iterator[tuple[bytes, int, int]]:
        """Id, start and size of the content of each chunk from a place in the file on."""
        end = size_of(file) - self.head_bytes
        for _ in range(MOST_CHUNKS):
            if place > end:
                return
            head = peek(file, place, self.head_bytes)
            size = int.from_bytes(head[self.id_bytes :], self.order)
            size = max(0, size - self.head_bytes) if self.counts_itself else size
            start = place + self.head_bytes
            yield head[: self.id_bytes], start, size
            place = start + size + -size % self.align

    def is_id(self, name: bytes) -> bool:
        """Whether these bytes may be the id of a chunk."""
        return all(0x20 <= byte < 0x7F for byte in name[:4]) and (
            self.id_bytes == 4 or name[4:] == W64_GUID
        )


def _wave(file: BinaryIO) -> Understated | None:
    magic = peek(file, 0, 4)
    if peek(file, 8, 4) != b"WAVE":
        return None
    layout = _Layout(order="big" if magic == b"RIFX" else "little")
    form = "WAV" if magic in (b"RIFF", b"RIFX") else magic.decode()
    encoding, long_size = b"", 0
    for name, start, size in layout.chunks(file, 12):
        if name == b"ds64":
            long_size = int.from_bytes(peek(file, start + 8, 8), "little")
        elif name == b"fmt ":
            encoding = peek(file, start, min(size, LONGEST_CHUNK))
        elif name == b"data":
            declared = long_size if form != "WAV" and size == 0xFFFFFFFF else size
            return _wave_of(file, layout, form, encoding, start, declared)
    return None


def _w64(file: BinaryIO) -> Understated | None:
    layout = _Layout(id_bytes=16, size_bytes=8, align=8, counts_itself=True)
    encoding = b""
    for name, start, size in layout.chunks(file, 40):
        if name[:4] == b"fmt ":
            encoding = peek(file, start, min(size, LONGEST_CHUNK))
        elif name[:4] == b"data":
            return _wave_of(file, layout, "W64", encoding, start, size)
    return None


def _wave_of(
    file: BinaryIO, layout: _Layout, form: str, encoding: bytes, start: int, declared: int
) -> Understated | None:
    """encoding: the content of the chunk "fmt "."""
    if len(encoding) < 16:
        return None
    bytes_per_s = int.from_bytes(encoding[8:12], layout.order)
    is_open = declared >= 1 << 62
    n_bytes = _found(file, layout, start, declared, bytes_per_s, is_open)
    if n_bytes is None:
        return None
    big = layout.order == "big"
    if big:
        n_bytes = min(n_bytes, OPEN_END_BYTES - 1)
    chunk = b"fmt " + len(encoding).to_bytes(4, layout.order) + encoding + bytes(len(encoding) % 2)
    fits = n_bytes < OPEN_END_BYTES
    size = (n_bytes if fits else 0xFFFFFFFF).to_bytes(4, layout.order)
    whole = 4 + len(chunk) + 8 + n_bytes
    if fits:
        head = (b"RIFX" if big else b"RIFF") + whole.to_bytes(4, layout.order) + b"WAVE"
    else:
        n_samples = n_bytes // max(1, int.from_bytes(encoding[12:14], "little"))
        head = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack(
            "<IQQQI", 28, whole + 36, n_bytes, n_samples, 0
        )
    header = head + chunk + b"data" + size
    return Understated(form, header, start, n_bytes, None if is_open else declared)


def _aiff(file: BinaryIO) -> Understated | None:
    kind = peek(file, 8, 4)
    if kind not in (b"AIFF", b"AIFC"):
        return None
    layout = _Layout(order="big")
    chunks = common = b""
    for name, start, size in layout.chunks(file, 12):
        content = peek(file, start, min(size, LONGEST_CHUNK))
        if name in (b"COMM", b"FVER"):
            chunks += name + len(content).to_bytes(4, "big") + content + bytes(len(content) % 2)
            common = content if name == b"COMM" else common
        elif name == b"SSND" and len(common) >= 18:
            channels, _, bits, exponent, mantissa = struct.unpack(">hIhHQ", common[:18])
            bytes_per_s = channels * -(-bits // 8) * mantissa * 2.0 ** min(0, exponent - 16446)
            skipped = 8 + int.from_bytes(peek(file, start, 4), "big")
            declared = max(0, size - skipped)
            n_bytes = _found(file, layout, start + skipped, declared, bytes_per_s)
            if n_bytes is None:
                return None
            n_bytes = min(n_bytes, OPEN_END_BYTES - 1)
            whole = 4 + len(chunks) + 16 + n_bytes
            header = b"FORM" + whole.to_bytes(4, "big") + kind + chunks
            header += b"SSND" + (8 + n_bytes).to_bytes(4, "big") + bytes(8)
            return Understated("AIFF", header, start + skipped, n_bytes, declared)
    return None


def _au(file: BinaryIO) -> Understated | None:
    order: Order = "big" if peek(file, 0, 4) == b".snd" else "little"
    fields = peek(file, 4, 20)
    if len(fields) < 20:
        return None
    start, declared, encoding, rate, channels = (
        int.from_bytes(fields[i : i + 4], order) for i in range(0, 20, 4)
    )
    # AU may leave its length open; so may programs that write 0 until they know it.
    is_open = declared == 0
    bytes_per_s = AU_BYTES.get(encoding, 1) * rate * channels
    n_bytes = _found(file, None, start, declared, bytes_per_s, is_open)
    if n_bytes is None:
        return None
    size = min(n_bytes, 0xFFFFFFFF).to_bytes(4, order)
    header = peek(file, 0, 4) + (24).to_bytes(4, order) + size + fields[8:]
    return Understated("AU", header, start, n_bytes, None if is_open else declared)


def _caf(file: BinaryIO) -> Understated | None:
    layout = _Layout(size_bytes=8, order="big", align=1)
    description = b""
    for name, start, size in layout.chunks(file, 8):
        if name == b"desc":
            description = peek(file, start, 32)
        elif name == b"data":
            if len(description) < 32 or description[8:12] not in CAF_PLAIN or size >= 1 << 63:
                return None  # without end, FFmpeg reads it
            rate, _, _, n_bytes_packet, n_samples_packet = struct.unpack(
                ">d4sIII", description[:24]
            )
            bytes_per_s = rate * n_bytes_packet / max(1, n_samples_packet)
            declared = max(0, size - 4)
            n_bytes = _found(file, layout, start + 4, declared, bytes_per_s)
            if n_bytes is None:
                return None
            header = b"caff\0\1\0\0desc" + (32).to_bytes(8, "big") + description
            header += b"data" + (4 + n_bytes).to_bytes(8, "big") + bytes(4)
            return Understated("CAF", header, start + 4, n_bytes, declared)
    return None


_FINDERS: dict[bytes, Callable[[BinaryIO], Understated | None]] = {
    b"RIFF": _wave,
    b"RIFX": _wave,
    b"RF64": _wave,
    b"BW64": _wave,
    b"riff": _w64,
    b"FORM": _aiff,
    b".snd": _au,
    b"dns.": _au,
    b"caff": _caf,
}


def _found(
    file: BinaryIO,
    layout: _Layout | None,
    start: int,
    declared: int,
    bytes_per_s: float,
    is_open: bool = False,
) -> int | None:
    """Bytes of sound from start on, where they are clearly more than declared, or that is open.

    Sizes of 32 bits that stand for an open end need nothing: libsndfile knows them. 0 where none
    are declared and chunks follow: libsndfile takes those of W64 for sound.
    """
    n_bytes = size_of(file) - start
    if is_open:
        return n_bytes if n_bytes > 0 else None
    extra = n_bytes - declared
    if extra <= 0 or (declared and extra < EXTRA_S * bytes_per_s):
        return None
    place = start + declared
    if layout is not None and _are_chunks(file, layout, place):
        return None if declared else 0
    return None if _is_filling(file, place) else n_bytes


def _is_filling(file: BinaryIO, place: int) -> bool:
    """Whether tags, text or zeros follow the declared end of the sound."""
    begins = peek(file, place, 64)
    return begins.startswith(TAGS) or not begins.translate(None, TEXT) or _is_zero(file, place)


def _are_chunks(file: BinaryIO, layout: _Layout, place: int) -> bool:
    """Whether chunks follow the declared end of the sound, or the padding behind it."""
    places = {place, place + -place % layout.align}
    return any(_are_chunks_from(file, layout, here) for here in places)


def _are_chunks_from(file: BinaryIO, layout: _Layout, place: int) -> bool:
    """Whether chunks follow that end where the file does, or one that is known."""
    n_all = size_of(file)
    for name, start, size in layout.chunks(file, place):
        if not layout.is_id(name):
            return False
        if name[:4] in KNOWN_CHUNKS:
            return True
        place = start + size
        if n_all - layout.head_bytes < place <= n_all:
            return True
    return False


def _is_zero(file: BinaryIO, place: int) -> bool:
    """Whether nothing but zeros follows."""
    while block := peek(file, place, 1 << 20):
        if block.count(0) < len(block):
            return False
        place += len(block)
    return True
