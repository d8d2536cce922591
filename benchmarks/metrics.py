"""All retrieval numbers at the size of Clotho's evaluation split, against sorting alone, in one run.

1,045 clips, 5,225 captions, both directions. Prints the time of one `np.argsort` of the scores in
either direction, which any ranking needs, and, for each protocol, that of `evaluate_retrieval`
without and with intervals, as ratios to it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from processes import median_s

from soundsearch.bench.evaluation import evaluate_retrieval
from soundsearch.bench.protocols import PROTOCOLS, Protocol


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1045)
    parser.add_argument("--captions", type=int, default=5, help="of each clip")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    owner = np.repeat(np.arange(options.clips), options.captions)
    scores = np.random.default_rng(0).normal(size=(owner.size, options.clips)).astype(np.float32)

    def sorting() -> None:
        np.argsort(scores, axis=1)
        np.argsort(scores, axis=0)

    def evaluation(protocol: Protocol, bootstrap: int) -> Callable[[], object]:
        return lambda: evaluate_retrieval(scores, owner, protocol, bootstrap=bootstrap)

    sort_s = median_s(sorting, options.runs)
    print(f"{'argsort, both directions':38} {sort_s:6.3f} s")
    for protocol in PROTOCOLS.values():
        for bootstrap in (0, 1000):
            took = median_s(evaluation(protocol, bootstrap), options.runs)
            what = f"{protocol.name}, {bootstrap:,} resamplings"
            print(f"{what:38} {took:6.3f} s  ratio {took / sort_s:5.2f}")


if __name__ == "__main__":
    main()
