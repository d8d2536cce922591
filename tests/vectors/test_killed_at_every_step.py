"""`kill -9` at every step of writing vectors: when they are made, merged, or caught up.

A step is a file or folder that is made, linked, renamed or removed, and a list that is written. By
default the process is killed at every fifth of them, with SOUNDSEARCH_SLOW at each.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundsearch.store import Store
from soundsearch.vectors import build, cache, vector_index
from tests import program
from tests.filled_store import FLAT, changing, recording, unit

ROOT = Path("/library")
STRIDE = 1 if os.environ.get("SOUNDSEARCH_SLOW") else 5
#: Windows added after the base was made: none, few, more than a delta takes.
CASES = {"made": 0, "caught up": 3, "merged": 12}
STEPS = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir"}


def _set_small() -> None:
    cache.EXACT_WINDOWS, cache.DELTA_WINDOWS = 20, 8
    vector_index.FEW_WINDOWS, vector_index.DEEP_SHARE = 0, 1e9
    cache._questions = lambda reader: unit([(1, 2), (2, 1), (-1, 1)])


def _fill(folder: Path, case: str) -> None:
    random = np.random.default_rng(0)
    with contextlib.closing(Store.create(folder, FLAT)) as store:
        for name, n in (("old.wav", 40), ("new.wav", CASES[case])):
            if n:
                with changing(store) as changes:
                    root = changes.add_root(ROOT).id
                    changes.put(recording(root, name, random.standard_normal((n, 2))))
            if name == "old.wav" and CASES[case]:
                cache.load_vectors(store)


def _check(folder: Path) -> None:
    """What a search finds, without and with writing, and that the next change leaves nothing over."""
    with contextlib.closing(Store.open(folder)) as store:
        for is_written in (False, True):
            with store.snapshot() as reader:
                vectors = cache.vectors_at(reader)
            if is_written:
                vectors = cache.load_vectors(store)
            with store.snapshot() as reader:
                ids = reader.window_ids()
                embeddings = reader.embeddings(ids, 2)
                for query in unit([(1, 0), (3, 4), (-1, 5)]):
                    _, cosines = vectors.search(query, len(ids), reader)
                    expected = np.sort(embeddings @ query)[::-1]
                    np.testing.assert_allclose(cosines, expected, atol=1e-6)
        with changing(store) as changes:
            changes.put(recording(changes.roots()[0].id, "next.wav"))
        cache.load_vectors(store)
        assert len(list(folder.glob("*vectors-*"))) == 1
        assert not list(folder.glob(".vectors-*"))


def _kill_at(n: int) -> None:
    """Have this process kill itself at its n-th step."""
    left = n

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        named = any("vectors-" in os.fsdecode(a) for a in arguments if isinstance(a, str | bytes))
        is_written = event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if named and (event in STEPS or is_written):
            step()

    by_list = build.Coded.by_list

    def stepped(coded: build.Coded, n_lists: int) -> Iterator[Any]:
        for one in by_list(coded, n_lists):
            step()
            yield one

    build.Coded.by_list = stepped  # type: ignore[method-assign]
    sys.addaudithook(lambda event, args: hear(event, tuple(map(_plain, args))))


def _plain(argument: object) -> Any:
    return os.fspath(argument) if isinstance(argument, os.PathLike) else argument


def kill_all(place: str, case: str) -> None:
    """Kill a process of its own at each step, and check each time what it leaves.

    Prints the number of the step at which there was nothing left to be killed.
    """
    folder = Path(place)
    _set_small()
    _fill(folder / "whole", case)
    n = 1
    while True:
        index = folder / f"{n}"
        shutil.copytree(folder / "whole", index)
        child = os.fork()
        if child == 0:
            _kill_at(n)
            with contextlib.closing(Store.open(index)) as store:
                cache.load_vectors(store)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        _check(index)
        shutil.rmtree(index)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        n += STRIDE
    sys.stdout.write(f"{n}")


@pytest.mark.parametrize("case", CASES)
def test_killed_at_every_step(tmp_path: Path, case: str) -> None:
    run = f"import sys; from {__name__} import kill_all; kill_all(*sys.argv[1:])"
    threads = dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")
    result = subprocess.run(
        [sys.executable, "-c", run, tmp_path, case],
        env=program.environment(**threads),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 15, "there were fewer steps than there must be"
