"""What a reader says of one recording, and of recordings with the same content."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from soundsearch.store import Failed, FileFacts, State, Store
from tests.filled_store import FLAT, changing, find, recording

ROOT = Path("/library")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.create(tmp_path / "index", FLAT)) as made:
        yield made


def put(store: Store, relative_path: str, content: bytes, root: Path = ROOT) -> int:
    with changing(store) as changes:
        made = recording(changes.add_root(root).id, relative_path)
        return changes.put(replace(made, content_hash=content))


def names(store: Store, content: bytes | None = None) -> list[tuple[bytes, str]]:
    with store.snapshot() as reader:
        return [
            (copy.sound_hash, copy.relative_path) for copy in reader.copies(content and [content])
        ]


def test_the_facts_of_a_recording(store: Store) -> None:
    with changing(store) as changes:
        made = recording(changes.add_root(ROOT).id, "a/Loud\udcff.wav", [(1, 0), (0, 1)])
        changes.put(replace(made, metadata={"title": "Bang"}, note="another track"))
    with store.snapshot() as reader:
        facts = reader.facts(find(reader, ROOT / "a/Loud\udcff.wav"))
    assert facts.path == ROOT / "a/Loud\udcff.wav" and facts.root == ROOT
    assert (facts.state, facts.cause) == (State.INDEXED, "several sound tracks")
    assert facts.error == "another track"
    assert (facts.size_bytes, facts.mtime_ns, facts.format) == (1000, 2000, "WAV")
    assert (facts.duration_s, facts.sample_rate, facts.n_channels) == (2.0, 8000, 1)
    assert facts.metadata == {"title": "Bang"}
    assert facts.words is not None
    assert (facts.words.name, facts.words.folders) == ("Loud", "library a")
    assert facts.words.metadata == "Bang"
    assert (facts.n_windows, facts.start_s, facts.end_s) == (2, 0.0, 2.0)


def test_the_facts_of_a_recording_that_failed(store: Store) -> None:
    with changing(store) as changes:
        root = changes.add_root(ROOT)
        changes.put(recording(root.id, "a.wav"))
        changes.put_failed(Failed(FileFacts(root.id, "a.wav", 3, 4), "of a later version", "why"))
    with store.snapshot() as reader:
        facts = reader.facts(find(reader, ROOT / "a.wav"))
    assert (facts.state, facts.cause, facts.error) == (State.FAILED, "of a later version", "why")
    assert facts.words is None and facts.metadata == {} and facts.content_hash is None
    assert (facts.n_windows, facts.start_s, facts.end_s) == (0, None, None)


def test_copies_are_together_in_the_order_of_the_first_and_by_path(store: Store) -> None:
    for name, content in (("z", b"2"), ("b", b"1"), ("y", b"3"), ("c", b"2"), ("a", b"1")):
        put(store, name, content)
    put(store, "d", b"2", Path("/another"))
    with changing(store) as changes:  # rows without a content are no copies of each other
        root = changes.add_root(ROOT)
        for name in ("bad", "worse"):
            changes.put_failed(Failed(FileFacts(root.id, name, 1, 1), "damaged", "why"))
    assert names(store) == [(b"2", "d"), (b"2", "c"), (b"2", "z"), (b"1", "a"), (b"1", "b")]
    assert names(store, b"1") == [(b"1", "a"), (b"1", "b")]
    assert names(store, b"3") == names(store, b"4") == []


def test_what_is_known_to_sound_alike_counts_and_else_the_bytes(store: Store) -> None:
    def put_sound(name: str, content: bytes, sound: bytes) -> None:
        with changing(store) as changes:
            made = recording(changes.add_root(ROOT).id, name)
            changes.put(replace(made, content_hash=content, sound_hash=sound))

    put_sound("a.wav", b"1", b"sound")
    put_sound("a.flac", b"2", b"sound")
    put_sound("old.wav", b"3", b"")
    put_sound("old too.wav", b"3", b"")
    assert names(store) == [
        (b"sound", "a.flac"),
        (b"sound", "a.wav"),
        (b"3", "old too.wav"),
        (b"3", "old.wav"),
    ]
    put_sound("b.wav", b"3", b"another")  # so the bytes of the old ones make this sound
    assert [sound for sound, _ in names(store)] == [b"sound"] * 2 + [b"another"] * 3
    put_sound("a.wav", b"1b", b"new")  # changed
    assert {name for _, name in names(store)} == {"old.wav", "old too.wav", "b.wav"}


def test_what_another_index_knows_of_the_sound_is_taken_over(store: Store, tmp_path: Path) -> None:
    put(store, "a.wav", b"bytes")  # as an earlier version left it
    with contextlib.closing(Store.create(tmp_path / "other", FLAT)) as other:
        with changing(other) as changes:
            made = recording(changes.add_root(ROOT).id, "a.wav")
            changes.put(replace(made, content_hash=b"bytes", sound_hash=b"sound"))
        with other.snapshot() as reader, changing(store) as changes:
            changes.put_from(reader, [(find(reader, ROOT / "a.wav"), made.file)])
    with store.snapshot() as reader:
        assert reader.facts(find(reader, ROOT / "a.wav")).sound_hash == b"sound"


def test_many_copies_are_read_in_bounded_memory(store: Store) -> None:
    n = 60_000
    with changing(store) as changes:
        root = changes.add_root(ROOT)
        made = recording(root.id, "first")
        changes.put(made)
        insert = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
            "INSERT INTO recordings (root_id, relative_path, size_bytes, mtime_ns, sound_hash, "
            "content_hash, duration_s, state, indexed_at) SELECT {}, CAST('name ' || i AS BLOB), 1, 1, "
            "CAST('content ' || (i / 2) AS BLOB), x'', 1.0, 'indexed', '' FROM n"
        )
        changes._connection.exec_driver_sql(insert.format(n, root.id))
    with store.snapshot() as reader:
        tracemalloc.start()
        try:
            found = sum(1 for _ in reader.copies())
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert found == n - 2  # the first and the last are alone
    assert peak_bytes < 400 * n
