"""An index of any size with made-up embeddings, for measuring searches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from soundsearch.encoder.registry import find_bundle
from soundsearch.store import FileFacts, Indexed
from soundsearch.store.pinned import create_index
from soundsearch.vectors.cache import refresh
from soundsearch.vocabulary import load_vocabulary

WINDOWS_PER_RECORDING = 10


def make_index(folder: Path, model: str, n_windows: int) -> None:
    """Fill a new index with random unit embeddings, ten windows a recording, named by sound words."""
    bundle = find_bundle(model)
    random = np.random.default_rng(0)
    words = load_vocabulary()
    store = create_index(folder, bundle)
    spans = [(3.0 * i, 3.0 * i + 3.0) for i in range(WINDOWS_PER_RECORDING)]
    with store.writer() as writer:
        with writer.transaction() as changes:
            root = changes.add_root(Path("/made/up"))
            for i in range(n_windows // WINDOWS_PER_RECORDING):
                embeddings = random.standard_normal((len(spans), bundle.dim)).astype(np.float32)
                embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
                file = FileFacts(
                    root.id, f"{i // 1000:04d}/{words[i % len(words)]} {i:06d}.wav", 1_000_000, i
                )
                changes.put(
                    Indexed(file, i.to_bytes(16, "big"), 30.0, 48_000, 2, "WAV", spans, embeddings),
                )
        refresh(writer)
    store.close()
