"""examples/slurm/job_array.py: planned by one command, embedded by number, stored by `index`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from examples.slurm import job_array
from indexer import workers
from indexer.distribute import Sequential
from indexer.shards import cut_shards
from tests.conftest import Run
from tests.index_contents import sounds_of
from tests.sounds import tone, write
from tests.tiny_encoder import write_words


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The script with arguments, in this process; gives what it prints."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["job_array.py", *map(str, arguments)])
        job_array.main()
        return capsys.readouterr().out.strip()

    return run  # type: ignore[return-value]


def test_an_array_of_jobs_makes_the_same_index(
    soundsearch: Run, script: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, parts = write_words(tmp_path / "lib"), tmp_path / "parts"
    soundsearch("index", library, "--index", "A")
    monkeypatch.setattr(
        job_array, "cut_shards", lambda job, files: cut_shards(job, files, most_files=4)
    )
    monkeypatch.setattr(workers, "distributor_of", lambda *_: Sequential(lambda shard: 1 / 0))
    plan = ("plan", library, "--index", tmp_path / "X", "--parts", parts, "--model", "tiny")
    store = ("index", library, "--index", "X", "--workers", 1, "--parts", parts)
    assert script(*plan) == "3"
    names = [script("embed", parts, number) for number in (0, 1, 2, 1)]
    assert names[1] == names[3] and sorted(set(names)) == [p.name for p in sorted(parts.glob("p*"))]
    assert "8 new" in soundsearch(*store).stderr  # nothing was embedded here
    assert sounds_of(tmp_path / "X") == sounds_of(tmp_path / "A")

    (library / "hum.wav").touch()  # its content is known, which the plan carries along
    write(library / "new.wav", tone(100, 1.5))
    assert script(*plan) == "1"
    script("embed", parts, 0)
    again = soundsearch(*store).stderr
    assert "1 new, 0 changed, 0 moved, 8 unchanged" in again
