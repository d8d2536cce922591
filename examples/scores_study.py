"""How far scores of a search can be trusted: words of the vocabulary asked of recordings with captions.

In: a table with the columns file and caption. A line of the vocabulary has an answer if a caption
has all its words, and none if no caption has any of them. Out: how often the best hit scores 0.5 or
more, and how often it is right.

    python -m examples.scores_study DATA/sounds.csv --split valid
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from soundsearch.encoder.calibration import FITS, Calibration, standardise
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import BenchmarkError
from soundsearch.tables import Table
from soundsearch.vocabulary import load_vocabulary
from trainer.calibrate import ask_vocabulary, claims, make_library
from trainer.calibration_set import Captioned


def read_recordings(table: Path, split: str | None) -> list[Captioned]:
    """The recordings of a table that have a caption, or those of one of its splits."""
    columns = ("file", "caption") if split is None else ("file", "caption", "split")
    return [
        Captioned(table.parent / row["file"], row["caption"])
        for row in Table(table, BenchmarkError).rows(columns, may_be_blank=("caption",))
        if row["caption"] and (split is None or row["split"] == split)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    encoder = Encoder(find_bundle(options.model))
    calibration = Calibration.of(encoder.bundle)
    if calibration is None or calibration.texts is None:
        parser.error(f"{options.model}: its searches are not calibrated; choose another --model")
    with EmbeddingCache(None, encoder) as cache:
        library = make_library(encoder, read_recordings(options.table, options.split), cache)
    answers = ask_vocabulary(encoder, library, load_vocabulary())
    print(f"{len(library.captions)} recordings, {answers.exists.sum()} lines with an answer,")
    print(f"{(~answers.exists).sum()} without; best hit right {answers.is_right.sum()}")
    cosines = (answers.queries * answers.nearest).sum(axis=1, keepdims=True)
    windows = library.embeddings.vectors
    for name, z in {
        "question over ordinary sounds": standardise(
            answers.queries, cosines, calibration.background
        ),
        "question over the library": standardise(answers.queries, cosines, windows),
        "best hit over ordinary texts": standardise(answers.nearest, cosines, calibration.texts),
        "both but the library": answers.z(calibration),
    }.items():
        print(f"{area(z.ravel(), answers.is_right):.3f}   area under the curve, {name}")
    fits = calibration.relevance("text", answers.queries, cosines).ravel() >= FITS
    before = f"{fits[answers.exists].sum()}, right {(fits & answers.is_right).sum()}"
    print(f"by the curve of `text`: {before}; without an answer {fits[~answers.exists].sum()}")
    for name, share in claims(answers, calibration).items():
        print(f"{100 * share:5.1f} %  {name}")


def area(scores: np.ndarray, is_right: np.ndarray) -> float:
    """How often a right one has a higher score than another one; ties count half."""
    right, wrong = scores[is_right, None], scores[None, ~is_right]
    return float(((right > wrong) + 0.5 * (right == wrong)).mean())


if __name__ == "__main__":
    main()
