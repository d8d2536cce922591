"""Kinds of inverted files on the same vectors: what a search costs, and what it finds.

    .venv/bin/python benchmarks/peers.py write INDEX VECTORS
    .venv/bin/python benchmarks/inverted_kinds.py VECTORS

One thread. For each kind and number of visited lists prints the milliseconds of a search for so many
candidates (median, 95th percentile), and how many of the ten nearest windows are among them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import numpy as np

IP = faiss.METRIC_INNER_PRODUCT
ROWS = 50_000


def scalar(dim: int, n_lists: int, kind: int) -> faiss.IndexIVF:
    centroids = faiss.IndexFlatIP(dim)
    return faiss.IndexIVFScalarQuantizer(centroids, dim, n_lists, kind, IP, True)


Case = tuple[str, Callable[[int], faiss.IndexIVF], Sequence[int], Sequence[int]]
CASES: Sequence[Case] = (
    (
        "8 bits, 2048 lists",
        lambda dim: scalar(dim, 2048, faiss.ScalarQuantizer.QT_8bit),
        (128, 264, 320),
        (150,),
    ),
    (
        "8 bits, 4096 lists",
        lambda dim: scalar(dim, 4096, faiss.ScalarQuantizer.QT_8bit),
        (256, 400, 512, 640),
        (150,),
    ),
    (
        "4 bits, 2048 lists",
        lambda dim: scalar(dim, 2048, faiss.ScalarQuantizer.QT_4bit),
        (264,),
        (150,),
    ),
    (
        "RaBitQ, 2048 lists",
        lambda dim: faiss.IndexIVFRaBitQ(faiss.IndexFlatIP(dim), dim, 2048, IP),
        (264,),
        (150, 600),
    ),
    (
        "RaBitQ, fast scan",
        lambda dim: faiss.IndexIVFRaBitQFastScan(faiss.IndexFlatIP(dim), dim, 2048, IP),
        (264,),
        (150, 600),
    ),
    (
        "PQ of 2 numbers, fast scan",
        lambda dim: faiss.IndexIVFPQFastScan(faiss.IndexFlatIP(dim), dim, 2048, dim // 2, 4, IP),
        (264,),
        (150, 600),
    ),
)


def fill(index: faiss.IndexIVF, vectors: np.ndarray) -> None:
    index.cp.niter, index.cp.spherical, index.cp.seed = 8, True, 1
    index.cp.max_points_per_centroid = 48
    n = min(len(vectors), 48 * index.nlist)
    index.train(vectors[np.sort(np.random.default_rng(0).choice(len(vectors), n, replace=False))])
    for i in range(0, len(vectors), ROWS):
        index.add(np.array(vectors[i : i + ROWS]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    questions, truth = (np.load(folder / f"{part}.npy") for part in ("questions", "truth"))
    faiss.omp_set_num_threads(1)
    for name, make, visited, candidates in CASES:
        index = make(vectors.shape[1])
        fill(index, vectors)
        for index.nprobe in visited:
            for n in candidates:
                times, found = [], []
                for i, question in enumerate(questions):
                    begin = time.perf_counter()
                    ids = index.search(question[None], n)[1][0]
                    times.append(1000 * (time.perf_counter() - begin))
                    found.append(np.isin(truth[i], ids).mean())
                print(
                    f"{name:27} {index.nprobe:4} lists {n:4} candidates  {np.median(times):6.2f} / "
                    f"{np.quantile(times, 0.95):6.2f} ms  recall {np.mean(found):.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
