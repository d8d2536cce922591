"""Ogg files put one after the other, as radio streams are recorded: read link by link.

Each link has a header, a rate and channels of its own; libsndfile and FFmpeg stop, or go wrong,
where those change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from soundsearch.arrays import Array
from soundsearch.audio.blocks import with_channels
from soundsearch.audio.decoder import Decoder, GaveUpError
from soundsearch.audio.file_part import FilePart
from soundsearch.audio.resampling import resample
from soundsearch.audio.sndfile import LOST_S
from soundsearch.errors import AudioError


class ChainedDecoder:
    """A `Decoder`: the links of a chained Ogg file in order, at the rate of the first.

    A link that cannot be read counts as a damaged packet. starts: where each link begins in the
    file, in bytes. open_link: opens one of them.
    Raises AudioError where the first link holds no sound; or GaveUpError, of its decoder.
    """

    start_s = 0.0
    has_all_packets = False
    note: str | None = None

    def __init__(
        self, file: BinaryIO, starts: list[int], open_link: Callable[[BinaryIO], Decoder]
    ) -> None:
        ends = [*starts[1:], None]
        self._parts = [
            cast(BinaryIO, FilePart(file, begin, end))
            for begin, end in zip(starts, ends, strict=True)
        ]
        self._open_link = open_link
        self._link = open_link(self._parts[0])
        self.sample_rate, self.n_channels = self._link.sample_rate, self._link.n_channels
        self.format, self.bits = self._link.format, self._link.bits
        self.lost_s = LOST_S * len(starts)
        self.n_damaged = 0
        self.decoded_s = 0.0
        self.declared_s: float | None = 0.0

    def blocks(self) -> Iterator[Array]:
        """Blocks (channel, time) float32, in order."""
        for i, part in enumerate(self._parts):
            try:
                if i > 0:
                    self._link = self._open_link(part)
                yield from self._converted(self._link)
            except (AudioError, GaveUpError):
                self.n_damaged += 1
                continue
            finally:
                self._link.close()
            self.n_damaged += self._link.n_damaged
            self.decoded_s += self._link.decoded_s
            if self.declared_s is not None and self._link.declared_s is not None:
                self.declared_s += self._link.declared_s
            else:
                self.declared_s = None

    def _converted(self, link: Decoder) -> Iterator[Array]:
        blocks = (with_channels(block, self.n_channels) for block in link.blocks())
        return resample(blocks, link.sample_rate, self.sample_rate)

    def close(self) -> None:
        """Let the library go of the file, which stays open."""
        self._link.close()
