"""Calibration: cosines to a relevance in [0, 1] that is comparable between queries.

The cosine of a good fit differs from query to query. So each query is compared with a background:
embeddings of some thousand ordinary sounds, a file of the bundle. The cosine is standardised by
mean and standard deviation of the query's cosines to the background. A logistic curve, fitted once
on recordings with captions (`trainer/calibrate.py`), turns that number into a relevance.

A text that is asked of a library is compared the other way round, too: with how well ordinary texts
fit the sound that fits it best. A sound that many words fit is a poor answer to one of them.

Relevance increases with the cosine, so the ranking of one query does not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from soundsearch.arrays import Array
from soundsearch.encoder.bundle import (
    BACKGROUND,
    BACKGROUND_TEXTS,
    EncoderBundle,
    RelevanceConfig,
)
from soundsearch.errors import BundleError

#: Kinds of query.
Kind = Literal["text", "audio"]

#: Relevance from which a sound fits the query, by definition of the curve.
FITS = 0.5
#: Smaller standard deviations are rounding errors: the query has one cosine to all the background.
LEAST_STD = 1e-6


@dataclass(frozen=True)
class Calibration:
    """Turns cosines of one encoder into relevance.

    Attributes:
        background: Unit embeddings of ordinary sounds, (n, dim) float32.
        curves: One curve for each kind of query.
        texts: Unit embeddings of ordinary texts, (n, dim) float32, if `curves.search` needs them.
    """

    background: Array
    curves: RelevanceConfig
    texts: Array | None = None

    @classmethod
    def of(cls, bundle: EncoderBundle) -> Calibration | None:
        """Return the calibration of a bundle, None if it has none. Raises as `read_background`."""
        if bundle.relevance is None:
            return None
        texts = None
        if bundle.relevance.search is not None:
            texts = read_background(bundle, BACKGROUND_TEXTS)
        return cls(read_background(bundle), bundle.relevance, texts)

    def relevance(self, kind: Kind, queries: Array, cosines: NDArray[Any]) -> NDArray[np.float64]:
        """Return relevance (..., m) in [0, 1] of cosines (..., m) to queries (..., dim) of one kind."""
        curve = self.curves.text if kind == "text" else self.curves.audio
        return curve.height(standardise(queries, cosines, self.background))

    def relevance_of_hits(
        self, kind: Kind, query: Array, cosines: NDArray[Any], nearest: Array
    ) -> NDArray[np.float64]:
        """Return the relevance of hits in a library.

        Args:
            kind: Of the query.
            query: Unit vector, (dim,).
            cosines: Of m hits, (m,).
            nearest: The embedding of the library with the highest cosine to the query, (dim,).

        Returns:
            (m,) float64 in [0, 1].
        """
        if kind == "audio" or self.curves.search is None:
            return self.relevance(kind, query, cosines)
        return self.curves.search.height(self.two_sided(query, cosines, nearest))

    def two_sided(self, query: Array, cosines: NDArray[Any], nearest: Array) -> NDArray[np.float64]:
        """Standardise cosines by ordinary sounds, and add how far a text stands out among texts.

        Arguments as of `relevance_of_hits`. What is added is the cosine of the text to `nearest`,
        standardised by the cosines of ordinary texts to it.
        """
        assert self.texts is not None
        stands_out = standardise(nearest, np.array([query @ nearest]), self.texts)
        return standardise(query, cosines, self.background) + stands_out

    def deviation(self, query: Array) -> float:
        """Return the standard deviation of the cosines of a query (dim,) to the background."""
        return max(float((self.background @ query).std()), LEAST_STD)


def standardise(queries: Array, cosines: NDArray[Any], background: Array) -> NDArray[np.float64]:
    """Standardise cosines by the cosines of their queries to the background.

    Args:
        queries: Unit vectors, (..., dim).
        cosines: m cosines of each query, (..., m).
        background: Unit vectors, (n, dim).

    Returns:
        (..., m) float64: cosine minus mean, divided by the standard deviation, LEAST_STD at least.
    """
    to_background = (queries @ background.T).astype(np.float64)  # (..., n)
    std = np.maximum(to_background.std(axis=-1, keepdims=True), LEAST_STD)
    z: NDArray[np.float64] = (cosines - to_background.mean(axis=-1, keepdims=True)) / std
    return z


def read_background(bundle: EncoderBundle, name: str = BACKGROUND) -> Array:
    """Read a background of the bundle, (n, dim) float32 with n >= 2.

    Raises:
        BundleError: Its SHA-256, shape or values are not as expected.
    """
    path = bundle.file(name)
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
