"""Two worker processes against the threads of one process, on the same recordings in one run.

    .venv/bin/python benchmarks/distributed.py --recordings 64 --seconds 30 --runs 3

Prints seconds of sound indexed a second of the clock for both, in turn, and their ratio (goal: 0.9 or
more); the same by processor time; and what a run costs that is killed in the middle and started again.
Starting processes and loading the encoder counts, so give enough recordings.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from processes import busy_s

SAMPLE_RATE = 44_100
COMMAND = [sys.executable, "-m", "soundsearch", "index"]


def make_recordings(folder: Path, n: int, seconds: float) -> float:
    """Write stereo noise with a slow swell; returns the seconds of sound."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    n_samples = round(seconds * SAMPLE_RATE)
    swell = np.sin(np.linspace(0, 20, n_samples))[:, None]
    for i in range(n):
        sound = 0.1 * swell * rng.standard_normal((n_samples, 2))
        soundfile.write(folder / f"{i:04d}.wav", sound, SAMPLE_RATE)
    return n * seconds


def timed(folder: Path, index: Path, options: Sequence[str]) -> tuple[float, float]:
    """Index a folder in a new process: seconds of the clock, and of processors."""
    started, busy = time.perf_counter(), busy_s()
    command = [*COMMAND, str(folder), "--index", str(index), *options]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started, busy_s() - busy


def killed_and_gone_on_with(
    folder: Path, work: Path, options: Sequence[str], seconds: float
) -> tuple[int, int, int]:
    """Kill a run after so many seconds, and run it again.

    Returns how many parts the first had written, how many of them are untouched, and how many there are
    in the end.
    """
    parts = work / "parts"
    command = [*COMMAND, str(folder), "--index", str(work / "killed"), *options]
    command += ["--parts", str(parts)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    n_kept = sum(path.stat().st_mtime_ns == at for path, at in before.items())
    return len(before), n_kept, len(list(parts.glob("part-*")))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", default="2")
    arguments = parser.parse_args()
    workers = ["--workers", arguments.workers]
    with tempfile.TemporaryDirectory(prefix="soundsearch-benchmark-") as made:
        work = Path(made)
        sound_s = make_recordings(work / "sounds", arguments.recordings, arguments.seconds)
        by_clock, by_processor = [], []
        wall_s = 0.0
        for run in range(arguments.runs):
            threads = timed(work / "sounds", work / f"threads-{run}", [])
            others = timed(work / "sounds", work / f"workers-{run}", workers)
            by_clock.append(threads[0] / others[0])
            by_processor.append(threads[1] / others[1])
            wall_s = others[0]
            print(
                f"threads {sound_s / threads[0]:.0f} s of sound a second ({threads[1]:.1f} s of "
                f"processors), {arguments.workers} workers {sound_s / others[0]:.0f} "
                f"({others[1]:.1f} s)",
                flush=True,
            )
        print(
            f"speed of workers, by the clock: {statistics.median(by_clock):.2f} of that of threads"
        )
        print(f"by processor time: {statistics.median(by_processor):.2f}")
        n_before, n_kept, n_all = killed_and_gone_on_with(
            work / "sounds", work, workers, 0.6 * wall_s
        )
        print(
            f"killed: {n_before} parts there, {n_kept} of them untouched by the next run, {n_all} in all"
        )


if __name__ == "__main__":
    main()
