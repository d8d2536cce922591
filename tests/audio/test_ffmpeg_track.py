"""The clock of a sound track: where its packets come to lie, by their time stamps."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from soundsearch.audio.ffmpeg_container import open_container, packets_of
from soundsearch.audio.ffmpeg_track import SoundTrack

RATE = 1000
#: Seconds of sound in a packet.
PACKET_S = 0.1
SIZE = round(PACKET_S * RATE)


def _begins(path: Path, times_s: list[float], length_s: float | None = None) -> list[float]:
    """The seconds at which packets with these time stamps begin in the decoded sound.

    Packet i holds the value i + 1 in steps of a hundredth. All but the packets is silence.
    length_s: what the container declares.
    """
    with av.open(str(path), "w", format="matroska") as output:
        stream = output.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for i in range(len(times_s)):
            packet = av.Packet(np.full(SIZE, round((i + 1) / 100 * 2**15), np.int16).tobytes())
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = i * SIZE
            output.mux_one(packet)
    pieces = []
    with path.open("rb") as file, open_container(file) as container:
        declared = SimpleNamespace(
            format=container.format,
            streams=container.streams,
            start_time=round(times_s[0] * av.time_base),
            duration=None if length_s is None else round(length_s * av.time_base),
        )
        track = SoundTrack(container.streams.audio[0], declared)
        for packet, time_s in zip(packets_of(container, [0], pytest.fail), times_s, strict=False):
            packet.pts = packet.dts = round(time_s * RATE)
            pieces += list(track.decode(packet))
        pieces += list(track.finish())
    steps = np.rint(100 * np.concatenate(pieces, axis=1)[0]).astype(int)
    assert [np.count_nonzero(steps == i + 1) for i in range(len(times_s))] == [SIZE] * len(times_s)
    assert (track.n_samples, track.n_damaged) == (steps.size, 0)
    return [round(float(np.argmax(steps == i + 1)) / RATE, 3) for i in range(len(times_s))]


@pytest.mark.parametrize(
    ("times_s", "expected"),
    [
        ([0.0, 0.1, 0.2], [0.0, 0.1, 0.2]),
        ([0.0, 0.13, 0.23], [0.0, 0.1, 0.2]),  # rounding
        ([0.0, 0.14, 0.24], [0.0, 0.14, 0.24]),
        ([0.0, 0.1, 5.0, 5.1], [0.0, 0.1, 5.0, 5.1]),
        ([0.0, 1.0, 2.0, 2.1], [0.0, 1.0, 2.0, 2.1]),  # a gap behind a gap
        ([0.0, 1.0, 1.14, 1.24], [0.0, 1.0, 1.14, 1.24]),
        ([0.0, 0.1, 5.0, 0.3, 0.4], [0.0, 0.1, 0.2, 0.3, 0.4]),  # one damaged time stamp
        ([0.0, 0.1, 5.0], [0.0, 0.1, 5.0]),  # none after it says otherwise
    ],
)
def test_a_gap_in_the_time_stamps_is_silence(
    tmp_path: Path, times_s: list[float], expected: list[float]
) -> None:
    assert _begins(tmp_path / "a.mkv", times_s) == expected


@pytest.mark.parametrize(("gap_s", "is_pause"), [(599.0, True), (601.0, False)])
def test_where_the_length_is_not_known_a_gap_of_ten_minutes_is_the_longest(
    tmp_path: Path, gap_s: float, is_pause: bool
) -> None:
    begins = _begins(tmp_path / "a.mkv", [0.0, PACKET_S + gap_s, 2 * PACKET_S + gap_s])
    late_s = gap_s if is_pause else 0.0
    assert begins == [0.0, round(PACKET_S + late_s, 3), round(2 * PACKET_S + late_s, 3)]


@pytest.mark.parametrize(("length_s", "is_pause"), [(701.0, True), (699.0, False)])
def test_a_gap_ends_before_the_declared_length(
    tmp_path: Path, length_s: float, is_pause: bool
) -> None:
    begins = _begins(tmp_path / "a.mkv", [0.0, 700.0, 700.1], length_s)
    assert begins == ([0.0, 700.0, 700.1] if is_pause else [0.0, 0.1, 0.2])


def test_time_stamps_that_go_back_far_begin_anew(tmp_path: Path) -> None:
    begins = _begins(tmp_path / "a.mkv", [20.0, 20.1, 10.0, 10.1, 10.7, 10.8])
    assert begins == [0.0, 0.1, 0.2, 0.3, 0.9, 1.0]


def test_time_stamps_that_go_back_a_little_leave_the_clock(tmp_path: Path) -> None:
    begins = _begins(tmp_path / "a.mkv", [20.0, 20.1, 19.5, 20.3, 20.4])
    assert begins == [0.0, 0.1, 0.2, 0.3, 0.4]
