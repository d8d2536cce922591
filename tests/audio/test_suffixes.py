from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from av.codec import Codec
from av.format import ContainerFormat

from soundsearch.audio.recording import AudioFile
from soundsearch.audio.suffixes import AMBIGUOUS_SUFFIXES, AUDIO_SUFFIXES, may_hold_sound
from tests import sounds

#: Codec, container and sample rate, by ending: what FFmpeg writes.
FFMPEG = {
    ".aac .adts": ("aac", "adts", 44100),
    ".ac3": ("ac3", "ac3", 44100),
    ".adx": ("adpcm_adx", "adx", 44100),
    ".amr": ("libopencore_amrnb", "amr", 8000),
    ".ast": ("pcm_s16be_planar", "ast", 44100),
    ".avi .divx": ("mp2", "avi", 44100),
    ".bw64 .bwf .wav .wave": ("pcm_s16le", "wav", 44100),
    ".eac3 .ec3": ("eac3", "eac3", 48000),
    ".f4v": ("aac", "f4v", 44100),
    ".flv": ("libmp3lame", "flv", 44100),
    ".ircam": ("pcm_s16le", "ircam", 44100),
    ".isma": ("aac", "ismv", 44100),
    ".latm .loas": ("aac", "latm", 44100),
    ".m1a .m2a .mp1 .mp2 .mpa .mpga": ("mp2", "mp2", 44100),
    ".m2t .m2ts .mts .ts": ("mp2", "mpegts", 48000),
    ".m4a .m4b .m4r .m4v .f4a": ("aac", "ipod", 44100),
    ".mka": ("tta", "matroska", 44100),
    ".mkv .mk3d": ("ac3", "matroska", 44100),
    ".mmf": ("adpcm_yamaha", "mmf", 22050),
    ".mov .qt": ("pcm_s16le", "mov", 44100),
    ".mp3": ("libmp3lame", "mp3", 44100),
    ".mp4": ("aac", "mp4", 44100),
    ".mpeg .mpg": ("mp2", "mpeg", 44100),
    ".nut": ("mp2", "nut", 44100),
    ".ogm .ogx .opus .spx": ("libopus", "ogg", 48000),
    ".ogv": ("libopus", "ogv", 48000),
    ".ra .rm .rmvb": ("real_144", "rm", 8000),
    ".rf64": ("pcm_s24le", "wav", 44100),
    ".sox": ("pcm_s32le", "sox", 44100),
    ".tta": ("tta", "tta", 44100),
    ".vob": ("ac3", "vob", 48000),
    ".voc": ("pcm_u8", "voc", 44100),
    ".w64": ("pcm_s16le", "w64", 44100),
    ".weba .webm": ("libopus", "webm", 48000),
    ".wma .wmv .asf": ("wmav2", "asf", 44100),
    ".wtv": ("mp2", "wtv", 48000),
    ".wv": ("wavpack", "wv", 44100),
    ".3g2": ("aac", "3g2", 44100),
    ".3gp": ("libopencore_amrnb", "3gp", 8000),
}
#: Format, subtype and sample rate, by ending: what libsndfile writes.
LIBSNDFILE = {
    ".8svx": ("SVX", "PCM_S8", 44100),
    ".aif .aiff": ("AIFF", "PCM_16", 44100),
    ".aifc": ("AIFF", "FLOAT", 44100),
    ".au .snd": ("AU", "PCM_16", 44100),
    ".avr": ("AVR", "PCM_16", 44100),
    ".caf": ("CAF", "PCM_16", 44100),
    ".flac": ("FLAC", "PCM_16", 44100),
    ".iff .svx": ("SVX", "PCM_16", 44100),
    ".nist .sph": ("NIST", "PCM_16", 44100),
    ".ogg .oga": ("OGG", "VORBIS", 44100),
    ".paf": ("PAF", "PCM_16", 44100),
    ".pvf": ("PVF", "PCM_16", 44100),
    ".sds": ("SDS", "PCM_16", 44100),
    ".wve": ("WVE", "ALAW", 8000),
}
#: Container and codec of what nothing here can write (or only beside pictures of one size).
READ_ONLY = {
    ".aa3 .oma": ("oma", "atrac3"),
    ".ape": ("ape", "ape"),
    ".awb": ("amr", "amrwb"),
    ".dff": ("iff", "dst"),
    ".dsf": ("dsf", "dsd_lsbf_planar"),
    ".dts": ("dts", "dca"),
    ".dtshd": ("dtshd", "dca"),
    ".dv": ("dv", "pcm_s16le"),
    ".gsm": ("gsm", "gsm"),
    ".gxf": ("gxf", "pcm_s16le"),
    ".mlp": ("mlp", "mlp"),
    ".mp+": ("mpc", "mpc7"),
    ".mpc": ("mpc8", "mpc8"),
    ".mxf": ("mxf", "pcm_s24le"),
    ".qcp": ("qcp", "qcelp"),
    ".shn": ("shn", "shorten"),
    ".tak": ("tak", "tak"),
    ".thd .truehd": ("truehd", "truehd"),
}


def _by_ending(table: dict[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [(suffix, *row) for suffixes, row in table.items() for suffix in suffixes.split()]


@pytest.mark.parametrize(("suffix", "codec", "container", "rate"), _by_ending(FFMPEG))  # type: ignore[arg-type]
def test_what_ffmpeg_writes_is_listed_and_read(
    tmp_path: Path, suffix: str, codec: str, container: str, rate: int
) -> None:
    path = sounds.encode(tmp_path / f"a{suffix}", sounds.noise(1.0, rate), rate, codec, container)
    _is_listed_and_read(path, rate)


@pytest.mark.parametrize(("suffix", "form", "subtype", "rate"), _by_ending(LIBSNDFILE))  # type: ignore[arg-type]
def test_what_libsndfile_writes_is_listed_and_read(
    tmp_path: Path, suffix: str, form: str, subtype: str, rate: int
) -> None:
    path = tmp_path / f"a{suffix}"
    with open(path, "w+b") as file:
        soundfile.write(file, sounds.noise(1.0, rate), rate, format=form, subtype=subtype)
    _is_listed_and_read(path, rate)


def _is_listed_and_read(path: Path, rate: int) -> None:
    assert path.suffix in AUDIO_SUFFIXES
    assert may_hold_sound(path)
    with AudioFile(path) as file:
        mono = np.concatenate(list(file.blocks()))
    assert file.sample_rate == pytest.approx(rate, rel=0.02)  # VOC has few rates
    assert mono.size / file.sample_rate == pytest.approx(1.0, abs=0.15)
    assert np.abs(mono).max() > 0.1


@pytest.mark.parametrize(("suffix", "container", "codec"), _by_ending(READ_ONLY))  # type: ignore[arg-type]
def test_what_nothing_here_writes_has_its_decoder(suffix: str, container: str, codec: str) -> None:
    assert suffix in AUDIO_SUFFIXES
    assert ContainerFormat(container, "r").name
    assert Codec(codec, "r").name


def test_no_ending_is_listed_without_a_test() -> None:
    tested = {s for table in (FFMPEG, LIBSNDFILE, READ_ONLY) for key in table for s in key.split()}
    assert tested == AUDIO_SUFFIXES


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ts", b"export const GREETING: string = 'Good morning';\n" * 100),
        ("a.ts", b"G" * 187 + b"\n"),
        ("a.mts", b"import { G } from './g.mjs';\n" * 100),
        ("a.dts", b'/dts-v1/;\n/ { model = "board"; };\n'),
        ("a.iff", b"FORM\0\0\1\0ILBMBMHD"),
        ("a.ts", b""),
        ("a.txt", b"RIFF"),
        ("wav", b"RIFF"),
    ],
)
def test_other_files_of_the_same_ending_are_no_sound(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert not may_hold_sound(path)


@pytest.mark.parametrize("first", [0, 100])
@pytest.mark.parametrize("suffix", [".ts", ".MTS"])
def test_a_transport_stream_may_begin_within_a_packet(
    tmp_path: Path, suffix: str, first: int
) -> None:
    path = tmp_path / f"a{suffix}"
    sounds.encode(path, sounds.noise(1.0, 48000), 48000, "mp2", "mpegts")
    path.write_bytes(path.read_bytes()[first:])
    assert may_hold_sound(path)


def test_an_ambiguous_file_that_cannot_be_read_is_left_to_the_decoders(tmp_path: Path) -> None:
    assert may_hold_sound(tmp_path / "gone.ts")
    assert set(AMBIGUOUS_SUFFIXES) <= AUDIO_SUFFIXES
