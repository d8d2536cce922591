"""`kill -9` at any moment: what was committed stays, the index is sound, the next run goes on.

SOUNDSEARCH_KILLS says how often the process is killed: 8 times by default, 50 with SOUNDSEARCH_SLOW.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.health import verify
from soundsearch.store import Store
from tests import program
from tests.conftest import Run
from tests.index_contents import rows_of, searchable, sounds_of
from tests.sounds import noise, tone, write

N_KILLS = int(
    os.environ.get("SOUNDSEARCH_KILLS", "50" if os.environ.get("SOUNDSEARCH_SLOW") else "8")
)
N_FILES = 60


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Sixty recordings; every third is long, so that a run lasts a second or more."""
    rng = np.random.default_rng(0)
    long = noise(200)
    for i in range(N_FILES):
        seconds = 60 + i if i % 3 == 0 else rng.uniform(0.2, 3)
        start = 100 * i
        write(tmp_path / "library" / f"{i:02d}.wav", long[start : start + round(seconds * 8000)])
    return tmp_path / "library"


@pytest.fixture
def index(tmp_path: Path, tiny: EncoderBundle) -> Path:
    """Where the index will be; the encoder stands beside it."""
    return tmp_path / "index"


def run_and_kill(library: Path, *options: str, when: Callable[[], bool]) -> bool:
    """Start a run, kill its whole process group at that moment. False: it was over before."""
    process = program.start(
        *("index", library, "--model", "tiny", *options), command=program.COMMITTING_AT_ONCE
    )
    while process.poll() is None and not when():
        time.sleep(0.001)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), errors
    return process.returncode != 0


def after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def check_sound(index: Path) -> None:
    store = Store.open(index)
    assert verify(store) == []
    store.close()


def run_to_the_end(library: Path, *options: str) -> str:
    result = program.soundsearch("index", library, "--model", "tiny", *options)
    assert result.returncode == 0, result.stderr
    return result.stderr.decode()


def test_killed_again_and_again(library: Path, index: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    run_to_the_end(library, "--index", str(tmp_path / "never killed"))
    whole_s = time.monotonic() - started
    expected = sounds_of(tmp_path / "never killed")
    assert len(expected) == N_FILES
    rng = random.Random(os.environ.get("SOUNDSEARCH_KILLS_SEED", "1"))
    known: dict[Path, object] = {}
    n_killed = 0
    for _ in range(N_KILLS):
        n_killed += run_and_kill(library, when=after(rng.uniform(0.05, 1.1) * whole_s))
        if not Store.exists(index):
            continue  # killed while it was being made
        check_sound(index)
        rows = rows_of(index)
        assert known.items() <= rows.items()  # nothing committed is ever lost or done again
        assert searchable(index) == set(rows)
        known = dict(rows)
    assert n_killed >= N_KILLS / 4, "the kills came too late to show anything"
    assert "0 failed" in run_to_the_end(library)
    check_sound(index)
    assert sounds_of(index) == expected
    assert known.items() <= rows_of(index).items()
    assert not list(index.glob(".*")), "something was left over"


def test_killed_while_finished_recordings_come_in(library: Path, index: Path) -> None:
    """Each kill waits for one commit more, so that every one falls into the middle of the run."""
    n_known = 0
    for _ in range(3):

        def has_more(before: int = n_known) -> bool:
            return Store.exists(index) and len(rows_of(index)) > before

        killed = run_and_kill(library, "-j", "1", when=has_more)
        check_sound(index)
        n_now = len(rows_of(index))
        assert n_now > n_known
        n_known = n_now
        if not killed:
            break
    summary = run_to_the_end(library)
    assert f", {n_known} unchanged, " in summary
    assert len(rows_of(index)) == N_FILES


@pytest.mark.parametrize(
    "landmark", ["index", "index/.encoder", "index/encoder", "index/soundsearch.db"]
)
def test_killed_while_the_index_is_made(
    library: Path, index: Path, tmp_path: Path, landmark: str
) -> None:
    run_and_kill(library / "01.wav", when=(tmp_path / landmark).exists)
    run_to_the_end(library / "01.wav")
    check_sound(index)
    assert searchable(index) == {library / "01.wav"}


def test_killed_while_the_vectors_are_written(library: Path, index: Path) -> None:
    for path in library.glob("[1-5]?.wav"):
        path.unlink()

    def writes_vectors() -> bool:
        return index.exists() and any(index.glob(".vectors-*"))

    run_and_kill(library, when=writes_vectors)
    check_sound(index)
    assert len(searchable(index)) == 10
    run_to_the_end(library)
    assert len(list(index.glob("vectors-*"))) == 1
    assert not list(index.glob(".vectors-*"))


def test_what_killed_runs_leave_behind_does_no_harm_and_is_swept_away(
    soundsearch: Run, tmp_path: Path, index: Path
) -> None:
    library = tmp_path / "few"
    write(library / "low.wav", tone(100))
    soundsearch("index", library)
    (good,) = index.glob("vectors-*")
    shutil.copytree(good, index / ".vectors-0123456789abcdef.4711.part")
    shutil.copytree(good, index / "vectors-0123456789abcdef")
    os.truncate(index / "vectors-0123456789abcdef" / "delta.faiss", 100)
    shutil.copytree(good, index / "vectors-fedcba9876543210")
    (index / ".encoder").mkdir()
    (index / ".encoder" / "audio.onnx").write_bytes(b"half")
    check_sound(index)
    write(library / "high.wav", tone(3200))
    soundsearch("index", library)
    check_sound(index)
    assert searchable(index) == {library / "low.wav", library / "high.wav"}
    assert len(list(index.glob("*vectors-*"))) == 1
    assert not list(index.glob(".vectors-*"))
    assert soundsearch("query", "hiss", "-k", 1, "--paths").stdout == f"{library}/high.wav\n"


def test_a_killed_search_does_no_harm(soundsearch: Run, tmp_path: Path, index: Path) -> None:
    library = tmp_path / "few"
    write(library / "low.wav", tone(100))
    soundsearch("index", library)
    for delay in (0.1, 0.3, 0.5):
        for path in index.glob("vectors-*"):
            shutil.rmtree(path)  # the search makes it again
        process = program.start("query", "hum")
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        check_sound(index)
    assert searchable(index) == {library / "low.wav"}
