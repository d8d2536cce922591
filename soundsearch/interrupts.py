"""Ctrl-C waits until a step that must be whole has ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Signals whose handlers end a run by an exception.
HELD_BACK = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Handle signals that end a run once the block has ended, not within it.

    Only the main thread receives signals; in another one nothing has to be held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: dict[int, FrameType | None] = {}
    before = {number: signal.getsignal(number) for number in HELD_BACK}
    held = {number: handler for number, handler in before.items() if callable(handler)}
    for number in held:
        signal.signal(number, came.__setitem__)
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
    for received, frame in came.items():
        held[signal.Signals(received)](received, frame)
