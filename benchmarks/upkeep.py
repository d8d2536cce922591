"""What the size of an index costs beside searching: storing, status, verify, repair, roots remove.

Makes an index of windows that are mixtures of real embeddings (`made_index.py`), in two roots. Prints
the largest size of the log beside the database, and the database's size. Of making it, and then of
each command as a whole process: the seconds, those of processor time, and the peak memory. Verify and repair make the FAISS
cache if there is none.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

from made_index import ROOT, make_index
from processes import apart, busy_s, measured

from soundsearch.encoder.registry import DEFAULT_MODEL

OTHER_ROOT = ROOT.with_name("up too")


def make(folder: Path, n_windows: int) -> None:
    """Make the index, and print what that took."""
    is_over = threading.Event()
    largest = 0

    def watch() -> None:
        nonlocal largest
        log = folder / "soundsearch.db-wal"
        while not is_over.wait(0.02):
            if log.exists():
                largest = max(largest, log.stat().st_size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        make_index(folder, n_windows, 0, DEFAULT_MODEL, (ROOT, OTHER_ROOT))
    finally:
        is_over.set()
        watcher.join()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    busy = time.process_time()
    print(f"made         {seconds:7.1f} s  {busy:7.1f} s  {peak:6.0f} MB")
    size = (folder / "soundsearch.db").stat().st_size
    print(f"database     {size / 1e6:,.0f} MB, its log at most {largest / 1e6:,.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to make it; a temporary one if left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        index = Path(scratch, "index")
        apart(make, index, options.windows)
        for command in (
            ["status"],
            ["verify"],
            ["repair"],
            ["roots", "remove", str(OTHER_ROOT), "--yes"],
            ["status"],
        ):
            whole = [sys.executable, "-m", "soundsearch", *command, "--index", str(index)]
            before = busy_s()
            seconds, peak, _ = measured(whole)
            name = " ".join(command[:2])
            load = os.getloadavg()[0]
            print(
                f"{name:12} {seconds:7.1f} s  {busy_s() - before:7.1f} s  {peak:6.0f} MB"
                f"  (load {load:.1f})",
                flush=True,
            )
        size = (index / "soundsearch.db").stat().st_size
        print(f"database     {size / 1e6:,.0f} MB after half of it was removed")


if __name__ == "__main__":
    main()
