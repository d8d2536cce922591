"""The page and the API over an index in PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import soundsearch as package
from soundsearch.encoder.bundle import EncoderBundle
from tests.postgres import Server
from tests.serve.served import Client, serving

#: The path of a question to the API, and its parameters.
QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/api/search", {"q": "hiss", "k": 20}),
    ("/api/search", {"q": "deep hum duration:<2 without beep", "k": 5}),
    ("/api/search", {"q": "duration:>1.5", "k": 50}),
)
#: What differs from answer to answer.
OF_ITS_OWN = {"elapsed_ms"}


@pytest.fixture
def url(postgres: Server) -> str:
    """A database of its own, whose sessions a test may end."""
    return postgres.new_database()


@pytest.fixture
def client(url: str, library: Path, tiny: EncoderBundle) -> Iterator[Client]:
    package.index_folders(library, url, model=tiny.folder, jobs=1)
    with serving(url) as client:
        yield client


def test_the_answers_are_those_of_an_index_folder(
    client: Client, library: Path, tmp_path: Path, tiny: EncoderBundle
) -> None:
    package.index_folders(library, tmp_path / "folder", model=tiny.folder, jobs=1)
    with serving(tmp_path / "folder") as other:
        for path, values in QUESTIONS:
            one, another = (c.get(path, None, **values).json for c in (client, other))
            assert _compared(one) == _compared(another), path
    hits = client.get("/api/search", None, q="hiss").json["hits"]
    assert "hiss" in hits[0]["path"]
    assert client.get("/api/status").json["folder"].startswith("postgresql://")


def test_a_hit_is_played_and_the_page_is_there(client: Client, library: Path) -> None:
    hit = client.get("/api/search", None, q="hum", by="sound").json["hits"][0]
    audio = client.get(f"/api/recordings/{hit['recording_id']}/audio")
    assert audio.status == 200
    assert audio.body == Path(hit["path"]).read_bytes()
    page = client.get("/")
    assert page.status == 200 and b"soundsearch" in page.body


def test_it_goes_on_when_its_sessions_were_ended(
    client: Client, postgres: Server, url: str
) -> None:
    before = client.get("/api/search", None, q="hum").json["hits"]
    assert postgres.end_sessions(url)
    assert client.get("/api/search", None, q="hum").json["hits"] == before


def test_a_database_that_is_gone_is_one_line_without_its_password(
    client: Client, postgres: Server, url: str
) -> None:
    name = urlsplit(url).path[1:]
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
    answer = client.get("/api/search", None, q="hum")
    assert answer.status >= 500
    assert name in answer.error
    assert os.environ.get("PGPASSWORD", "no password") not in answer.error
    assert client.get("/").status == 200


def _compared(facts: Any) -> Any:
    """What two indexes of one library have in common."""
    if isinstance(facts, dict):
        return {
            key: round(value, 4) if isinstance(value, float) else _compared(value)
            for key, value in facts.items()
            if key not in OF_ITS_OWN
        }
    if isinstance(facts, list):
        return [_compared(fact) for fact in facts]
    return facts
