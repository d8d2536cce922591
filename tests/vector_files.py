"""Files of vectors beside a database: what they hold, and other ones in their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsearch.vectors.exact import ExactIndex
from soundsearch.vectors.folder import DELTA, Manifest, facts_of_files


def files_in(folder: Path) -> dict[str, bytes]:
    """The content of all files in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def replace_vectors(folder: Path, ids: Sequence[int], embeddings: NDArray[np.float32]) -> None:
    """Put other exact vectors into a folder; its manifest says that they are right."""
    delta = ExactIndex(embeddings.shape[1])
    delta.add(np.array(ids, np.int64), embeddings)
    manifest = Manifest.read(folder)
    delta.save(folder / DELTA)
    files = {**manifest.files, **facts_of_files(folder, [DELTA])}
    n = len(ids)
    dataclasses.replace(manifest, n_windows=n, n_delta=n, files=files).write(folder)
