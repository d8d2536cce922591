"""Sound at another sample rate, by soxr."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import soxr

#: How finely soxr resamples; HQ is its 20-bit setting.
RESAMPLING_QUALITY = "HQ"


def open_resampler(from_hz: int, to_hz: int, n_channels: int) -> soxr.ResampleStream:
    """A stream that takes (time, n_channels) float32 at from_hz and gives the same sound at to_hz."""
    import soxr

    return soxr.ResampleStream(
        from_hz, to_hz, n_channels, dtype="float32", quality=RESAMPLING_QUALITY
    )
