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


def rows_but_embeddings(index: Path) -> dict[str, list[Any]]:
    """Everything in the tables that no encoder decides."""
    with contextlib.closing(sqlite3.connect(index / "soundsearch.db")) as connection:
        tables = [
            *("roots", "skipped_endings", "words", "name_parts"),
            "(SELECT id, root_id, relative_path, size_bytes, mtime_ns, content_hash, duration_s, "
            "sample_rate, n_channels, format, metadata, state, cause, error FROM recordings)",
        ]
        return {
            table: sorted(map(repr, connection.execute(f"SELECT rowid, * FROM {table}").fetchall()))
            if not table.startswith("(")
            else sorted(map(repr, connection.execute(f"SELECT * FROM {table}").fetchall()))
            for table in tables
        }
