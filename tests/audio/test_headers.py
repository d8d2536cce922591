"""What the bytes of a file say: lengths, ends, and where things begin."""

from __future__ import annotations

import io
import struct

import pytest

from soundsearch.audio.headers import (
    SEARCH_BYTES,
    clock_s,
    goes_on,
    lacks_bytes,
    lacks_its_end,
    mpeg_count,
    ogg_links,
)

#: The header of an MPEG-1 layer III frame of 128 kbit/s at 44100 Hz, stereo.
MPEG_HEADER = b"\xff\xfb\x90\x00"


def _mpeg_frame(n_frames: int, n_bytes: int) -> bytes:
    """A first MPEG frame that counts so many frames and bytes."""
    counts = b"Xing" + struct.pack(">III", 3, n_frames, n_bytes)
    return (MPEG_HEADER + bytes(32) + counts).ljust(417, b"\0")


def _page(flags: int, content: bytes = b"sound") -> bytes:
    """A page of an Ogg stream with one packet."""
    return b"OggS\0" + bytes([flags]) + bytes(20) + bytes([1, len(content)]) + content


def _riff(n_bytes: int, form: bytes = b"AVI ") -> bytes:
    """The beginning of a RIFF part that declares so many bytes behind its first eight."""
    return b"RIFF" + n_bytes.to_bytes(4, "little") + form


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:01:10.023000000", 70.023),
        ("01:00:00.5", 3600.5),
        ("25:02:03.000", 90_123.0),
        ("1:2", None),
        ("a:b:c", None),
        ("", None),
    ],
)
def test_seconds_of_a_clock(text: str, seconds: float | None) -> None:
    assert clock_s(text) == seconds


@pytest.mark.parametrize("n_before", [0, 1, 60_000])
def test_the_first_mpeg_frame_is_found_behind_other_bytes(n_before: int) -> None:
    file = io.BytesIO(bytes(n_before) + _mpeg_frame(77, 417))
    count = mpeg_count(file)
    assert count is not None and (count.n_mpeg_frames, count.has_all_bytes) == (77, True)
    assert file.tell() == 0


@pytest.mark.parametrize(("n_bytes", "has_all"), [(0, False), (417, True), (418, False)])
def test_counted_bytes_are_compared_with_those_from_the_first_frame_on(
    n_bytes: int, has_all: bool
) -> None:
    count = mpeg_count(io.BytesIO(bytes(500) + _mpeg_frame(77, n_bytes)))
    assert count is not None and count.has_all_bytes == has_all


def test_an_ogg_page_is_found_across_the_blocks_of_a_search() -> None:
    for n_before in range(SEARCH_BYTES - 4, SEARCH_BYTES + 3):
        assert ogg_links(io.BytesIO(b"\1" * n_before + _page(2) + _page(0))) == [n_before]


def test_an_ogg_stream_ends_with_a_whole_page_that_says_so() -> None:
    whole = _page(2) + _page(0) + _page(4)
    assert not lacks_its_end(io.BytesIO(whole))
    assert lacks_its_end(io.BytesIO(whole[:-1]))
    assert lacks_its_end(io.BytesIO(_page(2) + _page(0)))
    assert lacks_its_end(io.BytesIO(b"no page"))


@pytest.mark.parametrize(
    ("content", "lacks"),
    [
        (_riff(1000).ljust(1008, b"\0"), False),
        (_riff(1000 + 2048).ljust(1008, b"\0"), False),
        (_riff(1001 + 2048).ljust(1007, b"\0"), True),
        (_riff(0x7FFFF000).ljust(1008, b"\0"), False),
        (_riff(0x7FFFEFFF).ljust(1008, b"\0"), True),
        (_riff(0xFFFFFFFF).ljust(1008, b"\0"), False),
        # A second part stands behind the padding of the first.
        (_riff(1001).ljust(1010, b"\0") + _riff(1000, b"AVIX").ljust(1008, b"\0"), False),
        (_riff(1001).ljust(1010, b"\0") + _riff(9000, b"AVIX").ljust(1008, b"\0"), True),
        (_riff(9000, b"WAVE").ljust(1008, b"\0"), False),
        (b"FLV\1".ljust(99) + b"\0\x08filesize\0" + struct.pack(">d", 118.0), False),
        (b"FLV\1".ljust(99) + b"\0\x08filesize\0" + struct.pack(">d", 119.0), True),
        (b"FLV\1".ljust(99) + b"\0\x08filesize\0" + struct.pack(">d", float("nan")), False),
        (b"FLV\1".ljust(99) + b"\0\x08filesize\0\1", False),
        (b"FLV\1".ljust(99), False),
        (b"", False),
    ],
)
def test_a_film_that_is_shorter_than_it_declares(content: bytes, lacks: bool) -> None:
    assert lacks_bytes(io.BytesIO(content)) == lacks


def _flac_header(head: bytes) -> bytes:
    """The header of a FLAC frame, with its CRC-8 (polynomial 0x107), and what may follow it."""
    rest = int.from_bytes(head) << 8
    for shift in range(8 * len(head) - 1, -1, -1):
        if rest >> (shift + 8) & 1:
            rest ^= 0x107 << shift
    return head + bytes([rest]) + b"\x11" * 20


@pytest.mark.parametrize(
    ("head", "is_frame"),
    [
        ("fff8 c9 08 00", True),
        ("fff9 c9 08 00", True),
        ("fff8 c9 08 c280", True),  # a number of two bytes
        ("fff8 79 08 00 0fff", True),  # the length of the block in two bytes
        ("fff8 69 08 00 ff", True),
        ("fff8 cd 08 00 ac44", True),  # the rate in two bytes
        ("fff8 cc 08 00 08", True),
        ("fff8 c9 08 80", False),  # no number begins so
        ("fffa c9 08 00", False),
        ("fff8 c9 09 00", False),
        ("fff8 09 08 00", False),
        ("fff8 cf 08 00", False),
        ("fff8 c9 b8 00", False),  # eleven kinds of channels
    ],
)
def test_flac_goes_on_where_a_frame_begins(head: str, is_frame: bool) -> None:
    header = _flac_header(bytes.fromhex(head))
    assert goes_on(io.BytesIO(b"\xff\xf8\xff" + header), "FLAC") == is_frame
    wrong = bytearray(header)
    wrong[len(bytes.fromhex(head))] ^= 1
    assert not goes_on(io.BytesIO(bytes(wrong)), "FLAC")
