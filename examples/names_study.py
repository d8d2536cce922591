"""What names add to a search by sound, and how much each ranking should count.

Indexes the recordings of one split of a table (columns file, caption, split), asks every caption,
and counts the recordings that have this caption among the first three. The program never sees the
captions; names are those of the files. Prints recall at 1, precision of the first three, and how
many questions fusing answers better and worse than sound alone; with --weights for other weights
too. Captions that name what a file name says in the same words make words look better than they
are to a person who asks in their own.

    .venv/bin/python -m examples.names_study DATA/sounds.csv --split valid
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

import soundsearch
from soundsearch.errors import BenchmarkError
from soundsearch.search import ranking
from soundsearch.tables import Table

#: Weights of sound, words and parts of names that are tried.
WEIGHTS = [(1.0, w, p) for w in (0.5, 1.0, 2.0) for p in (0.0, 0.5, 1.0)]


def read_split(table: Path, split: str) -> dict[Path, str]:
    """The recordings of a split by their paths relative to the table, with their captions."""
    rows = Table(table, BenchmarkError).rows(("file", "caption", "split"))
    return {Path(row["file"]): row["caption"] for row in rows if row["split"] == split}


@contextmanager
def indexed(
    folder: Path, files: dict[Path, str], model: str | None = None
) -> Iterator[tuple[soundsearch.Index, Path]]:
    """An index of copies of these files, in a folder where their captions are not."""
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch, "library").resolve()
        for file in files:
            (library / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, library / file)
        soundsearch.index_folders(library, Path(scratch, "index"), model=model)
        with soundsearch.open_index(Path(scratch, "index")) as index:
            yield index, library


def precisions(
    index: soundsearch.Index, library: Path, files: dict[Path, str], by: str
) -> tuple[np.ndarray, np.ndarray]:
    """For each caption: whether the first hit is right, and the precision of the first three.

    A caption of fewer than three recordings is scored over as many as there are.
    """
    wanted: dict[str, set[Path]] = defaultdict(set)
    for file, caption in files.items():
        wanted[caption].add(library / file)
    first, three = [], []
    for caption, right in wanted.items():
        found = index.search(text=caption, top_k=3, by=by, unique=False)  # type: ignore[arg-type]
        hits = [hit.path in right for hit in found]
        first.append(bool(hits) and hits[0])
        three.append(sum(hits) / min(3, len(right)))
    return np.array(first), np.array(three)


def line(name: str, first: np.ndarray, three: np.ndarray, sound: np.ndarray) -> str:
    """One row of the table."""
    better, worse = (three > sound).mean(), (three < sound).mean()
    return (
        f"{name:24} {100 * first.mean():6.1f} {100 * three.mean():8.1f}"
        f" {100 * better:8.1f} {100 * worse:8.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--split", default="valid")
    parser.add_argument("--weights", action="store_true", help="try other weights, too")
    options = parser.parse_args()
    files = read_split(options.table, options.split)
    with indexed(options.table.parent, files) as (index, library):
        print(f"{len(files)} recordings, {len(set(files.values()))} captions; percent")
        print(f"{'by':24} {'first':>6} {'of three':>8} {'better':>8} {'worse':>8}")
        first, sound = precisions(index, library, files, "sound")
        print(line("sound", first, sound, sound))
        for by in ("words", "both"):
            print(line(by, *precisions(index, library, files, by), sound))
        for weights in WEIGHTS if options.weights else ():
            names = ("SOUND_WEIGHT", "WORDS_WEIGHT", "PARTS_WEIGHT")
            with mock.patch.multiple(ranking, **dict(zip(names, weights, strict=True))):
                found = precisions(index, library, files, "both")
            print(line(" ".join(f"{weight:g}" for weight in weights), *found, sound))


if __name__ == "__main__":
    main()
