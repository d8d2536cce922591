"""Seconds of recordings that become embeddings in a second, features and audio tower; and the text tower.

One long recording lies in memory, cut into windows as `soundsearch index` cuts it: at the bundle's
hop, so that each of its seconds is heard window_s / hop_s times and counts once. As there, features
are computed by as many threads as the tower has, a batch each. Then the milliseconds that a
question takes, each asked by itself. Each number is the median of several runs.

    .venv/bin/python benchmarks/encoding.py --bundle starter --threads 2
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from processes import median_s

from soundsearch.audio.windows import cut_windows
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.encoder.towers import BATCH_SIZE, Encoder

Array = NDArray[np.float32]

#: Rate in Hz for an encoder that hears a recording at the recording's own.
USUAL_RATE = 44_100
QUESTIONS = (
    "thunder",
    "dog barking in rain",
    "a door slams and a man speaks softly in the next room",
)


def a_recording(duration_s: float, rate: int) -> Array:
    """Noise, (time,) float32 at rate Hz; how fast it is embedded does not depend on the sound."""
    noise = np.random.default_rng(0).standard_normal(round(duration_s * rate), np.float32)
    return np.float32(0.1) * noise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default=DEFAULT_MODEL, help="a bundle's name, or its folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=600, help="how long the recording is")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    encoder = Encoder(find_bundle(options.bundle), "cpu", options.threads)
    rate = encoder.bundle.audio.rate_for(USUAL_RATE)
    recording = a_recording(options.seconds, rate)
    windows = list(cut_windows([recording], rate, encoder.bundle.audio))
    batches = [windows[i : i + BATCH_SIZE] for i in range(0, len(windows), BATCH_SIZE)]

    with ThreadPoolExecutor(options.threads) as pool:

        def features() -> list[Array]:
            return list(pool.map(lambda batch: encoder.features_of(batch, rate), batches))

        def tower(found: list[Array]) -> None:
            for batch in found:
                encoder.embed_features(batch)

        ready = features()
        taken = {
            "both": median_s(lambda: tower(features()), options.runs),
            "features": median_s(features, options.runs),
            "audio tower": median_s(lambda: tower(ready), options.runs),
        }
    asked = median_s(lambda: [encoder.embed_text([text]) for text in QUESTIONS], 10 * options.runs)
    print(
        f"{encoder.bundle.name} {encoder.bundle.version}, {options.seconds:.0f} s of sound, "
        f"{options.threads} threads, medians of {options.runs} runs"
    )
    for name, took in taken.items():
        print(f"{name:12} {options.seconds / took:7.0f} seconds of sound a second")
    print(f"{'text tower':12} {1000 * asked / len(QUESTIONS):7.1f} ms a question")


if __name__ == "__main__":
    main()
