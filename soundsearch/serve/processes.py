"""Processes of the server. Ctrl-C of a terminal reaches them too, but not while they start."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

#: Signals that a process handles itself once it has started.
HELD_BACK = (signal.SIGINT, signal.SIGTERM)


def start(
    work: Callable[..., None], *arguments: Any, name: str, daemon: bool, duplex: bool
) -> tuple[Any, Connection]:
    """Start a process that calls a function of a module, which has to call `let_signals_in`.

    work: is called with the arguments, which can be pickled, and with its end of a pipe as the last
    one. daemon: whether it ends with this process. duplex: whether the pipe goes both ways; else
    the process alone sends.
    Returns the process, and our end of the pipe.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex)
    process = context.Process(target=work, args=(*arguments, theirs), name=name, daemon=daemon)
    resource_tracker.ensure_running()  # else starting it lets the signals in again
    # The mask is inherited. A signal that came too early would end an import with a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return process, ours


def let_signals_in() -> None:
    """Receive signals that came while this process started, and all others."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
