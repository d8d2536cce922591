"""An index of any size with made-up recordings, for measuring what depends on its size.

The embeddings are mixtures of real ones. The encoder's bundle carries embeddings of about a thousand
ordinary sounds. A made recording mixes three of them, drawn at random with Dirichlet weights; a
window of it is that mixture, plus a quarter of the difference between two more of them, made unit.
So windows of one recording lie near each other, and all lie where the encoder puts real sounds.
Recordings have ten windows, are named by sound words, and lie a thousand to a folder.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.calibration import Calibration
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.store import FileFacts, Indexed
from soundsearch.store.backend import Place
from soundsearch.store.pinned import create_index
from soundsearch.vocabulary import load_vocabulary

Array = NDArray[np.float32]

ROOT = Path("/made/up")
WINDOWS_PER_RECORDING = 10
RECORDINGS_PER_FOLDER = 1000
#: Sounds in the mixture of a recording.
N_MIXED = 3
#: How far a window lies from its recording's mixture, in differences of two sounds.
SPREAD = 0.25
#: Recordings stored in one transaction.
STORED_AT_ONCE = 1000


def make_index(
    place: Place,
    n_windows: int,
    seed: int = 0,
    model: str = DEFAULT_MODEL,
    roots: Sequence[Path] = (ROOT,),
) -> None:
    """Fill a new index through the writer. The FAISS cache is left to its first use.

    Args:
        place: of the index.
        n_windows: rounded down to whole recordings of ten windows.
        seed: of all that is drawn.
        model: an encoder that carries embeddings of ordinary sounds.
        roots: what the recordings lie in, in equal parts one after the other.
    """
    bundle = find_bundle(model)
    n_recordings = n_windows // WINDOWS_PER_RECORDING
    store = create_index(place, bundle)
    with contextlib.closing(store), store.writer() as writer:
        with writer.transaction() as changes:
            root_ids = [changes.add_root(root).id for root in roots]
        made = made_recordings(root_ids, n_recordings, seed, bundle)
        while some := list(itertools.islice(made, STORED_AT_ONCE)):
            with writer.transaction() as changes:
                changes.put_all(some)


def made_recordings(
    root_ids: Sequence[int], n_recordings: int, seed: int, bundle: EncoderBundle
) -> Iterator[Indexed]:
    """Recordings with ten windows each, as the page of this module says."""
    words = load_vocabulary()
    spans = [(3.0 * i, 3.0 * i + 3.0) for i in range(WINDOWS_PER_RECORDING)]
    drawn = made_embeddings(n_recordings, seed, bundle)
    for i, embeddings in enumerate(drawn):
        place = f"{i // RECORDINGS_PER_FOLDER:04d}/{words[i % len(words)]} {i:07d}.wav"
        file = FileFacts(root_ids[i * len(root_ids) // n_recordings], place, 1_000_000, i)
        content = i.to_bytes(16, "big")
        yield Indexed(file, content, 30.0, 48_000, 2, "WAV", spans, embeddings)


def made_embeddings(n_recordings: int, seed: int, bundle: EncoderBundle) -> Iterator[Array]:
    """Embeddings of the windows of each recording, (10, dim) float32, as the page says."""
    calibration = Calibration.of(bundle)
    if calibration is None:
        raise SystemExit(f"{bundle.name}: carries no embeddings of ordinary sounds; give another")
    sounds = calibration.background
    random = np.random.default_rng(seed)
    for _ in range(n_recordings):
        weights = random.dirichlet(np.ones(N_MIXED)).astype(np.float32)
        centre = weights @ sounds[random.integers(len(sounds), size=N_MIXED)]
        pairs = random.integers(len(sounds), size=(2, WINDOWS_PER_RECORDING))
        embeddings = centre + np.float32(SPREAD) * (sounds[pairs[0]] - sounds[pairs[1]])
        yield embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    started = time.perf_counter()
    make_index(options.folder, options.windows, options.seed, options.model)
    seconds = time.perf_counter() - started
    print(
        f"{options.windows:,} windows: {seconds:.1f} s, {options.windows / seconds:,.0f} a second"
    )


if __name__ == "__main__":
    main()
