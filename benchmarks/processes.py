"""Running things so that times and memory are theirs alone: in processes of their own, or often."""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process.

    Preparations belong there: Linux counts the memory of the process that starts another one to
    the peak of the other.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def measured(command: list[str]) -> tuple[float, float, bytes]:
    """Run a command: seconds, peak memory in MB, and what it printed. Exits if it fails.

    Python may keep the bytecode of modules, as an installation has it.
    """
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024, printed


def busy_s() -> float:
    """Seconds of processor time of all processes that were started and are over."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def median_s(run: Callable[[], object], runs: int) -> float:
    """Median seconds of several runs, after one warm-up."""
    times = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])
