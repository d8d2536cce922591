"""What containers declare, and packets past failures of the demultiplexer."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import av
import pytest

from soundsearch.audio.ffmpeg_container import MOST_FAILURES, end_of, packets_of, start_of


@pytest.mark.parametrize(
    ("form", "start_s", "declared_s", "end_s"),
    [
        ("mov,mp4,m4a", 2.0, 10.0, 10.0),
        ("matroska,webm", 2.0, 10.0, 8.0),  # counts from 0
        ("matroska,webm", None, 10.0, 10.0),
        ("matroska,webm", 2.0, None, None),
    ],
)
def test_where_a_container_ends(
    form: str, start_s: float | None, declared_s: float | None, end_s: float | None
) -> None:
    start, duration = (
        None if seconds is None else round(seconds * av.time_base)
        for seconds in (start_s, declared_s)
    )
    container = SimpleNamespace(
        format=SimpleNamespace(name=form), start_time=start, duration=duration
    )
    assert start_of(container) == (start_s or 0.0)
    assert end_of(container) == end_s


class _Failing:
    """A container that fails so many times in front of each packet."""

    def __init__(self, *n_failures: int) -> None:
        self.streams = ["pictures", "sound"]
        self._left = list(n_failures)

    def demux(self, streams: list[str]) -> Iterator[str]:
        assert streams == ["sound"]
        while self._left:
            if self._left[0] > 0:
                self._left[0] -= 1
                raise av.InvalidDataError(0, "damaged")
            self._left.pop(0)
            yield "packet"


@pytest.mark.parametrize(
    ("n_failures", "n_packets"),
    [
        ((0, 0), 2),
        ((1, 1), 2),
        ((MOST_FAILURES - 1, MOST_FAILURES - 1, 1), 3),
        ((0, MOST_FAILURES, 0), 1),
    ],
)
def test_failures_in_a_row_end_the_file(n_failures: tuple[int, ...], n_packets: int) -> None:
    counted: list[None] = []
    packets = packets_of(_Failing(*n_failures), [1], lambda: counted.append(None))
    assert list(packets) == ["packet"] * n_packets
    assert len(counted) == sum(n_failures[: n_packets + 1])


def test_the_end_of_a_file_is_no_failure() -> None:
    def demux(streams: list[str]) -> Iterator[str]:
        yield "packet"
        raise EOFError

    container = SimpleNamespace(streams=["sound"], demux=demux)
    assert list(packets_of(container, [0], pytest.fail)) == ["packet"]
