"""From cosines to relevance: how well a sound fits a query, from 0 to 1, alike for every query.

The cosine of a good fit differs from query to query. So a query is first asked of a background:
embeddings of some thousand ordinary sounds that the bundle carries. What counts is by how many
standard deviations a cosine lies above the mean of those. A logistic curve, fitted once on
recordings with captions (`trainer/starter/calibrate.py`), makes a relevance of that. For one
query it rises with the cosine, so no order changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from soundsearch.encoder.bundle import BACKGROUND, EncoderBundle, RelevanceConfig
from soundsearch.errors import BundleError

Array = NDArray[np.float32]
#: What a query is.
Kind = Literal["text", "audio"]

#: From here on a sound fits, by the curve's definition; below, it is only near.
FITS = 0.5
#: Smaller deviations are rounding: a query that meets nothing different in the background.
LEAST_STD = 1e-6


@dataclass(frozen=True)
class Calibration:
    """What turns cosines of one encoder into relevance.

    background: (n, dim) float32. curves: one for each kind of query.
    """

    background: Array
    curves: RelevanceConfig

    @classmethod
    def of(cls, bundle: EncoderBundle) -> Calibration | None:
        """The bundle's own; None if its scores are not calibrated. BundleError as read_background."""
        if bundle.relevance is None:
            return None
        return cls(read_background(bundle), bundle.relevance)

    def relevance(self, kind: Kind, queries: Array, cosines: NDArray[Any]) -> NDArray[np.float64]:
        """Relevance (..., m) in [0, 1] of cosines (..., m) to queries (..., dim) of one kind."""
        curve = self.curves.text if kind == "text" else self.curves.audio
        z = standardise(queries, cosines, self.background)
        return np.exp(-np.logaddexp(0.0, -(curve.slope * z + curve.offset)))


def standardise(queries: Array, cosines: NDArray[Any], background: Array) -> NDArray[np.float64]:
    """By how many standard deviations cosines lie above what their queries meet in the background.

    queries: (..., dim). cosines: (..., m), m to a query. background: (n, dim).
    Returns (..., m) float64. Where a query meets the same everywhere, LEAST_STD is the deviation.
    """
    met = (queries @ background.T).astype(np.float64)  # (..., n)
    std = np.maximum(met.std(axis=-1, keepdims=True), LEAST_STD)
    z: NDArray[np.float64] = (cosines - met.mean(axis=-1, keepdims=True)) / std
    return z


def read_background(bundle: EncoderBundle) -> Array:
    """The bundle's background, (n, dim) float32 with n >= 2; its SHA-256, shape and values checked.

    Raises BundleError naming the file, what was found and what is expected.
    """
    path = bundle.file(BACKGROUND)
    try:
        with open(path, "rb") as file:
            background = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: not a NumPy array ({error}); restore the bundle") from error
    if background.ndim != 2 or len(background) < 2 or background.shape[1] != bundle.dim:
        raise BundleError(
            f"{path}: expected 2 or more embeddings of {bundle.dim} numbers, "
            f"found shape {background.shape}; restore the bundle"
        )
    if background.dtype.kind != "f" or not np.isfinite(background).all():
        found = "NaN or infinity" if background.dtype.kind == "f" else background.dtype
        raise BundleError(
            f"{path}: expected finite floating-point numbers, found {found}; restore the bundle"
        )
    embeddings: Array = background.astype(np.float32)
    return embeddings
