"""Kinds of arrays, each named once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Samples, features and embeddings.
Array = NDArray[np.float32]
#: Cosines and scores, rounded as they are shown.
Cosines = NDArray[np.float64]
#: Numbers of any precision, such as scores of a benchmark.
Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
#: Ids of the database.
Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]
