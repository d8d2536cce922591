"""What else finds the nearest of many vectors, on the vectors and questions of a made library.

First, with soundsearch: writes embeddings and questions of an index that `million.py` made.

    .venv/bin/python benchmarks/peers.py write INDEX VECTORS

Then, in an environment of its own with numpy and any of usearch, sqlite-vec and lancedb, which are
measured if they are there (sqlite-vec needs pysqlite3-binary where Python's own SQLite takes no
extensions):

    python benchmarks/peers.py measure VECTORS

Each runs in a process of its own with one thread; what it builds goes to VECTORS and is deleted.
Prints the milliseconds of a search for ten windows (median, 95th percentile, processor time), recall
at 10 against exact search, seconds to build, megabytes on disk, and peak memory.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from processes import apart

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LANCE_CPU_THREADS")
ROWS = 50_000
Search = Callable[[np.ndarray], Any]


def write(index: Path, folder: Path) -> None:
    """Write embeddings, questions and the windows that are nearest to them."""
    from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
    from soundsearch.encoder.towers import Encoder
    from soundsearch.store import Store
    from soundsearch.vocabulary import load_vocabulary

    questions = Encoder(find_bundle(DEFAULT_MODEL), "cpu").embed_text(load_vocabulary()[::20])
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Store.open(index)) as store, store.snapshot() as reader:
        ids = reader.window_ids()
        shape = (len(ids), questions.shape[1])
        path = folder / "vectors.npy"
        vectors = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        for i, (_, some) in enumerate(reader.embedding_blocks(ids, shape[1])):
            if i == 0:
                n = len(some)
            vectors[i * n : i * n + len(some)] = some
    np.save(folder / "questions.npy", questions)
    cosines = [vectors[i : i + ROWS] @ questions.T for i in range(0, len(vectors), ROWS)]
    truth = np.argpartition(-np.concatenate(cosines), 10, axis=0)[:10].T
    np.save(folder / "truth.npy", truth)


def numpy_brute_force(vectors: np.ndarray, place: Path) -> Search:
    """All cosines, as rclip computes them."""
    held = np.array(vectors)

    def search(question: np.ndarray) -> Any:
        cosines = held @ question
        best = np.argpartition(-cosines, 10)[:10]
        return best[np.argsort(-cosines[best])]

    return search


def usearch(vectors: np.ndarray, place: Path) -> Search:
    """HNSW with its defaults, embeddings as 16 bits, memory-mapped."""
    from usearch.index import Index

    path = place / "usearch"
    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f16")
    for i in range(0, len(vectors), ROWS):
        some = np.array(vectors[i : i + ROWS])
        index.add(np.arange(i, i + len(some)), some)
    index.save(str(path))
    mapped = Index.restore(str(path), view=True)
    return lambda question: mapped.search(question, 10, threads=1).keys


def sqlite_vec(vectors: np.ndarray, place: Path) -> Search:
    """All cosines, by an extension of SQLite."""
    try:
        import pysqlite3 as sqlite3
    except ImportError:
        import sqlite3  # type: ignore[no-redef]

    import sqlite_vec as extension

    database = sqlite3.connect(str(place / "sqlite-vec.db"))
    database.enable_load_extension(True)
    extension.load(database)
    dim = vectors.shape[1]
    database.execute(
        f"CREATE VIRTUAL TABLE v USING vec0(embedding float[{dim}] distance_metric=cosine)"
    )
    for i in range(0, len(vectors), ROWS):
        rows = ((i + j + 1, row.tobytes()) for j, row in enumerate(np.array(vectors[i : i + ROWS])))
        database.executemany("INSERT INTO v (rowid, embedding) VALUES (?, ?)", rows)
        database.commit()
    query = "SELECT rowid FROM v WHERE embedding MATCH ? AND k = 10 ORDER BY distance"

    def search(question: np.ndarray) -> Any:
        return np.array(database.execute(query, [question.tobytes()]).fetchall())[:, 0] - 1

    return search


def lancedb(vectors: np.ndarray, place: Path) -> Search:
    """IVF with product quantisation, its default, ten times as many ranked exactly."""
    import lancedb as lance
    import pyarrow as pa

    dim = vectors.shape[1]
    schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), dim))])

    def batches() -> Any:
        for i in range(0, len(vectors), ROWS):
            some = np.array(vectors[i : i + ROWS])
            column = pa.FixedSizeListArray.from_arrays(pa.array(some.ravel()), dim)
            yield pa.RecordBatch.from_arrays(
                [pa.array(np.arange(i, i + len(some))), column], schema=schema
            )

    table = lance.connect(str(place / "lance")).create_table("v", batches(), schema=schema)
    table.create_index(metric="cosine", vector_column_name="vector")

    def search(question: np.ndarray) -> Any:
        found = table.search(question).distance_type("cosine").refine_factor(10).limit(10)
        return np.array(found.select(["id"]).to_arrow()["id"])

    return search


PEERS = {
    "numpy": numpy_brute_force,
    "usearch": usearch,
    "sqlite_vec": sqlite_vec,
    "lancedb": lancedb,
}


def measured(name: str, folder: Path) -> str:
    """Build one and search with it."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    questions, truth = (np.load(folder / f"{part}.npy") for part in ("questions", "truth"))
    place = folder / f"of {name}"
    place.mkdir()
    try:
        begin, used = time.perf_counter(), time.process_time()
        search = PEERS[name](vectors, place)
        build_s, build_used = time.perf_counter() - begin, time.process_time() - used
        search(questions[0])
        clock, processor, found = [], [], []
        for question in questions:
            begin, used = time.perf_counter(), time.process_time()
            found.append(np.isin(truth[len(found)], search(question)).mean())
            clock.append(1000 * (time.perf_counter() - begin))
            processor.append(1000 * (time.process_time() - used))
        n_bytes = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return (
            f"{name:12} {np.median(clock):7.1f} / {np.quantile(clock, 0.95):7.1f} ms, processor "
            f"{np.median(processor):7.1f} ms  recall {np.mean(found):.3f}  built in {build_s:.0f} s "
            f"({build_used:.0f} s of processor time)  {n_bytes / 1e6:.0f} MB  memory {peak:.0f} MB"
        )
    finally:
        shutil.rmtree(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["write", "measure"])
    parser.add_argument("places", type=Path, nargs="+")
    options = parser.parse_args()
    if options.what == "write":
        write(*options.places)
        return
    os.environ.update(dict.fromkeys(THREADS, "1"))
    for name in PEERS:
        if importlib.util.find_spec(name) is None:
            print(f"{name:12} is not installed here")
        else:
            print(
                f"[load {os.getloadavg()[0]:.1f}] {apart(measured, name, options.places[0])}",
                flush=True,
            )


if __name__ == "__main__":
    main()
