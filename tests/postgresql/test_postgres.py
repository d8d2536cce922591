"""An index in a PostgreSQL database: what is not the same as in a folder."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import soundsearch as package
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import IndexBusyError, StoreError
from soundsearch.health import status, verify
from soundsearch.paths import DatabaseUrl
from soundsearch.progress import Silent
from soundsearch.store import Store, migrations
from soundsearch.store import postgres as postgres_store
from soundsearch.store.backend import MOST_EF, GraphFacts
from soundsearch.store.conditions import FolderNamed, Within
from soundsearch.store.pinned import create_index, encoder_folder
from soundsearch.vectors import build, in_database
from soundsearch.vectors.cache import discard, load_vectors, refresh
from soundsearch.vectors.in_database import DatabaseVectors
from tests.conftest import Run
from tests.filled_store import FLAT, changing, put, recording, unit
from tests.postgres import Server

ROOT = Path("/library")


def _on_server(url: str, statement: str) -> list[tuple[object, ...]]:
    """Run a statement in the schema of an index."""
    import psycopg

    place = DatabaseUrl(url)
    with psycopg.connect(place.server, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {place.schema}, public".encode())
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


# ---- the same hits as in a folder


QUESTIONS = (
    *(("query", word) for word in ("hiss", "deep drones", "take humming", "beep -whine")),
    *(
        ("query", text)
        for text in ("duration:>1.5", 'in:"Deep hums" hum', "hum format:wav", '"deep"')
    ),
    ("query", "hiss without squeak", "-k", "3"),
    ("query", "hums", "--by", "words"),
    ("query", "note", "--exact"),
    ("similar", "sounds/beep.wav"),
    ("duplicates",),
    ("show", "sounds/hum.wav"),
)


def test_commands_print_the_same_as_of_a_folder(
    url: str, soundsearch: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = {}
    for place in ("in-folder", url):
        monkeypatch.setenv("SOUNDSEARCH_INDEX", place)
        soundsearch("index", library, "-j", "1", "--json")
        soundsearch("verify")
        printed[place] = [soundsearch(*question, "--json").stdout for question in QUESTIONS]
    for question, ours, theirs in zip(QUESTIONS, *printed.values(), strict=True):
        found, expected = _comparable(json.loads(theirs)), _comparable(json.loads(ours))
        assert found == expected, question
        assert str(found) != "[]" and "hiss.wav" in printed[url][0]


def _comparable(value: object) -> object:
    """JSON without what differs from one run of `index` to the next."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in ("indexed_at", "recording_id", "index")}
        return {k: _comparable(v) for k, v in kept.items()}
    if isinstance(value, list):
        return [_comparable(each) for each in value]
    return round(value, 5) if isinstance(value, float) else value


def test_a_changed_library_is_brought_up_to_date(url: str, soundsearch: Run, library: Path) -> None:
    soundsearch("index", library, "--index", url)
    (library / "hum.wav").rename(library / "moved rumble.wav")
    (library / "beep.wav").unlink()
    again = json.loads(soundsearch("index", library, "--index", url, "--prune", "--json").stdout)
    assert (again["new"], again["moved"], again["removed"]) == (0, 1, 1)
    hits = json.loads(
        soundsearch("query", "moved", "--by", "words", "--index", url, "--json").stdout
    )
    assert [Path(hit["path"]).name for hit in hits["hits"]] == ["moved rumble.wav"]
    assert verify(Store.open(DatabaseUrl(url))) == []


def test_another_encoder_takes_its_place(
    url: str, soundsearch: Run, library: Path, other: EncoderBundle
) -> None:
    soundsearch("index", library, "--index", url)
    begun = soundsearch("reembed", "--model", other.folder, "--index", url, "--json")
    assert json.loads(begun.stdout)["switched"]
    with contextlib.closing(Store.open(DatabaseUrl(url))) as store, store.snapshot() as reader:
        assert reader.encoder().fingerprint == other.fingerprint
        assert EncoderBundle.read(encoder_folder(reader)).fingerprint == other.fingerprint
        assert reader.embeddings(reader.window_ids(), other.dim).shape[1] == other.dim
    assert not Store.exists(DatabaseUrl(url).beside("next"))
    soundsearch("verify", "--index", url)


# ---- words: SQLite's full-text index is the oracle

texts = st.text("abcdeingsS éñü-_.0123 ß", max_size=24) | st.sampled_from(
    ["running runs runner", "Relational ponies", "caresses hopping", "DoorMetal02_close", "rain"]
)


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8), texts)
def test_words_are_found_and_scored_as_by_sqlite(
    url: str, tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str, str]], asked: str
) -> None:
    from soundsearch.words import terms

    here = Store.create(tmp_path_factory.mktemp("index") / "index", FLAT)
    _on_server(url, f"DROP SCHEMA IF EXISTS {DatabaseUrl(url).schema} CASCADE")
    there = Store.create(DatabaseUrl(url), FLAT)
    found = []
    with contextlib.closing(here), contextlib.closing(there):
        for store in (here, there):
            with changing(store) as changes:
                root = changes.add_root(ROOT).id
                for i, (folder, name) in enumerate(files):
                    one = recording(root, f"{folder.replace('.', '')}/{i}{name}.wav")
                    changes.put(one)
            with store.snapshot() as reader:
                wanted = terms(f"{asked} running rain 02")
                matches = [
                    [(m.recording_id, round(m.score, 4), m.words) for m in find(wanted, limit=9)]
                    for find in (reader.find_words, reader.find_name_parts)
                ]
                found.append((matches, reader.known_words(wanted)))
    assert found[0] == found[1]


def test_counts_of_words_are_kept_by_the_database(store: Store, url: str) -> None:
    for i in range(3):
        put(store, ROOT, f"rain {i}.wav")
    with store.snapshot() as reader:
        ids = [recording.id for recording in reader.recordings()]
    with changing(store) as changes:
        changes.delete(ids[:1])
    # words of the name, and of the root, of each: rain, its number, library
    assert _on_server(url, "SELECT sum(n_recordings), sum(n_words) FROM word_totals") == [(2, 6)]
    _on_server(url, "UPDATE word_totals SET n_words = n_words + 1")
    problems = [problem.kind for problem in verify(store)]
    assert "words" in problems
    with store.writer() as writer, writer.transaction() as changes:
        changes.empty_words()
    with store.writer() as writer:
        writer.renew_words()
    assert "words" not in [problem.kind for problem in verify(store)]


def test_folders_are_found_whatever_their_bytes(store: Store) -> None:
    odd = os.fsdecode(b"Gr\xff\xfen")
    ids = [put(store, ROOT, f"{folder}/a.wav") for folder in ("GRÜN", odd, "---", "a/Blue")]
    with store.snapshot() as reader:
        for i, names in enumerate((("grün",), (odd,), ("---",), ("A", "blue"))):
            (found,) = reader.window_ids([FolderNamed(names)])
            assert reader.describe_windows(np.array([found]))[found].recording_id == ids[i]
        assert len(reader.window_ids([Within(ROOT / odd)])) == 1


# ---- the graph of windows


def test_the_graph_finds_what_it_was_calibrated_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr(in_database, "EXACT_WINDOWS", 500)
    monkeypatch.setattr(in_database, "FEW_WINDOWS", 0)
    questions = unit(rng.normal(size=(12, 16)))
    monkeypatch.setattr("soundsearch.vectors.cache._questions", lambda reader: questions)
    with store.writer() as writer:
        with writer.transaction() as changes:
            changes.pin_another(type(FLAT)("flat", "2", "e" * 64, 16))
            root = changes.add_root(ROOT).id
            changes.put_all(
                recording(
                    root, f"{'odd' if i % 10 == 0 else 'even'}/{i}.wav", rng.normal(size=(10, 16))
                )
                for i in range(150)
            )
        refresh(writer)
        assert _recall(store, questions) >= build.RECALL_10
        with writer.snapshot() as reader:
            facts = reader.graph_facts()
        assert facts is not None and facts.n_windows == 1500
        assert facts.recall_10 is not None and facts.recall_10 >= build.RECALL_10
        assert status(store).search == facts
        discard(writer)
        with writer.snapshot() as reader:
            assert reader.graph_facts() is None
        assert _recall(store, questions) == 1


def test_a_search_goes_on_where_the_candidates_held_at_a_time_are_too_few(store: Store) -> None:
    rng = np.random.default_rng(0)
    questions = unit(rng.normal(size=(20, 16)))
    with store.writer() as writer:
        with writer.transaction() as changes:
            changes.pin_another(type(FLAT)("flat", "2", "e" * 64, 16))
            root = changes.add_root(ROOT).id
            changes.put_all(
                recording(root, f"{i}.wav", rng.normal(size=(10, 16))) for i in range(300)
            )
        writer.build_graph(Silent())
        with writer.snapshot() as reader:
            ids = reader.window_ids()
            embeddings = reader.embeddings(ids, 16)
            expected = [ids[np.argsort(-(embeddings @ q))[:10]] for q in questions]

            def recall(breadth: int) -> float:
                found = [
                    reader.nearest_windows(q, 10, ef_search=breadth, most_visited=10**6)[0]
                    for q in questions
                ]
                pairs = zip(expected, found, strict=True)
                return float(np.mean([np.isin(e, f).mean() for e, f in pairs]))

            assert recall(2) <= recall(MOST_EF + 500) == 1


def test_part_of_the_windows_is_compared_where_the_graph_would_visit_more() -> None:
    vectors = DatabaseVectors(16, 1_000_000, GraphFacts(1_000_000, 1000, None, None))
    assert vectors.graph is not None
    shares = (0.01, 0.05, 0.25, 0.5, 1)
    compared = [vectors._compares_all(vectors.graph, round(1_000_000 * s)) for s in shares]
    assert compared == [True, True, True, False, False]


def _recall(store: Store, questions: np.ndarray) -> float:
    """How many of the 10 nearest windows are found: of all, and of those in a folder."""
    shares = []
    vectors = load_vectors(store)
    assert isinstance(vectors, DatabaseVectors)
    with store.snapshot() as reader:
        for conditions in ((), (Within(ROOT / "odd"),)):
            ids = reader.window_ids(conditions)
            embeddings = reader.embeddings(ids, 16)
            among = vectors.choose(reader, conditions) if conditions else None
            for question in questions:
                cosines = embeddings @ question
                expected = ids[np.lexsort((ids, -cosines))[:10]]
                found, scores = vectors.search(question, 10, reader, among)
                assert np.isin(found, ids).all() and (np.diff(scores) <= 0).all()
                exact, _ = vectors.search(question, 10, reader, among, exact=True)
                assert exact.tolist() == expected.tolist()
                shares.append(np.isin(expected, found).mean())
    return float(np.mean(shares))


def test_ties_stand_by_their_ids(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_database, "FEW_WINDOWS", 0)
    monkeypatch.setattr(in_database, "DEEP_SHARE", np.inf)
    for i in range(30):
        put(store, ROOT, f"{i}.wav", [(1, 0), (0, 1)])
    with store.snapshot() as reader:
        vectors = load_vectors(store)
        found, cosines = vectors.search(np.array([1, 0], np.float32), 5, reader)
    assert found.tolist() == [1, 3, 5, 7, 9] and cosines.tolist() == [1] * 5


# ---- who writes, and who reads


def test_there_is_one_writer_of_each_index(store: Store, postgres: Server) -> None:
    second = Store.open(store.place)
    elsewhere = Store.create(DatabaseUrl(postgres.new_place()), FLAT)
    with contextlib.closing(second), contextlib.closing(elsewhere):
        with store.writer():
            with pytest.raises(IndexBusyError, match="another soundsearch"):
                second.writer()
            with elsewhere.writer():
                pass
        with second.writer():
            pass


def test_a_writer_whose_session_ended_writes_nothing_more(
    store: Store, url: str, postgres: Server
) -> None:
    with store.writer() as writer:
        with writer.transaction() as changes:
            root = changes.add_root(ROOT).id
            changes.put(recording(root, "first.wav"))

        def break_off() -> None:
            with writer.transaction() as changes:
                changes.put(recording(root, "half.wav"))
                assert postgres.end_sessions(url) >= 1
                changes.put(recording(root, "second.wav"))

        with pytest.raises(StoreError, match="was committed"):
            break_off()
        with pytest.raises(StoreError, match="session"), writer.transaction() as changes:
            changes.put(recording(root, "third.wav"))
    with store.snapshot() as reader:  # the pool has connected anew
        assert [r.relative_path for r in reader.recordings()] == ["first.wav"]
    with store.writer():  # and the lock is free
        pass


def test_a_database_that_nobody_closed_lets_go_of_its_sessions(url: str, store: Store) -> None:
    database = postgres_store.Database(DatabaseUrl(url))
    with database.transaction() as connection:
        assert database.version(connection) > 0
    engine, is_there = database.engine, weakref.ref(database)
    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    del database, connection
    gc.collect()
    assert is_there() is None
    assert engine.pool.checkedin() == 0  # type: ignore[attr-defined]


def test_a_reader_sees_one_state(store: Store) -> None:
    put(store, ROOT, "first.wav")
    with store.snapshot() as reader:
        assert reader.n_recordings() == 1
        put(store, ROOT, "second.wav")
        assert reader.n_recordings() == 1
    with store.snapshot() as reader:
        assert reader.n_recordings() == 2


@pytest.fixture
def shared(postgres: Server, soundsearch: Run, library: Path) -> Iterator[tuple[str, str]]:
    """The addresses of an index, for its owner and for a user who may select alone."""
    url = postgres.new_database()
    name = urlsplit(url).path[1:]
    soundsearch("index", library, "--index", url)
    postgres.execute(f"CREATE ROLE {name} LOGIN")
    for grant in ("USAGE ON SCHEMA soundsearch", "SELECT ON ALL TABLES IN SCHEMA soundsearch"):
        postgres.execute(f"GRANT {grant} TO {name}", name)
    yield url, postgres.address(name, user=name)
    postgres.execute(f"DROP OWNED BY {name}", name)
    postgres.execute(f"DROP ROLE {name}")


def test_to_search_takes_the_right_to_select_alone(
    shared: tuple[str, str], soundsearch: Run, library: Path
) -> None:
    _, reader = shared
    hits = json.loads(soundsearch("query", "hiss", "--index", reader, "--json").stdout)["hits"]
    assert Path(hits[0]["path"]).name == "hiss.wav"
    soundsearch("verify", "--index", reader)
    refused = soundsearch("index", library, "--force", "--index", reader, code=1)
    assert "permission denied" in refused.stderr and "postgresql.md" in refused.stderr


def test_the_encoder_comes_with_the_index(
    url: str, tiny: EncoderBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_index(DatabaseUrl(url), tiny).close()
    monkeypatch.setenv("SOUNDSEARCH_CACHE", str(tmp_path / "other computer"))
    shutil.rmtree(tiny.folder)
    with package.open_index(url) as index:
        assert index.encoder.embed_text(["hiss"]).shape == (1, tiny.dim)
    copies = list((tmp_path / "other computer" / "encoders").iterdir())
    assert [EncoderBundle.read(copy).fingerprint for copy in copies] == [tiny.fingerprint]
    with contextlib.closing(Store.open(DatabaseUrl(url))) as store:
        _on_server(url, "DELETE FROM encoder_files")
        shutil.rmtree(copies[0])
        assert [problem.kind for problem in verify(store)] == ["encoder"]


# ---- schemas


def test_an_older_schema_is_brought_up_to_date(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE roots ADD COLUMN label text")

    def broken(connection: sa.Connection) -> None:
        step(connection)
        connection.exec_driver_sql("SELECT 1 / 0")

    steps = list(migrations.STEPS)
    monkeypatch.setattr(migrations, "STEPS", [*steps, broken])
    with pytest.raises(StoreError, match="division by zero"):
        Store.open(store.place)
    monkeypatch.setattr(migrations, "STEPS", [*steps, step])
    Store.open(store.place).close()  # nothing of the broken step is left
    assert _on_server(url, "SELECT version FROM schema_version") == [(len(steps) + 2,)]
    monkeypatch.setattr(migrations, "STEPS", steps)
    with pytest.raises(StoreError, match=r"newer soundsearch .*upgrade"):
        Store.open(store.place)


def test_a_reader_of_an_older_schema_is_sent_to_its_writer(
    shared: tuple[str, str], soundsearch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE roots ADD COLUMN label text")

    owner, reader = shared
    before = migrations.latest()
    monkeypatch.setattr(migrations, "STEPS", [*migrations.STEPS, step])
    for command in (("query", "hiss"), ("status",)):
        (line,) = soundsearch(*command, "--index", reader, code=1).stderr.splitlines()
        assert f"schema {before}" in line and "user who may" in line
        assert _on_server(owner, "SELECT version FROM schema_version") == [(before,)]
    soundsearch("status", "--index", owner)
    assert "hiss" in soundsearch("query", "hiss", "--index", reader).stdout


def test_tables_of_others_are_left_alone(url: str) -> None:
    schema = DatabaseUrl(url).schema
    _on_server(url, f"CREATE SCHEMA {schema}")
    _on_server(url, f"CREATE TABLE {schema}.recordings (mine text)")
    with pytest.raises(StoreError, match=r"recordings.*\?schema=NAME"):
        Store.create(DatabaseUrl(url), FLAT)
