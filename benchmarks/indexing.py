"""Seconds of sound indexed a second, end to end, and where the time goes.

Writes 44.1 kHz stereo 16-bit WAV files of noise, indexes them as the command line does, several times, each
into a new index in a new process, and prints the median speed, the shares of the stages
(processor time of the readers, wall time of embedding and storing) and the peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from processes import apart, measured

from soundsearch.encoder.registry import DEFAULT_MODEL

SAMPLE_RATE = 44_100


def write_library(folder: Path, n_files: int, seconds: float) -> float:
    """Write files of noise, each another; returns the seconds of sound in them."""
    folder.mkdir()
    for i in range(n_files):
        noise = np.random.default_rng(i).standard_normal((round(seconds * SAMPLE_RATE), 2))
        soundfile.write(folder / f"{i:05d}.wav", 0.1 * noise, SAMPLE_RATE)
    return n_files * seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--files", type=int, default=120)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each file")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch, "library")
        audio_s = apart(write_library, library, options.files, options.seconds)
        speeds, peaks, shares = [], [], []
        for run in range(options.runs):
            command = [sys.executable, "-m", "soundsearch", "index", str(library), "--json"]
            command += ["--index", str(Path(scratch, f"index{run}")), "--model", options.model]
            _, peak, printed = measured(command)
            report = json.loads(printed)
            speeds.append(audio_s / report["elapsed_s"])
            peaks.append(peak)
            shares.append(report["stage_s"])
        print(f"{audio_s:.0f} s of sound in {options.files} files, {os.cpu_count()} cores")
        print(
            f"{statistics.median(speeds):.0f} seconds of sound a second (median of {', '.join(f'{s:.0f}' for s in speeds)})"
        )
        total = sum(sum(stages.values()) for stages in shares)
        for stage in shares[0]:
            share = sum(stages[stage] for stages in shares) / total
            print(f"  {stage:9} {100 * share:5.1f} %")
        print(f"peak memory {max(peaks):.0f} MB")


if __name__ == "__main__":
    main()
