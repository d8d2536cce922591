"""A server that ends all sessions in the middle of a run: one line, whole recordings, and on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from indexer import embedding
from indexer import ingest as ingesting
from soundsearch.health import verify
from soundsearch.paths import DatabaseUrl
from soundsearch.store import Indexed, Store
from soundsearch.store.transaction import Transaction
from tests.conftest import Run
from tests.index_contents import sounds_of
from tests.postgres import Server


@pytest.fixture
def url(postgres: Server) -> str:
    """A database of its own, whose sessions are ended."""
    return postgres.new_database()


@pytest.fixture
def ending(
    postgres: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Lets all sessions be ended once the second transaction has its rows, before it is committed."""

    @contextlib.contextmanager
    def block() -> Iterator[None]:
        n_calls = 0
        put_all = Transaction.put_all

        def put_and_end(self: Transaction, recordings: Iterable[Indexed]) -> list[int]:
            nonlocal n_calls
            ids = put_all(self, recordings)
            n_calls += bool(ids)
            if ids and n_calls == 2:
                assert postgres.end_sessions(url)
            return ids

        with monkeypatch.context() as patched:
            patched.setattr(Transaction, "put_all", put_and_end)
            yield
        assert n_calls == 2  # nothing was tried after it

    return block


def stored(url: str) -> dict[Path, int]:
    """Windows of all that is indexed, by path; nothing is odd about any of it."""
    with contextlib.closing(Store.open(DatabaseUrl(url))) as store:
        assert [p for p in verify(store) if p.kind not in ("vectors", "words")] == []
        with store.snapshot() as reader:
            facts = [reader.facts(r) for r in reader.recordings() if r.content_hash]
    return {one.path: one.n_windows for one in facts}


@pytest.mark.parametrize("how", ["index", "workers", "ingest"])
def test_a_run_whose_server_is_gone_is_gone_on_with(
    url: str,
    soundsearch: Run,
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: Callable[[], contextlib.AbstractContextManager[None]],
    how: str,
) -> None:
    soundsearch("index", library, "--index", tmp_path / "folder")
    expected = {path: len(spans) for path, (spans, _) in sounds_of(tmp_path / "folder").items()}
    monkeypatch.setattr(ingesting, "EXPORTED_RECORDINGS", 4)
    monkeypatch.setattr(embedding, "COMMIT_WINDOWS", 4)
    soundsearch("export-parts", "parts", "--index", tmp_path / "folder")
    command: tuple[object, ...] = ("index", library, "--index", url)
    if how == "ingest":
        command = ("ingest", "parts", "--index", url, "--model", "tiny")
    elif how == "workers":
        command = (*command, "--workers", 1, "--parts", "parts")
    with ending():
        lines = soundsearch(*command, code=1).stderr.splitlines()
    (line,) = (line for line in lines if not line.startswith("skipped "))
    assert line.startswith("error: ") and "postgresql://" in line and "committed" in line
    found = stored(url)
    assert found and len(found) < len(expected) and found.items() <= expected.items()
    soundsearch(*command)
    assert stored(url) == expected
    soundsearch("verify", "--index", url)
