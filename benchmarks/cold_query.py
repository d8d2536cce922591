"""A whole `soundsearch query` process against `python -c "import torch"`, in one run.

Prints, for each index size, the median time of several processes, its ratio to the median of
importing torch, and the peak memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from made_index import make_index

from soundsearch.registry import DEFAULT_MODEL, find_bundle


def measure(command: list[str], runs: int) -> tuple[float, float]:
    """Median seconds and highest peak memory (MB) of a command's processes, after one warm-up."""
    seconds, peaks = [], []
    for i in range(runs + 1):
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"failed: {' '.join(command)}")
        if i > 0:
            seconds.append(time.perf_counter() - started)
            peaks.append(usage.ru_maxrss / 1024)
    return statistics.median(seconds), max(peaks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--windows", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    torch_s, torch_mb = measure([sys.executable, "-c", "import torch"], options.runs)
    print(f"import torch             {torch_s:6.3f} s                {torch_mb:5.0f} MB")
    with tempfile.TemporaryDirectory() as scratch:
        for n_windows in options.windows:
            index = Path(scratch, str(n_windows))
            make_index(index, find_bundle(options.model), n_windows)
            query = [sys.executable, "-m", "soundsearch", "query", "--index", str(index)]
            seconds, peak = measure([*query, "dog barking in rain"], options.runs)
            print(
                f"query {n_windows:9,} windows  {seconds:6.3f} s  ratio {seconds / torch_s:5.2f}"
                f"  {peak:5.0f} MB"
            )


if __name__ == "__main__":
    main()
