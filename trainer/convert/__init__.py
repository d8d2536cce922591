"""Published weights to encoder bundles: VIP-ANT's checkpoints, CLAP, and CLIP's text tower."""

from __future__ import annotations

from soundsearch.errors import SoundsearchError


class ConversionError(SoundsearchError):
    """Published weights cannot be downloaded, read or used."""
