"""What it changes that embeddings are stored as float16: scores and first hits against float32.

Embeds recordings, the demo's or those of a folder. Questions are the words of the vocabulary, and
every third window. Prints the largest and the mean difference of a score, how much of the ten
nearest windows is the same, and how often the nearest one is.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.scan import scan
from soundsearch.demo import write_library
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import SoundsearchError
from soundsearch.store.embeddings import from_blobs, to_blobs
from soundsearch.vocabulary import load_vocabulary

Array = NDArray[np.float32]

N_NEAREST = 10


def embed_folder(encoder: Encoder, folder: Path) -> Array:
    """The embeddings of all windows of all recordings in a folder that can be read."""
    found = []
    for name in sorted(scan(folder).files):
        try:
            found.append(encoder.embed_file(folder / name)[1])
        except SoundsearchError as error:
            print(f"skipped {error}")
    return np.concatenate(found)


def report(kind: str, questions: Array, exact: Array, stored: Array) -> None:
    """Print how far the scores and the nearest windows of questions agree."""
    before, after = questions @ exact.T, questions @ stored.T
    nearest = [
        np.argsort(-scores, axis=1, kind="stable")[:, :N_NEAREST] for scores in (before, after)
    ]
    shared = np.mean([len(np.intersect1d(*pair)) for pair in zip(*nearest, strict=True)])
    difference = np.abs(before - after)
    print(
        f"{kind:10} {len(questions):6,} questions: difference of scores at most {difference.max():.1e}, "
        f"mean {difference.mean():.1e}; shared of the nearest {N_NEAREST} "
        f"{shared / N_NEAREST:.4f}, same first {np.mean(nearest[0][:, 0] == nearest[1][:, 0]):.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="of recordings; the demo's if left out"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    encoder = Encoder(find_bundle(options.model), "cpu")
    with tempfile.TemporaryDirectory() as scratch:
        if options.folder is None:
            write_library(Path(scratch))
        exact = embed_folder(encoder, options.folder or Path(scratch))
    stored = from_blobs(to_blobs(exact), encoder.bundle.dim)
    print(f"{len(exact):,} windows of {encoder.bundle.dim} numbers")
    report("words", encoder.embed_text(load_vocabulary()), exact, stored)
    report("recordings", exact[::3], exact, stored)


if __name__ == "__main__":
    main()
