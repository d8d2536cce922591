"""Seconds of recordings that become embeddings in a second, features and audio tower; and the text tower.

One long recording lies in memory, cut into windows as `soundsearch index` cuts it: at the bundle's
hop, so that each of its seconds is heard window_s / hop_s times and counts once. As there, features
are computed by as many threads as the tower has, a batch each. Then the milliseconds that a
question takes, each asked by itself. Each number is the median of several runs. Of several bundles
each runs in turn, and numbers after the first one's are compared with it.

    .venv/bin/python benchmarks/encoding.py --bundle starter --threads 2
    .venv/bin/python benchmarks/encoding.py --bundle starter ./my-encoder --threads 1
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.windows import cut_windows
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.encoder.towers import BATCH_SIZE, Encoder

Array = NDArray[np.float32]

#: Rate in Hz for an encoder that hears a recording at the recording's own.
USUAL_RATE = 44_100
TEXT_TOWER = "text tower"
QUESTIONS = (
    "thunder",
    "dog barking in rain",
    "a door slams and a man speaks softly in the next room",
)


def a_recording(duration_s: float, rate: int) -> Array:
    """Noise, (time,) float32 at rate Hz; how fast it is embedded does not depend on the sound."""
    noise = np.random.default_rng(0).standard_normal(round(duration_s * rate), np.float32)
    return np.float32(0.1) * noise


class Measured:
    """A bundle at work on a recording, and the seconds that its parts took in each run."""

    def __init__(self, bundle: str, n_threads: int, duration_s: float) -> None:
        self.encoder = Encoder(find_bundle(bundle), "cpu", n_threads)
        self._n_threads = n_threads
        self._rate = self.encoder.bundle.audio.rate_for(USUAL_RATE)
        recording = a_recording(duration_s, self._rate)
        windows = list(cut_windows([recording], self._rate, self.encoder.bundle.audio))
        self.n_windows = len(windows)
        self._batches = [windows[i : i + BATCH_SIZE] for i in range(0, len(windows), BATCH_SIZE)]
        self._ready = self._features()
        self.taken: dict[str, list[float]] = {}

    def _features(self) -> list[Array]:
        with ThreadPoolExecutor(self._n_threads) as pool:
            return list(
                pool.map(lambda batch: self.encoder.features_of(batch, self._rate), self._batches)
            )

    def _tower(self, found: list[Array]) -> None:
        for batch in found:
            self.encoder.embed_features(batch)

    def run(self) -> None:
        """Take the time of each part once."""
        parts: dict[str, Callable[[], object]] = {
            "both": lambda: self._tower(self._features()),
            "features": self._features,
            "audio tower": lambda: self._tower(self._ready),
            TEXT_TOWER: lambda: [self.encoder.embed_text([text]) for text in QUESTIONS],
        }
        for name, part in parts.items():
            begin = time.perf_counter()
            part()
            self.taken.setdefault(name, []).append(time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--bundle", nargs="+", default=[DEFAULT_MODEL], help="bundles' names, or their folders"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=600, help="how long the recording is")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    measured = [Measured(name, options.threads, options.seconds) for name in options.bundle]
    for one in measured:
        one.run()  # loads the towers
        one.taken.clear()
    for _ in range(options.runs):
        for one in measured:
            one.run()
    print(
        f"{options.seconds:.0f} s of sound, {options.threads} threads, medians of {options.runs} runs"
    )
    first = {name: statistics.median(taken) for name, taken in measured[0].taken.items()}
    for one in measured:
        bundle = one.encoder.bundle
        print(f"\n{bundle.name} {bundle.version}")
        for name, taken in one.taken.items():
            took = statistics.median(taken)
            compared = "" if one is measured[0] else f", {first[name] / took:.2f} times as fast"
            if name == TEXT_TOWER:
                print(f"{name:12} {1000 * took / len(QUESTIONS):7.1f} ms a question{compared}")
            else:
                speed, windows = options.seconds / took, one.n_windows / took
                print(
                    f"{name:12} {speed:7.0f} seconds of sound, {windows:5.0f} windows a second{compared}"
                )


if __name__ == "__main__":
    main()
