"""Reading ahead: in order, and not too far."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from trainer.data.read_ahead import read_in_threads


def test_threads_keep_the_order_and_are_not_far_ahead() -> None:
    begun = 0
    lock = threading.Lock()

    def work(i: int) -> int:
        nonlocal begun
        with lock:
            begun += 1
        time.sleep(0.002 * (3 - i % 4))  # later ones are done sooner
        return i

    with ThreadPoolExecutor(4) as threads:
        for i, found in enumerate(read_in_threads(threads, work, range(40), 5)):
            assert found == i
            assert begun <= i + 1 + 5
    assert begun == 40
