from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from soundsearch.paths import DatabaseUrl
from soundsearch.store import Store
from tests import sounds
from tests.filled_store import FLAT
from tests.postgres import Server
from tests.tiny_encoder import BAND_HZ, WORDS


@pytest.fixture
def url(postgres: Server) -> str:
    """An address where there is no index yet."""
    return postgres.new_place()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with contextlib.closing(Store.create(DatabaseUrl(url), FLAT)) as made:
        yield made


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for i, (word, hz) in enumerate(zip(WORDS, BAND_HZ, strict=True)):
        for name in (f"{word}.wav", f"Deep {word}s/take_{i:02d}_{word}ing.wav"):
            sounds.write(tmp_path / "sounds" / name, sounds.tone(hz, 1.0 + 0.5 * (i % 4)))
    shutil.copy(tmp_path / "sounds" / "hiss.wav", tmp_path / "sounds" / "copy of hiss.wav")
    (tmp_path / "sounds" / "empty.wav").write_bytes(b"")
    return tmp_path / "sounds"
