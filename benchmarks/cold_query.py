"""A whole `soundsearch query` process against `python -c "import torch"`, in one run.

Prints, for each index size, and by sound alone and by sound and words, the median time of several
processes, its ratio to the median of importing torch, and the peak memory.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from made_index import make_index
from processes import apart, measured

from soundsearch.encoder.registry import DEFAULT_MODEL


def measure(command: list[str], runs: int) -> tuple[float, float]:
    """Median seconds and highest peak memory (MB) of a command's processes, after one warm-up."""
    results = [measured(command)[:2] for _ in range(runs + 1)][1:]
    return statistics.median(seconds for seconds, _ in results), max(peak for _, peak in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--windows", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    torch_s, torch_mb = measure([sys.executable, "-c", "import torch"], options.runs)
    print(f"import torch {torch_s:29.3f} s {torch_mb:20.0f} MB")
    with tempfile.TemporaryDirectory() as scratch:
        for n_windows in options.windows:
            index = Path(scratch, str(n_windows))
            apart(make_index, index, n_windows, 0, options.model)
            query = [sys.executable, "-m", "soundsearch", "query", "--index", str(index)]
            for by in ("sound", "both"):
                command = [*query, "dog barking in rain", "--by", by]
                seconds, peak = measure(command, options.runs)
                print(
                    f"query {n_windows:9,} windows by {by:5}  {seconds:6.3f} s"
                    f"  ratio {seconds / torch_s:5.2f}  {peak:5.0f} MB"
                )


if __name__ == "__main__":
    main()
