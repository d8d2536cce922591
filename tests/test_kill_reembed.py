"""`kill -9` while an index gets another encoder: it answers with the old one or with the new one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.health import verify
from soundsearch.store import Store
from soundsearch.store.pinned import pinned_bundle
from tests import program
from tests.conftest import Run
from tests.index_contents import rows_of, searchable, sounds_of
from tests.sounds import noise, tone, write
from tests.tiny_encoder import BAND_HZ

N_FILES = 8
N_KILLS = int(
    os.environ.get("SOUNDSEARCH_KILLS", "50" if os.environ.get("SOUNDSEARCH_SLOW") else "4")
)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    for i, hz in enumerate(BAND_HZ):
        write(folder / f"{i}.wav", tone(hz, 2.5 + i / 4))
    (folder / "broken.wav").write_bytes(b"no sound")
    return folder


@pytest.fixture
def index(soundsearch: Run, library: Path, tmp_path: Path, other: EncoderBundle) -> Path:
    """An index with the old encoder; the new one is called other."""
    soundsearch("index", library)
    return tmp_path / "index"


@pytest.fixture
def expected(index: Path, soundsearch: Run, library: Path, tmp_path: Path) -> dict[str, object]:
    """What an index holds with either encoder."""
    soundsearch("index", library, "--model", "other", "--index", tmp_path / "new")
    return {"tiny": sounds_of(index), "other": sounds_of(tmp_path / "new")}


def check_complete(index: Path, expected: dict[str, object]) -> str:
    """Check that the index holds all, of one encoder alone, and is sound; the encoder's name."""
    store = Store.open(index)
    assert verify(store) == []
    bundle = pinned_bundle(store)
    store.close()
    assert sounds_of(index) == expected[bundle.name]
    assert len(searchable(index)) == N_FILES
    return bundle.name


def killed_at(point: str, *options: str) -> None:
    """Run a reembedding that is killed when a function is called for the n-th time."""
    command = program.start(
        *("reembed", "--model", "other", *options),
        command=program.KILLING_ITSELF,
        env=program.environment(SOUNDSEARCH_KILL_AT=point),
    )
    _, errors = command.communicate(timeout=60)
    assert command.returncode == -signal.SIGKILL, errors


#: Function at whose n-th call the process is killed, and the encoder that answers then.
POINTS = [
    ("soundsearch.store.pinned:_copy_bundle:1", "tiny"),
    ("soundsearch.store.migrations:create:1", "tiny"),
    ("soundsearch.store.writer:Transaction.add_root:1", "tiny"),
    ("indexer.embedding:Run.read:1", "tiny"),
    ("soundsearch.store.writer:Transaction.put_all:1", "tiny"),
    ("soundsearch.store.writer:Transaction.put_all:5", "tiny"),
    ("soundsearch.store.writer:Transaction.pin_another:1", "tiny"),
    ("soundsearch.store.writer:Transaction.put_from:1", "tiny"),
    ("soundsearch.store.writer:Transaction.mark_not_embedded:1", "tiny"),
    ("indexer.reembed:finish_switch:2", "other"),
    ("soundsearch.store.pinned:awaits_its_place:1", "other"),
    ("soundsearch.store.pinned:drop_next:2", "other"),
    ("indexer.reembed:refresh:2", "other"),
]


@pytest.mark.parametrize(("point", "answering"), POINTS, ids=lambda x: x.split(":", 1)[-1])
def test_killed_at_each_step(
    index: Path, expected: dict[str, object], soundsearch: Run, point: str, answering: str
) -> None:
    before = rows_of(index)
    killed_at(point)
    assert check_complete(index, expected) == answering
    n_there = len(rows_of(index / "next")) if Store.exists(index / "next") else 0
    if (index / "next").exists() or answering == "tiny":
        done = json.loads(soundsearch("reembed", "--model", "other", "--json").stdout)
        assert done["switched"]
        assert done["embedded"] == (N_FILES - n_there if answering == "tiny" else 0)
    else:  # nothing is left to do
        assert "already" in soundsearch("reembed", "--model", "other", code=1).stderr
    assert check_complete(index, expected) == "other"
    assert {path: row.id for path, row in rows_of(index).items()} == {
        path: row.id for path, row in before.items()
    }
    left = {path.name for path in index.iterdir()} - {f"soundsearch.db-{x}" for x in ("wal", "shm")}
    (vectors,) = index.glob("vectors-*")
    assert left == {"soundsearch.db", "writer.lock", "encoder", vectors.name}
    assert EncoderBundle.read(index / "encoder").name == "other"


@pytest.mark.parametrize("renamed", [False, True])
def test_killed_between_the_old_copy_and_the_new_one(
    index: Path, expected: dict[str, object], soundsearch: Run, renamed: bool
) -> None:
    """Neither `shutil.rmtree` nor `Path.rename` can be stopped at, since other steps use them too."""
    killed_at("indexer.reembed:finish_switch:2")
    shutil.rmtree(index / "encoder")
    if renamed:
        (index / "next" / "encoder").rename(index / "encoder")
    assert check_complete(index, expected) == "other"
    soundsearch("index", "--model", "other")  # any run that writes puts all in its place
    assert check_complete(index, expected) == "other"
    assert not (index / "next").exists()


def test_killed_at_any_moment_again_and_again(
    index: Path, expected: dict[str, object], soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    started = time.monotonic()
    timed = program.soundsearch("reembed", "--model", "tiny", "--index", tmp_path / "new")
    whole_s = time.monotonic() - started
    assert timed.returncode == 0, timed.stderr
    rng = random.Random(os.environ.get("SOUNDSEARCH_KILLS_SEED", "1"))
    for _ in range(N_KILLS):
        process = program.start(
            *("reembed", "--model", "other"), command=program.COMMITTING_AT_ONCE
        )
        time.sleep(rng.uniform(0.3, 1.0) * whole_s)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        if check_complete(index, expected) == "other":
            break
    is_done = check_complete(index, expected) == "other" and not (index / "next").exists()
    result = soundsearch("reembed", "--model", "other", code=int(is_done))
    assert "already" in result.stderr or "switched to other" in result.stderr
    assert check_complete(index, expected) == "other"


def test_a_killed_run_holds_nobody_up(
    index: Path, expected: dict[str, object], soundsearch: Run, library: Path
) -> None:
    """What an index run changes between two runs is embedded, and nothing twice."""
    killed_at("soundsearch.store.writer:Transaction.put_all:5", "-j", "1")
    assert len(rows_of(index / "next")) == 4
    (library / "0.wav").rename(library / "moved.wav")
    write(library / "1.wav", noise(3))
    (library / "2.wav").unlink()
    write(library / "new.wav", noise(2, seed=1))
    soundsearch("index", library)
    done = json.loads(soundsearch("reembed", "--model", "other", "--json").stdout)
    # Anew: 4.wav to 7.wav, the changed one, the new one. The moved one is known by its content, and
    # so is the one that was deleted.
    assert (done["switched"], done["embedded"], done["ready"]) == (True, 6, 9)
    found = sounds_of(index)
    soundsearch("index", library, "--model", "other", "--index", index.parent / "new", "--force")
    again = sounds_of(index.parent / "new")
    assert found == again
    assert np.frombuffer(next(iter(found.values()))[1][0], "<f2").size == 12  # type: ignore[index]
