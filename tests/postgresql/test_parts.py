"""Parts, by which an index travels between a folder and a database."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from soundsearch.health import verify
from soundsearch.paths import DatabaseUrl
from soundsearch.store import Store
from tests.conftest import Run
from tests.postgres import Server
from tests.tiny_encoder import WORDS


def hits(soundsearch: Run, text: str, index: object) -> list[tuple[object, ...]]:
    answer = json.loads(soundsearch("query", text, "-k", 30, "--index", index, "--json").stdout)
    return [
        (hit["path"], hit["start_s"], round(hit["cosine"], 5), hit["words"])
        for hit in answer["hits"]
    ]


def test_an_index_travels_into_a_database_and_back(
    url: str, soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    folder, again = tmp_path / "folder", tmp_path / "again"
    soundsearch("index", library, "--index", folder)
    soundsearch("export-parts", tmp_path / "parts", "--index", folder)
    for _ in range(2):  # the second time, all is known
        soundsearch("ingest", tmp_path / "parts", "--index", url, "--model", "tiny")
    soundsearch("export-parts", tmp_path / "back", "--index", url)
    soundsearch("ingest", tmp_path / "back", "--index", again, "--model", "tiny")
    with contextlib.closing(Store.open(DatabaseUrl(url))) as store:
        assert verify(store) == []
    for text in (*WORDS, "deep hums"):
        expected = hits(soundsearch, text, folder)
        assert expected and hits(soundsearch, text, url) == expected
        assert hits(soundsearch, text, again) == expected


def test_workers_need_a_place_for_their_parts(
    url: str, postgres: Server, soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    refused = soundsearch("index", library, "--index", url, "--workers", "1", code=1).stderr
    assert "--parts" in refused and refused.count("\n") == 1
    soundsearch(*("index", library, "--index", url), "--workers", "1", "--parts", tmp_path / "p")
    assert hits(soundsearch, "hiss", url)[0][0].endswith("hiss.wav")  # type: ignore[attr-defined]
    assert list((tmp_path / "p").glob("part-*.parquet"))
