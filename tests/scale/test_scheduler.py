"""A scheduler that is killed ends a run in one line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer import distribute
from indexer.distribute import Dask
from indexer.shards import Job, Shard, ShardFile
from soundsearch.errors import SoundsearchError
from soundsearch.store import FileFacts
from tests.recorded import Recorded

pytestmark = pytest.mark.filterwarnings("ignore")  # of the cluster's libraries


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    facts = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0"]
    command += ["--no-dashboard", "--scheduler-file", str(facts)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (facts.exists() and facts.read_text()):
            assert process.poll() is None
            time.sleep(0.1)
        yield json.loads(facts.read_text())["address"], process
    finally:
        process.kill()
        process.wait()


def test_it_is_gone(
    scheduler: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, process = scheduler
    monkeypatch.setattr(distribute, "LOOK_S", 0.2)
    progress = Recorded(lambda stage: process.kill())
    dask = Dask(address.replace("tcp", "dask"), progress)
    monkeypatch.setattr(progress, "note", lambda line: (notes.append(line), process.kill()))
    notes: list[str] = []
    dask.start(Shard(Job("/p", "/b", "f"), (ShardFile("/r", FileFacts(0, "a", 1, 1)),)))
    with pytest.raises(SoundsearchError) as caught:
        dask.finished()  # it has no workers, which is said; then it is killed
    dask.close()
    assert len(notes) == 1 and f"dask worker {address}" in notes[0]
    assert address in str(caught.value) and "run the same command again" in str(caught.value)
    assert "\n" not in str(caught.value)
