"""What tests of reembedding need: the call, and what an index holds and answers after it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import soundsearch
from indexer.reembed import ReembedReport
from soundsearch.health import verify
from soundsearch.store import Store

INDEX = Path("index")


def reembed(**options: Any) -> ReembedReport:
    return soundsearch.reembed(INDEX, "other", device="cpu", **options)


def best(text: str, index: Path = INDEX) -> str:
    with soundsearch.open_index(index) as opened:
        return opened.search(text=text, by="sound", top_k=1)[0].path.name


def problems(index: Path) -> list[str]:
    with contextlib.closing(Store.open(index)) as store:
        return [problem.text for problem in verify(store)]


def rows_but_embeddings(index: Path) -> dict[str, list[str]]:
    """Everything in the tables that no encoder decides, and not when a row was written."""
    with contextlib.closing(sqlite3.connect(index / "soundsearch.db")) as connection:
        facts = [row[1] for row in connection.execute("PRAGMA table_info(recordings)")]
        facts.remove("indexed_at")
        statements = [
            f"SELECT {', '.join(facts)} FROM recordings",
            *(
                f"SELECT rowid, * FROM {table}"
                for table in ("roots", "skipped_endings", "words", "name_parts")
            ),
        ]
        return {query: sorted(map(repr, connection.execute(query))) for query in statements}
