"""A library of a million windows, or of another number: what a search, an addition and a rebuild cost.

The embeddings are mixtures of real ones, as `made_index.py` says; questions are words of the vocabulary.
Prints seconds as they were, with the load of the machine beside them, processor time where other
programs disturb the clock, and ratios to importing torch. Searches use one thread.

    .venv/bin/python benchmarks/million.py FOLDER --windows 1000000

makes the index in FOLDER if there is none; 10 million take 12 GB of room, or half as much with
embeddings of 16 bits.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from cold_query import measure
from made_index import ROOT, WINDOWS_PER_RECORDING, made_embeddings, make_index
from processes import apart

import soundsearch
from soundsearch.arrays import Ids
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.search.index import Index
from soundsearch.search.scope import conditions_of
from soundsearch.store import FileFacts, Indexed, Reader, Store
from soundsearch.vectors.build import Truth
from soundsearch.vectors.cache import discard, facts_of_base, refresh
from soundsearch.vocabulary import load_vocabulary

#: What stands for one thread in libraries that have several.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SHARES = (0.01, 0.1, 0.5, 1.0)
N_ADDED = 1000


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.contextmanager
def most_anonymous() -> Iterator[list[float]]:
    """Look at the memory of this process that is no mapped file, ten times a second; in MB."""
    is_over, most = threading.Event(), [0.0]

    def watch() -> None:
        while not is_over.wait(0.1):
            lines = Path("/proc/self/status").read_text().splitlines()
            now = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            most[0] = max(most[0], now / 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        is_over.set()
        watcher.join()


def written_mb() -> float:
    """Megabytes that this process wrote, to files or anywhere else."""
    facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(facts["wchar"]) / 1e6


def build(folder: Path) -> str:
    """Make the vectors again from the database."""
    started, used = time.perf_counter(), time.process_time()
    with (
        most_anonymous() as most,
        contextlib.closing(Store.open(folder)) as store,
        store.writer() as writer,
    ):
        discard(writer)
        refresh(writer)
        with store.snapshot() as reader:
            facts = facts_of_base(reader)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    return (
        f"{seconds:7.1f} s  {used:7.1f} s of processor time  {peak_mb():5.0f} MB, without mapped "
        f"files {most[0]:.0f} MB\n{facts}"
    )


def timed(run: Callable[[int], object], n: int) -> str:
    """Median and 95th percentile, by the clock and in processor time."""
    run(0)
    clock, used = [], []
    for i in range(n):
        begin = time.perf_counter(), time.process_time()
        run(i)
        clock.append(1000 * (time.perf_counter() - begin[0]))
        used.append(1000 * (time.process_time() - begin[1]))
    parts = [f"{statistics.median(t):7.1f} / {np.quantile(t, 0.95):7.1f}" for t in (clock, used)]
    return f"{parts[0]} ms, processor {parts[1]} ms"


def warm(folder: Path, n_questions: int) -> list[str]:
    """Searches in an open index."""
    lines = []
    texts = load_vocabulary()[::7][:n_questions]
    with soundsearch.open_index(folder) as index, index.store.snapshot() as reader:
        questions = index.encoder.embed_text(texts)
        lines += nearest(index, reader, questions)
        for by in ("sound", "both"):
            cost = timed(lambda i, by=by: index.search(text=texts[i], by=by), len(texts))
            lines.append(f"{f'whole search by {by}':36} {cost}")
        for share in SHARES:
            lines += within(index, share, questions)
        lines.append(f"memory {peak_mb():.0f} MB, with the truth")
    return lines


def nearest(index: Index, reader: Reader, questions: np.ndarray) -> Iterator[str]:
    """What the nearest windows of all cost, and how many of them are found."""
    truth = truth_of(reader, None, questions)
    for n in (10, 100):
        found = [index.vectors.search(q, n, reader)[0] for q in questions]
        recall = np.mean([np.isin(t[:n], f).mean() for t, f in zip(truth, found, strict=True)])
        cost = timed(lambda i, n=n: index.vectors.search(questions[i], n, reader), len(questions))
        yield f"{f'{n} nearest windows':36} {cost}  recall {recall:.3f}"


def within(index: Index, share: float, questions: np.ndarray) -> list[str]:
    """Searches within folders that hold this share of the windows."""
    with index.store.snapshot() as reader:
        n_folders = -(-reader.n_recordings() // 1000)
        names = [ROOT / f"{i:04d}" for i in range(max(1, round(share * n_folders)))]
        folders = [ROOT] if share == 1 else names
        conditions = conditions_of(reader, folders, [])
        begin = time.perf_counter()
        among = index._among(reader, conditions)
        choosing = 1000 * (time.perf_counter() - begin)
        found = [index.vectors.search(q, 10, reader, among)[0] for q in questions]
        truth = truth_of(reader, among, questions)
        recall = np.mean([np.isin(t[:10], f).mean() for t, f in zip(truth, found, strict=True)])

        def search(i: int) -> object:
            return index.vectors.search(questions[i], 10, reader, index._among(reader, conditions))

        cost = timed(search, len(questions))
    first = f"first chosen in {choosing:.0f} ms"
    return [f"{f'within {share:.0%} of the windows':36} {cost}  recall {recall:.3f}, {first}"]


def truth_of(reader: Reader, among: Ids | None, questions: np.ndarray) -> Ids:
    """Return the ids of the hundred windows nearest to each question, by comparing all."""
    truth = Truth(questions)
    ids = reader.window_ids() if among is None else among
    for some, embeddings in reader.embedding_blocks(ids, questions.shape[1]):
        truth.see(some, embeddings)
    return truth.ids


def add(folder: Path) -> str:
    """Add a thousand windows, and search."""
    bundle = find_bundle(DEFAULT_MODEL)
    with contextlib.closing(Store.open(folder)) as store:
        with store.snapshot() as reader:
            (root,) = reader.roots()
            n = reader.n_recordings()
        spans = [(3.0 * i, 3.0 * i + 3.0) for i in range(WINDOWS_PER_RECORDING)]
        new = [
            Indexed(
                FileFacts(root.id, f"new/{n + i}.wav", 1_000_000, i),
                *((n + i).to_bytes(16, "big"), 30.0, 48_000, 2, "WAV", spans, embeddings),
            )
            for i, embeddings in enumerate(made_embeddings(N_ADDED // len(spans), n, bundle))
        ]
        begin, before = time.perf_counter(), written_mb()
        with store.writer() as writer:
            with writer.transaction() as changes:
                for recording in new:
                    changes.put(recording)
            refresh(writer)
    with soundsearch.open_index(folder) as index:
        index.search(text="dog barking", by="sound")
    seconds, written = time.perf_counter() - begin, written_mb() - before
    return f"{seconds:.2f} s  {written:.1f} MB written  {peak_mb():.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-build", dest="builds", action="store_false")
    options = parser.parse_args()
    folder = options.folder
    if not folder.exists():
        apart(make_index, folder, options.windows)
    say("")
    if options.builds:
        print("build from the database", apart(build, folder))
        say("")
    os.environ.update(ONE_THREAD)
    torch_s, torch_mb = measure([sys.executable, "-c", "import torch"], options.runs)
    print(f"import torch {torch_s:.2f} s  {torch_mb:.0f} MB")
    for by in ("sound", "both"):
        query = [sys.executable, "-m", "soundsearch", "query", "--index", str(folder), "--by", by]
        seconds, peak = measure([*query, "dog barking in rain"], options.runs)
        print(f"cold query by {by:5} {seconds:.2f} s  ratio {seconds / torch_s:.2f}  {peak:.0f} MB")
    say("")
    print("\n".join(apart(warm, folder, options.questions)))
    say("")
    print(f"{N_ADDED} windows added, and a search  {apart(add, folder)}")
    say("")


def say(text: str) -> None:
    print(f"[load {os.getloadavg()[0]:.1f}] {text}", flush=True)


if __name__ == "__main__":
    main()
