"""What filters cost over 100,000 recordings, and the nearest words of those that nothing knows.

Makes an index of made-up recordings with three windows each. For each filter prints how many windows
fit it, and the median milliseconds of processor time for finding their ids, and of finding two words among them. Then,
of words that nothing knows, the word that is proposed and the milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from processes import apart

from soundsearch.arrays import Ids
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.encoder.towers import Encoder
from soundsearch.search.filters import parse_filters
from soundsearch.search.scope import conditions_of
from soundsearch.search.spelling import check_spelling
from soundsearch.store import FileFacts, Indexed, PinnedEncoder, Reader, Store, WordMatch
from soundsearch.vocabulary import load_vocabulary

N_WINDOWS = 3
RATES = (44_100, 48_000, 96_000, 192_000)
DAY_NS = 24 * 3600 * 10**9


def make_index(folder: Path, n_recordings: int) -> None:
    """Recordings named by two sound words and a number, in 1,000 folders, with facts at random."""
    drawn = random.Random(0)
    words = load_vocabulary()
    spans = [(3.0 * i, 3.0 * i + 3.0) for i in range(N_WINDOWS)]
    embeddings = np.eye(N_WINDOWS, 8, dtype=np.float32)
    with (
        contextlib.closing(Store.create(folder, PinnedEncoder("none", "1", "0" * 64, 8))) as store,
        store.writer() as writer,
        writer.transaction() as changes,
    ):
        root = changes.add_root(Path("/Field Recordings"))
        for i in range(n_recordings):
            name = f"{drawn.choice(words)} {drawn.choice(words)} {i:06d}"
            place = f"{drawn.choice(words)}/{i % 1000:03d}/{name}.{drawn.choice(('wav', 'flac'))}"
            changes.put(
                Indexed(
                    FileFacts(root.id, place, 1_000_000, drawn.randrange(20_000) * DAY_NS),
                    i.to_bytes(16, "big"),
                    drawn.expovariate(0.1),
                    drawn.choice(RATES),
                    drawn.choice((1, 2, 2, 6)),
                    "WAV" if place.endswith("wav") else "FLAC",
                    spans,
                    embeddings,
                    metadata={"description": f"{drawn.choice(words)}, take {i % 50}"},
                )
            )


#: As they stand in a question; the first is none.
FILTERS = (
    "",
    "duration:<0.2",
    "duration:<3",
    "duration:>0",
    "rate:>=96k channels:2",
    "format:wav",
    "modified:2010..2015",
    "in:007",
    "tag:rain",
    '"dog barking"',
    "-rain",
)
#: Words that nothing knows: one letter from a known one, two, and like none.
UNKNOWN = ("thundr", "footsetsp", "qwertzui")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    encoder = Encoder(find_bundle(DEFAULT_MODEL), "cpu")
    encoder.is_word("dog")
    with tempfile.TemporaryDirectory() as scratch:
        apart(make_index, Path(scratch), options.recordings)
        with contextlib.closing(Store.open(Path(scratch))) as store, store.snapshot() as reader:
            print("filter                     windows     ids   words")
            for text in FILTERS:
                report(reader, text, options.runs)
            for word in UNKNOWN:
                ms = median_ms(
                    functools.partial(check_spelling, word, reader, encoder), options.runs
                )
                meant = check_spelling(word, reader, encoder).meant.get(word, "-")
                print(f"{word:12} -> {meant:12} {ms:21.1f} ms")


def median_ms(run: Callable[[], object], runs: int) -> float:
    """Median milliseconds of processor time of several runs, after one warm-up."""
    times = []
    for _ in range(runs + 1):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return 1000 * statistics.median(times[1:])


def report(reader: Reader, filters: str, runs: int) -> None:
    """Print how many windows fit filters, and what it costs to find them, and words among them."""

    def ids() -> Ids:
        return reader.window_ids(conditions_of(reader, None, parse_filters([filters])))

    def words() -> list[WordMatch]:
        conditions = conditions_of(reader, None, parse_filters([filters]))
        return reader.find_words(["dog", "barking"], among=conditions, limit=200)

    costs = [median_ms(run, runs) for run in (ids, words)]
    print(f"{filters or 'none':24} {len(ids()):9,} {costs[0]:7.1f} {costs[1]:7.1f} ms")


if __name__ == "__main__":
    main()
