from __future__ import annotations

from pathlib import Path

from tests import sounds
from tests.conftest import Run
from tests.postgres import Server
from tests.tiny_encoder import BAND_HZ, WORDS


def test_index_and_query(postgres: Server, soundsearch: Run, tmp_path: Path) -> None:
    url = postgres.new_database()
    for word, hz in zip(WORDS, BAND_HZ, strict=True):
        sounds.write(tmp_path / "sounds" / f"{word}.wav", sounds.tone(hz, 1.5))
    r = soundsearch("index", "sounds", "--index", url)
    print(r.output)
    r = soundsearch("query", "hiss", "--index", url)
    print(r.output)
    r = soundsearch("status", "--index", url)
    print(r.output)
    r = soundsearch("verify", "--index", url)
    print(r.output)
    assert 0
