"""Whatever happens to a library between runs: a search finds the audio files on disk, no others."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from indexer.index_options import IndexOptions
from indexer.pipeline import run
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.towers import Encoder
from soundsearch.store import State
from soundsearch.store.pinned import create_index
from tests.index_contents import Row, rows_of, searchable, vectors_of
from tests.sounds import tone, write

NAMES = st.sampled_from(["a.wav", "b.wav", "B.wav", "x/a.wav", "x/c.wav", "y z/d.wav"])
#: Frequencies of 0.3 s, all files of one size, so that only the content tells them apart.
SOUNDS = st.sampled_from([100.0, 480.0, 1150.0, 3200.0])


def test_any_history(tiny: EncoderBundle) -> None:
    class History(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.folder = Path(tempfile.mkdtemp(prefix="soundsearch-test-")).resolve()
            self.library = self.folder / "library"
            self.library.mkdir()
            self.index = self.folder / "index"
            self.store = create_index(self.index, tiny)
            self.encoder = Encoder(tiny, "cpu", 1)
            self.known: dict[Path, bytes] = {}  # what the last run saw
            self.is_current = False
            self.n_names = 0

        def teardown(self) -> None:
            self.store.close()
            shutil.rmtree(self.folder)

        def files(self) -> dict[Path, bytes]:
            return {path: path.read_bytes() for path in self.library.rglob("*.wav")}

        def remove_empty_folders(self) -> None:
            """They would pass for disks that are not mounted."""
            for folder in self.library.iterdir():
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()

        @rule(name=NAMES, hz=SOUNDS)
        def put(self, name: str, hz: float) -> None:
            """Add a file, or change one."""
            write(self.library / name, tone(hz, 0.3))
            self.is_current = False

        @rule(name=NAMES)
        def put_garbage(self, name: str) -> None:
            (self.library / name).parent.mkdir(exist_ok=True)
            (self.library / name).write_text("this is no sound")
            self.is_current = False

        @precondition(lambda self: self.files())
        @rule(data=st.data())
        def delete(self, data: st.DataObject) -> None:
            data.draw(st.sampled_from(sorted(self.files()))).unlink()
            self.remove_empty_folders()
            self.is_current = False

        @precondition(lambda self: self.files())
        @rule(data=st.data(), name=NAMES)
        def rename(self, data: st.DataObject, name: str) -> None:
            """Perhaps over another file."""
            new = self.library / name
            new.parent.mkdir(exist_ok=True)
            data.draw(st.sampled_from(sorted(self.files()))).replace(new)
            self.remove_empty_folders()
            self.is_current = False

        @precondition(lambda self: self.files())
        @rule(data=st.data(), name=NAMES, whole=st.booleans())
        def copy(self, data: st.DataObject, name: str, whole: bool) -> None:
            """With its time of change, or without."""
            old, new = data.draw(st.sampled_from(sorted(self.files()))), self.library / name
            new.parent.mkdir(exist_ok=True)
            if old != new:
                (shutil.copy2 if whole else shutil.copy)(old, new)
            self.is_current = False

        @precondition(lambda self: self.files())
        @rule(prune=st.booleans(), jobs=st.sampled_from([1, 3]))
        def index_all(self, prune: bool, jobs: int) -> None:
            before = rows_of(self.index)
            run(self.store, self.encoder, [self.library], IndexOptions(prune=prune, jobs=jobs))
            self.is_current = True
            self.check_kept(before)
            self.known = self.files()

        @precondition(lambda self: self.is_current and self.files())
        @rule()
        def rename_the_library(self) -> None:
            before, old = rows_of(self.index), self.library
            self.n_names += 1
            self.library = old.rename(self.folder / f"library {self.n_names}")
            _, report = run(self.store, self.encoder, [self.library], IndexOptions(jobs=1))
            after = rows_of(self.index)
            assert report.n_windows == 0
            for path, row in before.items():
                if row.state is State.INDEXED and path.is_relative_to(old):
                    assert after[self.library / path.relative_to(old)].window_ids == row.window_ids
            self.known = self.files()

        def check_kept(self, before: dict[Path, Row]) -> None:
            """Files that did not change, and files that moved to a free name, keep their windows."""
            after, now = rows_of(self.index), self.files()
            for path, content in now.items():
                was_here = before.get(path)
                if was_here and was_here.state is State.INDEXED and self.known[path] == content:
                    assert after[path].window_ids == was_here.window_ids, f"{path} unchanged"
                if was_here is None and b"RIFF" in content[:4]:
                    sources = [
                        old
                        for old, row in before.items()
                        if row.state is State.INDEXED
                        and old not in now
                        and self.known[old] == content
                    ]
                    rivals = [
                        p
                        for p in now
                        if (p not in before or before[p].state is State.FAILED)
                        and now[p] == content
                    ]
                    if sources and len(rivals) == 1:
                        assert after[path].window_ids in {before[s].window_ids for s in sources}

        @invariant()
        def finds_what_is_there(self) -> None:
            if self.is_current:
                good = {p: c for p, c in self.files().items() if c.startswith(b"RIFF")}
                if self.files():  # an empty library counts as an unmounted disk
                    assert searchable(self.index) == set(good)
                rows = rows_of(self.index)
                for path in good:
                    _, expected = self.encoder.embed_file(path)
                    assert np.array_equal(vectors_of(rows[path]), expected.astype(np.float16)), path

    History.TestCase.settings = settings(
        max_examples=25,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    History.TestCase("runTest").runTest()
