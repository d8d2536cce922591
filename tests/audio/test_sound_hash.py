"""The hash of the sound of a recording: of its samples, not of its file."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.audio.recording import AudioFile
from soundsearch.audio.sound_hash import SoundHash
from tests.sounds import noise, tone, write


def hash_of(path: Path) -> bytes:
    with AudioFile(path) as file:
        for _ in file.blocks():
            pass
        return file.sound_hash


def two_channels(seconds: float = 40.0) -> NDArray[np.int16]:
    """More than one block of whole samples, (time, channel); writing rounds none of them."""
    samples = np.stack([noise(seconds, seed=1), noise(seconds, seed=2)], axis=1)
    return (samples * 2**14).astype(np.int16)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_files_of_the_same_samples_have_one_hash(tmp_path: Path, subtype: str) -> None:
    samples = two_channels()
    paths = [
        write(tmp_path / f"a.{ending}", samples, subtype=subtype)
        for ending in ("wav", "flac", "aiff", "caf", "w64", "rf64")
    ]
    assert len({hash_of(path) for path in paths}) == 1


def test_what_another_decoder_reads_without_loss_has_the_same_hash(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", two_channels(), subtype="PCM_16")
    samples, rate = soundfile.read(path, dtype="int16")
    with av.open(str(tmp_path / "a.m4a"), "w") as output:
        stream = output.add_stream("alac", rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T), format="s16p", layout="stereo"
        )
        frame.sample_rate = rate
        fifo = av.AudioFifo()
        fifo.write(frame)
        while (
            part := fifo.read(stream.codec_context.frame_size or 4096, partial=True)
        ) is not None:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    with AudioFile(tmp_path / "a.m4a") as file:
        assert file.format == "MOV/ALAC"
    assert hash_of(tmp_path / "a.m4a") == hash_of(path)


def test_other_tags_are_no_other_sound(tmp_path: Path) -> None:
    for ending in ("flac", "wav"):
        path = write(tmp_path / f"a.{ending}", tone(440, 3))
        tagged = tmp_path / f"b.{ending}"
        with av.open(str(path)) as source, av.open(str(tagged), "w") as output:
            output.metadata["title"] = "Another title"
            stream = output.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
        assert tagged.read_bytes() != path.read_bytes()
        assert hash_of(tagged) == hash_of(path), ending


@pytest.mark.parametrize("ending", ["mp3", "wav", "flac"])
def test_a_tag_before_or_behind_is_no_other_sound(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"a.{ending}", tone(440, 3))
    sound = path.read_bytes()
    title = b"TIT2\0\0\0\x0e\0\0\0another title"
    before = b"ID3\x03\0\0\0\0\0" + bytes([len(title)]) + title
    behind = b"TAG" + b"another title".ljust(125, b"\0")
    for name, content in (("before", before + sound), ("behind", sound + behind)):
        tagged = tmp_path / f"{name}.{ending}"
        tagged.write_bytes(content)
        assert hash_of(tagged) == hash_of(path), name


def test_another_sound_has_another_hash(tmp_path: Path) -> None:
    samples = two_channels(1.0)
    louder = samples.copy()
    louder[4000, 1] += 1
    hashes = [
        hash_of(write(tmp_path / f"{i}.wav", made, rate, subtype="PCM_16"))
        for i, (made, rate) in enumerate(
            [
                (samples, 8000),
                (samples, 8001),
                (samples[:-1], 8000),
                (samples[:, ::-1], 8000),
                (samples[:, 0], 8000),
                (samples.reshape(-1), 8000),
                (louder, 8000),
            ]
        )
    ]
    assert len(set(hashes)) == len(hashes)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 3))
def test_blocks_of_any_length_make_one_hash(lengths: list[int], n_channels: int) -> None:
    samples = np.random.default_rng(0).standard_normal((n_channels, sum(lengths)), np.float32)
    whole, parts = SoundHash(8000, n_channels), SoundHash(8000, n_channels)
    whole.add(np.asfortranarray(samples))
    for part in np.split(samples, np.cumsum(lengths)[:-1], axis=1):
        parts.add(part)
    assert whole.digest() == parts.digest()
    assert SoundHash(8000, 1).digest() != SoundHash(8000, 2).digest()


def test_minus_zero_is_zero() -> None:
    hashes = []
    for zero in (0.0, -0.0):
        made = SoundHash(8000, 1)
        made.add(np.full((1, 5), zero, np.float32))
        hashes.append(made.digest())
    assert hashes[0] == hashes[1]
