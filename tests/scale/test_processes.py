"""Real processes: they make the same index, and a file that kills them costs its row."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from indexer import workers
from indexer.distribute import Processes
from tests import program
from tests.conftest import Run
from tests.index_contents import rows_of, sounds_of
from tests.scale.workers import embed_or_die
from tests.sounds import noise, tone, write
from tests.tiny_encoder import BAND_HZ


def test_a_file_that_ends_its_process_costs_a_row(
    soundsearch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, hz in enumerate(BAND_HZ[:3]):
        write(tmp_path / "lib" / f"{i}.wav", tone(hz, 1.5))
    soundsearch("index", "lib", "--index", "A")
    write(tmp_path / "lib" / "poison.wav", tone(100, 3))
    monkeypatch.setattr(workers, "distributor_of", lambda *_: Processes(2, embed_or_die))
    result = soundsearch("index", "lib", "--workers", 2)
    assert "3 new" in result.stderr and "ends its process 1" in result.stderr
    assert sounds_of(tmp_path / "index") == sounds_of(tmp_path / "A")
    row = rows_of(tmp_path / "index")[tmp_path / "lib" / "poison.wav"]
    assert row.cause == "ends its process"
    monkeypatch.setattr(workers, "distributor_of", None)  # it is not tried again by itself
    assert "1 failed before" in soundsearch("index", "lib").stderr


def test_a_client_that_is_killed_takes_its_workers_along(
    soundsearch: Run, tmp_path: Path, tiny: object
) -> None:
    for i in range(40):
        write(tmp_path / "lib" / f"{i}.wav", noise(20, seed=i))
    process = program.start("index", "lib", "--model", "tiny", "--workers", "1", "--parts", "P")
    until = time.monotonic() + 60
    while not (tmp_path / "P").exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)  # not its group: the worker has to see to itself
    process.communicate(timeout=60)  # ends once nobody holds its output any more
    before = rows_of(tmp_path / "index")
    parts = {path.name for path in (tmp_path / "P").glob("part-*")}
    assert len(before) < 40
    result = soundsearch("index", "lib", "--workers", 1, "--parts", "P")
    assert ", 0 failed" in result.stderr
    assert len(sounds_of(tmp_path / "index")) == 40
    assert before.items() <= rows_of(tmp_path / "index").items()
    assert parts <= {path.name for path in (tmp_path / "P").glob("part-*")}
