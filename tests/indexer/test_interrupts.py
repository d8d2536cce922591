"""Ctrl-C in the middle of what must be whole."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer import embedding, pipeline
from soundsearch.interrupts import hold_interrupts
from tests.indexer.conftest import Indexer
from tests.sounds import noise, write


@pytest.fixture(autouse=True)
def not_ignored() -> Iterator[None]:
    """Ctrl-C raises, also where a shell started these tests in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_held_signal_comes_after_the_block() -> None:
    done = []

    @hold_interrupts()
    def inner() -> None:
        done.append("inner")

    @hold_interrupts()
    def outer() -> None:
        interrupt()
        inner()
        done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with hold_interrupts():
            interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_holds_nothing() -> None:
    done = []

    def work() -> None:
        with hold_interrupts():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGINT)]


def test_what_was_stored_when_ctrl_c_came_is_counted(
    indexer: Indexer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(30):
        write(tmp_path / "library" / f"{i:02d}.wav", noise(2, seed=i))
    into: Callable[..., Callable[..., None]] = pipeline.into

    def stored_and_stopped(writer: Any) -> Callable[..., None]:
        def store(finished: Any) -> None:
            into(writer)(finished)
            interrupt()

        return store

    monkeypatch.setattr(embedding, "COMMIT_S", 0.0)
    monkeypatch.setattr(pipeline, "into", stored_and_stopped)
    report = indexer.run(jobs=1)
    assert report.interrupted
    assert 1 <= report.n_new == len(indexer.rows()) < 30
