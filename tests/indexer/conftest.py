"""A library of sound and an index of it, driven below the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import soundsearch
from indexer.index_options import IndexOptions
from indexer.pipeline import run
from indexer.plan import Plan, make_plan
from indexer.report import Report
from indexer.targets import choose_targets
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.towers import Encoder
from soundsearch.store.pinned import create_index
from tests.index_contents import Row, rows_of, searchable
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ


class Indexer:
    """An index in `folder` of the library in `library`; every method says what an index run does."""

    def __init__(self, folder: Path, library: Path, bundle: EncoderBundle) -> None:
        self.folder, self.library = folder, library
        self.store = create_index(folder, bundle)
        self.encoder = Encoder(bundle, "cpu", 1)

    def run(self, *paths: Path, **options: Any) -> Report:
        """Index the library, or these paths."""
        return self.run_with_plan(*paths, **options)[1]

    def run_with_plan(self, *paths: Path, **options: Any) -> tuple[Plan, Report]:
        """The same, with the plan it followed."""
        more = {name: options.pop(name) for name in ("progress", "captions") if name in options}
        chosen = IndexOptions(**{"jobs": 1, **options})
        places = list(paths) or [self.library]
        return run(self.store, self.encoder, places, chosen, **more)

    def plan(self, *paths: Path, exclude: tuple[str, ...] = ()) -> Plan:
        """What a run would do; changes nothing."""
        with self.store.snapshot() as reader:
            roots = reader.roots()
        targets = choose_targets(roots, list(paths) or [self.library])
        return make_plan(self.store, targets, IndexOptions(exclude=exclude))

    def roots(self) -> list[Path]:
        """The roots known."""
        with self.store.snapshot() as reader:
            return [root.path for root in reader.roots()]

    def rows(self) -> dict[str, Row]:
        """All that is known, by path relative to the library."""
        return {str(path.relative_to(self.library)): row for path, row in self.all_rows().items()}

    def all_rows(self) -> dict[Path, Row]:
        """All that is known, by absolute path."""
        return rows_of(self.folder)

    def searchable(self) -> set[str]:
        """What a search can find, by path relative to the library."""
        return {str(path.relative_to(self.library)) for path in searchable(self.folder)}

    def window_ids(self, name: str) -> tuple[int, ...]:
        """Ids of the windows of one recording of the library."""
        return self.rows()[name].window_ids


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


@pytest.fixture
def indexer(tmp_path: Path, library: Path, tiny: EncoderBundle) -> Iterator[Indexer]:
    made = Indexer(tmp_path / "index", library, tiny)
    yield made
    made.store.close()


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A low tone, a high one, and a file that is no sound."""
    write(tmp_path / "library" / "low.wav", tone(BAND_HZ[0], 3.2))
    write(tmp_path / "library" / "deep" / "high.wav", tone(BAND_HZ[7], 0.5))
    (tmp_path / "library" / "broken.wav").write_bytes(b"no sound")
    return tmp_path / "library"


@pytest.fixture
def index(sounds: Path, tmp_path: Path, tiny: EncoderBundle, other: EncoderBundle) -> Path:
    """An index with the old encoder; the new one is called other."""
    soundsearch.index_folders(sounds, tmp_path / "index", model="tiny")
    return tmp_path / "index"
