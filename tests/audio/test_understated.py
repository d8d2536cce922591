"""Files whose header declares less sound than there is, in every format that declares a length."""

from __future__ import annotations

import contextlib
import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from soundsearch.audio.recording import AudioFile
from soundsearch.audio.sndfile import SndfileDecoder, SndfileSource
from soundsearch.audio.understated import Understated, find_understated
from soundsearch.errors import AudioError
from tests import sounds

Array = NDArray[np.float32]
RATE = 8000
#: Two seconds.
SOUND = np.rint(sounds.noise(2.0, RATE) * 2**15).astype(np.int16)
ALL = 2 * SOUND.size


def _whole(form: str, subtype: str = "PCM_16", endian: str = "FILE") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, SOUND, RATE, format=form, subtype=subtype, endian=endian)
    return file.getvalue()


def _put(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def _decode(path: Path) -> tuple[Array, AudioFile]:
    with AudioFile(path) as file:
        return np.concatenate(list(file.blocks())), file


def _is_all(found: Array) -> bool:
    return np.array_equal(found, SOUND / np.float32(2**15))


def _le(value: int) -> bytes:
    return struct.pack("<I", value)


def _be(value: int) -> bytes:
    return struct.pack(">I", value)


def _wav(size: int, riff: int | None = None, behind: bytes = b"") -> bytes:
    """A WAV whose header declares these sizes."""
    content = _put(_whole("WAV"), 40, _le(size))
    return (_put(content, 4, _le(riff)) if riff is not None else content) + behind


def _rifx(size: int) -> bytes:
    content = _whole("WAV", endian="BIG")
    return _put(content, content.index(b"data") + 4, _be(size))


def _rf64(size: int, magic: bytes = b"RF64") -> bytes:
    content = _whole("RF64")
    at = content.index(b"ds64") + 8
    return _put(_put(content, at, struct.pack("<QQQ", size, size, size // 2)), 0, magic)


def _w64(size: int) -> bytes:
    content = _whole("W64")
    return _put(content, content.index(b"data") + 16, struct.pack("<Q", size))


def _aiff(size: int, frames: int = 16_000) -> bytes:
    content = _whole("AIFF")
    content = _put(content, content.index(b"SSND") + 4, _be(size))
    return _put(content, content.index(b"COMM") + 10, _be(frames))


def _au(size: int, endian: str = "BIG") -> bytes:
    return _put(_whole("AU", endian=endian), 8, _be(size) if endian == "BIG" else _le(size))


def _caf(size: int) -> bytes:
    content = _whole("CAF")
    return _put(content, content.index(b"data") + 4, struct.pack(">q", size))


def _flac(frames: int) -> bytes:
    return _put(_whole("FLAC"), 22, _be(frames))


@pytest.mark.parametrize(
    ("content", "form", "declared"),
    [
        (_wav(0), "WAV", "0.0"),
        (_wav(0, riff=0), "WAV", "0.0"),
        (_wav(0, riff=8), "WAV", "0.0"),
        (_wav(ALL // 4), "WAV", "0.5"),
        (_wav(ALL // 4, riff=36 + ALL // 4), "WAV", "0.5"),  # as of the last time it was written
        (_wav(ALL // 4 + 1), "WAV", "0.5"),
        (_rifx(0), "WAV", "0.0"),
        (_rifx(ALL // 4), "WAV", "0.5"),
        (_rf64(0), "RF64", "0.0"),
        (_rf64(ALL // 4), "RF64", "0.5"),
        (_rf64(0, b"BW64"), "BW64", "0.0"),
        (_w64(0), "W64", "0.0"),
        (_w64(24), "W64", "0.0"),
        (_w64(24 + ALL // 4), "W64", "0.5"),
        (_aiff(0), "AIFF", "0.0"),
        (_aiff(8), "AIFF", "0.0"),
        (_aiff(8, frames=0), "AIFF", "0.0"),
        (_aiff(8 + ALL // 4), "AIFF", "0.5"),
        (_au(ALL // 4), "AU", "0.5"),
        (_au(ALL // 4, "LITTLE"), "AU", "0.5"),
        (_caf(0), "CAF", "0.0"),
        (_caf(4), "CAF", "0.0"),
        (_caf(4 + ALL // 4), "CAF", "0.5"),
    ],
)
def test_all_of_a_file_that_declares_less_is_read(
    tmp_path: Path, content: bytes, form: str, declared: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)

    found, file = _decode(path)

    assert _is_all(found)
    assert (file.format, file.sample_rate) == (form, RATE)
    assert file.damage == f"its header declares {declared} s, 2.0 s were read"
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [
        _whole("WAV"),
        _wav(0xFFFFFFFF),
        _wav(0xFFFFFFFF, riff=0xFFFFFFFF),
        _wav(ALL, riff=0),
        _wav(ALL, riff=100),
        _rf64(2**64 - 1),
        _aiff(8 + ALL, frames=0),
        _aiff(0xFFFFFFFF),
        _au(0),
        _au(0xFFFFFFFF),
        _caf(-1),
        _flac(0),
    ],
)
def test_a_length_that_is_right_or_left_open_is_nothing_to_speak_of(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    found, file = _decode(path)
    assert _is_all(found) and file.damage is None


def _list(size: int = 4000) -> bytes:
    return b"LIST" + _le(size) + b"INFO" + b"\x11\x7f\x80" * (size // 3 + 1)


@pytest.mark.parametrize(
    "behind",
    [
        _list(4000)[:4008],
        _list(4001)[:4009] + b"\0" + b"bext" + _le(602) + b"\x11" * 602,
        _list(4001)[:4009] + b"bext" + _le(602) + b"\x11" * 602,  # without its padding
        _list(4000)[:2000],  # cut off
        b"ours" + _le(4000) + b"\x11" * 4000,  # of a name that only its maker knows
        b"TAG" + b"\x11" * 4000,
        b"ID3\3\0" + b"\x11" * 4000,
        b"APETAGEX" + b"\x11" * 4000,
        b"<?xpacket begin?>" + b"x" * 4000,
        bytes(3_000_000),
        b"\x11" * 1599,  # less than a tenth of a second
    ],
)
@pytest.mark.parametrize("form", ["WAV", "RF64"])
def test_what_stands_behind_the_sound_is_no_sound(tmp_path: Path, form: str, behind: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(_whole(form) + behind)
    found, file = _decode(path)
    assert _is_all(found) and file.damage is None


@pytest.mark.parametrize("name", ["a.wav", "a.rf64", "a.aiff", "a.w64", "a.caf"])
def test_chunks_are_no_sound_where_the_header_declares_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, SOUND[:0], RATE, format=name[2:], subtype="PCM_16")
    order: Literal["big", "little"] = "big" if name.endswith("aiff") else "little"
    chunk = b"LIST" + (4000).to_bytes(4, order) + b"INFO" + b"\x11" * 3996
    if name.endswith("w64"):
        guid = bytes.fromhex("f3acd3118cd100c04f8edb8a")
        chunk = b"fact" + guid + (4024).to_bytes(8, "little") + b"\x11" * 4000
    if name.endswith("caf"):
        chunk = b"info" + (4000).to_bytes(8, "big") + b"\x11" * 4000
    path.write_bytes(path.read_bytes() + chunk)

    with pytest.raises(AudioError, match="no samples"):
        _decode(path)


@pytest.mark.parametrize(
    "behind",
    [
        b"\x11" * 1600,
        b"ours" + _le(9000) + b"\x11" * 4000,
        b"ours" + _le(400) + b"\x11" * 4000,
        bytes(1_500_000) + b"\x11",
    ],
)
def test_what_is_nothing_else_is_sound(tmp_path: Path, behind: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(_whole("WAV") + behind)
    found, file = _decode(path)
    assert found.size == SOUND.size + len(behind) // 2
    assert file.damage is not None and file.damage.startswith("its header declares 2.0 s, ")


def test_a_padding_byte_is_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, SOUND[:-1], RATE, subtype="PCM_U8")
    path.write_bytes(path.read_bytes()[:-1] + b"\0" + _list(4000)[:4008])
    found, file = _decode(path)
    assert found.size == SOUND.size - 1 and file.damage is None


SUBTYPES = (
    "PCM_U8",
    "PCM_24",
    "PCM_32",
    "FLOAT",
    "DOUBLE",
    "ULAW",
    "ALAW",
    "IMA_ADPCM",
    "MS_ADPCM",
)


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        (form, subtype)
        for form in ("WAV", "AIFF", "W64", "AU", "CAF")
        for subtype in SUBTYPES
        if soundfile.check_format(form, subtype)
    ],
)
def test_every_encoding(tmp_path: Path, form: str, subtype: str) -> None:
    content = _whole(form, subtype)
    path = tmp_path / "a"
    path.write_bytes(content)
    expected, _ = _decode(path)
    mark, size = {
        "WAV": (b"data", bytes(4)),
        "AIFF": (b"SSND", _be(8)),
        "W64": (b"data", bytes(8)),
        "CAF": (b"data", bytes(8)),
        "AU": (b".snd", _be(0)),
    }[form]
    at = content.index(mark) + {"W64": 16, "AU": 8}.get(form, 4)
    path.write_bytes(_put(content, at, size))

    found, file = _decode(path)

    np.testing.assert_array_equal(found[: expected.size], expected)
    assert found.size - expected.size < 400  # a rest of a block
    assert (file.damage is None) == (form == "AU")


@pytest.mark.parametrize("form", ["FLAC", "VORBIS", "OPUS"])
@pytest.mark.parametrize("share", [0.25, 0.0])
def test_compressed_files_are_read_to_the_end(tmp_path: Path, form: str, share: float) -> None:
    path = tmp_path / "a"
    sound = sounds.noise(20.0, 48000)
    if form == "FLAC":
        soundfile.write(path, sound, 48000, format="FLAC")
        content = path.read_bytes()
        path.write_bytes(_put(content, 22, _be(max(1, int(share * sound.size)))))
    else:
        soundfile.write(path, sound, 48000, format="OGG", subtype=form)
        path.write_bytes(_with_granule(path.read_bytes(), int(share * sound.size)))

    found, file = _decode(path)

    assert found.size / file.sample_rate == pytest.approx(20.0, abs=0.5)
    if form != "OPUS" or share:  # of no samples at all, libsndfile opens none
        declared = f"{20 * share:.1f}"
        assert file.damage is not None
        assert re.fullmatch(
            rf"its header declares {declared} s, (20\.0|19\.5) s were read", file.damage
        )
    if form == "FLAC":
        np.testing.assert_allclose(found, sound, atol=1e-4)


def _with_granule(ogg: bytes, granule: int) -> bytes:
    """An Ogg file whose last page ends at this sample."""
    start = ogg.rfind(b"OggS\0")
    page = bytearray(ogg[start:])
    page[6:14] = struct.pack("<Q", granule)
    page[22:26] = bytes(4)
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x104C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
    page[22:26] = _le(checksum)
    return ogg[:start] + bytes(page)


@pytest.mark.parametrize("behind", [b"TAG" + bytes(125), bytes(100_000), b"\xff\xf8" * 50_000])
def test_what_stands_behind_flac_is_no_sound(tmp_path: Path, behind: bytes) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(_whole("FLAC") + behind)
    found, file = _decode(path)
    assert _is_all(found) and file.damage is None and file.format == "FLAC"


def test_a_file_of_more_than_four_gibibytes(tmp_path: Path) -> None:
    """Its size overflowed: 6 GiB less 4 GiB. Nothing is written of its zeros."""
    path = tmp_path / "a.wav"
    path.write_bytes(_wav(2 * 2**30, riff=2 * 2**30 + 36))
    with open(path, "r+b") as file:
        file.seek(44 + 2 * 2**30)
        file.write(b"\x11" * 4096)
        file.truncate(44 + 6 * 2**30)
    with open(path, "rb", buffering=0) as file:
        found = find_understated(file)
        assert found is not None
        assert (found.start, found.n_bytes, found.declared_bytes) == (44, 6 * 2**30, 2 * 2**30)
        decoder = SndfileDecoder(file, found)
        assert decoder.declared_s == 3 * 2**30 / RATE
        block = next(decoder.blocks())
        np.testing.assert_array_equal(block[0, : SOUND.size], SOUND / np.float32(2**15))
        decoder.close()


def _damaged(content: bytes, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    damaged = bytearray(content)
    for place in rng.integers(0, min(len(content), 120), 6):
        damaged[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))])
    return bytes(damaged[: rng.integers(4, len(content))] if seed % 4 == 0 else damaged)


@pytest.mark.parametrize(
    "make",
    [
        lambda: _wav(0),
        lambda: _rf64(0),
        lambda: _w64(0),
        lambda: _aiff(0),
        lambda: _au(100),
        lambda: _caf(0),
    ],
    ids=["wav", "rf64", "w64", "aiff", "au", "caf"],
)
def test_damaged_headers_are_no_error_of_ours(tmp_path: Path, make: Callable[[], bytes]) -> None:
    path = tmp_path / "a"
    content = make()
    for seed in range(100):
        path.write_bytes(_damaged(content, seed))
        with open(path, "rb", buffering=0) as file:
            found = find_understated(file)
            assert file.tell() == 0
        if found is not None:
            assert 0 <= found.n_bytes <= path.stat().st_size - found.start
        if seed < 25:
            with contextlib.suppress(AudioError):
                _decode(path)


def test_the_sound_behind_its_new_header() -> None:
    file = io.BytesIO(b"old sound behind")
    whole = Understated("WAV", b"new ", 4, 5, 0).with_header(file)
    assert whole.read(3) == b"new" and whole.tell() == 3
    assert whole.read(100) == b" " and whole.read(100) == b"sound" and whole.read(1) == b""
    assert whole.seek(-3, io.SEEK_END) == 6 and whole.read(2) == b"un"
    assert whole.seek(-2, io.SEEK_CUR) == 6 and whole.tell() == 6
    assert whole.readable() and whole.seekable()
    with pytest.raises(ValueError, match="-9"):
        whole.seek(-9)
    assert SndfileSource(whole).seek(-9) == 0 and whole.tell() == 0


def test_a_disk_that_fails_ends_in_one_line(tmp_path: Path) -> None:
    class _Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    whole = SndfileSource(Understated("WAV", b"new ", 4, 5, 0).with_header(_Failing()))
    buffer = bytearray(4)
    assert whole.readinto(buffer) == 4 and buffer == b"new " and whole.error is None
    assert whole.readinto(buffer) == 0
    assert "Input/output error" in str(whole.error)
