from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from soundsearch import health
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import BundleError, IndexBusyError, IndexMismatchError, StoreError
from soundsearch.health import Problem, repair, status, verify
from soundsearch.roots import way_out
from soundsearch.store import Failed, FileFacts, Indexed, State, Store, Writer, sounds
from soundsearch.store import sqlite as database_module
from soundsearch.store.pinned import check_same_encoder, create_index, pinned_bundle
from soundsearch.vectors import cache
from soundsearch.vectors.cache import load_vectors
from tests.filled_store import changing, unit
from tests.ordinary_user import open_folder, ordinary_user
from tests.stages import Stages
from tests.tiny_encoder import write_tiny_bundle
from tests.vector_files import replace_vectors

NAMES = ("a.wav", "b.wav", "deep/c.wav", os.fsdecode(b"\xff.wav"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = (tmp_path / "library").resolve()
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"some sound")
    return folder


@pytest.fixture
def store(tmp_path: Path, tiny: EncoderBundle, root: Path) -> Iterator[Store]:
    """A sound index of four recordings with three windows each, and its vectors."""
    with contextlib.closing(create_index(tmp_path / "index", tiny)) as made:
        with changing(made) as changes:
            root_id = changes.add_root(root).id
            for i, name in enumerate(NAMES):
                stat = (root / name).stat()
                changes.put(
                    Indexed(
                        FileFacts(root_id, name, stat.st_size, stat.st_mtime_ns),
                        bytes([i]),
                        2.0,
                        8000,
                        1,
                        "WAV",
                        [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)],
                        unit(np.random.default_rng(i).standard_normal((3, 8))),
                    ),
                )
        load_vectors(made)
        yield made


def _change(store: Store, statement: str, *values: object) -> None:
    """Behind the program's back; the revision stays, so the vectors pass for fresh."""
    database = store.folder / "soundsearch.db"
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(statement, values)


def _texts(problems: Sequence[Problem]) -> list[str]:
    return [problem.text for problem in problems]


def _vector_file(store: Store) -> Path:
    (path,) = store.folder.glob("vectors-*/delta.faiss")
    return path


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- status


def test_status_counts_what_is_there(store: Store, root: Path) -> None:
    with changing(store) as changes:
        (root_id,) = (known.id for known in changes.roots())
        for i, cause in enumerate(["not audio", "empty file", "not audio"]):
            file = FileFacts(root_id, f"bad{i}.wav", 1, 1)
            changes.put_failed(Failed(file, cause, "why"))
        missing = [r.id for r in changes.recordings() if r.relative_path == "a.wav"]
        changes.mark_missing(missing)
        changes.add_root(root.parent / "gone")

    found = status(store)

    assert (found.n_indexed, found.n_failed, found.n_missing) == (3, 3, 1)
    assert found.n_windows == 9 and found.duration_s == 6.0
    assert list(found.failures.items()) == [("not audio", 2), ("empty file", 1)]
    assert [(r.path.name, r.n_indexed, r.absence) for r in found.roots] == [
        ("gone", 0, "not there"),
        ("library", 3, None),
    ]
    assert found.encoder.name == "tiny" and found.folder == str(store.folder)
    assert found.size_bytes == sum(len(content) for content in _files(store.folder).values())


def test_status_of_an_empty_index(tmp_path: Path, tiny: EncoderBundle) -> None:
    with contextlib.closing(create_index(tmp_path / "index", tiny)) as store:
        found = status(store)
    assert (found.n_indexed, found.n_windows, found.duration_s) == (0, 0, 0.0)
    assert found.roots == [] and found.failures == {}


# ---- a sound index


def test_a_sound_index_has_no_problems(store: Store) -> None:
    assert verify(store) == []


def test_verifying_changes_nothing(store: Store) -> None:
    _vector_file(store).unlink()
    before = _files(store.folder)
    assert verify(store) == []  # it is only a cache: made again when needed
    assert _files(store.folder) == before


def test_repairing_a_sound_index_does_nothing(store: Store) -> None:
    before = _files(store.folder)
    assert repair(store) == []
    assert _files(store.folder) == before


# ---- rows

ROWS: list[tuple[str, tuple[object, ...], str]] = [
    (
        "UPDATE windows SET embedding = ? WHERE id = 4",
        (b"123",),
        "b.wav, window 4: 3 bytes of embedding, expected 16",
    ),
    (
        "UPDATE windows SET embedding = ? WHERE id = 4",
        ((2 * np.eye(8, dtype="<f4")[0]).tobytes(),),
        "b.wav, window 4: its embedding has length 2, not 1",
    ),
    (
        "UPDATE windows SET embedding = ? WHERE id = 4",
        (np.full(8, np.nan, "<f4").tobytes(),),
        "b.wav, window 4: its embedding has length nan, not 1",
    ),
    (
        "UPDATE windows SET end_s = 2.5 WHERE id = 4",
        (),
        "b.wav, window 4: lies at 0.0 to 2.5 of 2.0 s",
    ),
    (
        "UPDATE windows SET start_s = -1 WHERE id = 4",
        (),
        "b.wav, window 4: lies at -1.0 to 1.0 of 2.0 s",
    ),
    (
        "UPDATE windows SET start_s = 1.0 WHERE id = 4",
        (),
        "b.wav, window 4: lies at 1.0 to 1.0 of 2.0 s",
    ),
    ("DELETE FROM windows WHERE recording_id = 2", (), "b.wav: has no windows"),
]


@pytest.mark.parametrize(("statement", "values", "text"), ROWS)
def test_an_odd_row_is_found_and_dropped(
    store: Store, statement: str, values: tuple[object, ...], text: str
) -> None:
    _change(store, statement, *values)

    assert verify(store) == [Problem("rows", text, 2)]

    done = repair(store)
    assert done[0].startswith("dropped 1 odd recordings; run `soundsearch index`")
    assert verify(store) == []
    with store.snapshot() as reader:
        states = {r.id: r.state for r in reader.recordings()}
    assert states.pop(2) is State.FAILED and set(states.values()) == {State.INDEXED}
    assert load_vectors(store).ids.tolist() == [1, 2, 3, 7, 8, 9, 10, 11, 12]


def test_a_recording_that_is_dropped_keeps_its_captions(store: Store) -> None:
    with changing(store) as changes:
        changes.put_captions({2: {"text": "rain"}})
    _change(store, "UPDATE windows SET end_s = 9 WHERE recording_id = 2")
    repair(store)
    assert verify(store) == []
    with store.snapshot() as reader:
        assert reader.captions() == {2: {"text": "rain"}}
        (failed,) = (r for r in reader.recordings() if r.state is State.FAILED)
        assert failed.cause is not None and failed.cause.is_passing  # the next run reads it


def test_several_faults_of_one_recording_drop_it_once(store: Store) -> None:
    _change(store, "UPDATE windows SET end_s = 9 WHERE recording_id IN (1, 2)")
    assert len(verify(store)) == 6
    assert repair(store)[0].startswith("dropped 2 odd recordings")
    assert verify(store) == []


def test_a_missing_recording_is_checked_too(store: Store) -> None:
    with changing(store) as changes:
        changes.mark_missing([2])
    _change(store, "UPDATE windows SET embedding = x'00' WHERE id = 4")
    assert [p.recording_id for p in verify(store)] == [2]


# ---- words


def _found(store: Store, term: str) -> list[str]:
    with store.snapshot() as reader:
        matches = reader.find_words([term], limit=9)
        parts = reader.find_name_parts([term], limit=9)
        paths = {recording.id: recording.relative_path for recording in reader.recordings()}
    assert not parts or parts[0].recording_id == matches[0].recording_id
    return [paths[match.recording_id] for match in matches]


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE words",
        "DROP TABLE name_parts",
        "DROP TRIGGER words_of_deleted",
        "DELETE FROM words WHERE rowid = 3",
        "DELETE FROM name_parts WHERE rowid = 3",
        "INSERT INTO words (rowid, name) VALUES (99, 'of none')",
        "INSERT INTO name_parts (rowid, name) VALUES (99, 'of none')",
        "DELETE FROM words_data WHERE id > 10",
        "UPDATE words_data SET block = zeroblob(length(block)) WHERE id > 10",
        "DELETE FROM words_docsize WHERE id = 3",
        "UPDATE words_content SET c1 = 'shallow' WHERE id = 3",
        "UPDATE name_parts_content SET c0 = 'other' WHERE id = 3",
    ],
)
def test_lost_words_are_found_and_made_again(store: Store, damage: str) -> None:
    with changing(store) as changes:
        changes.mark_missing([1])
        changes.put_failed(Failed(FileFacts(1, "x.wav", 1, 1), "not audio", "no sound"))
    _change(store, damage)

    (problem,) = verify(store)
    assert problem.kind == "words" and not problem.is_drift
    assert len(repair(store)) == 1

    assert verify(store) == []
    assert _found(store, "c") == _found(store, "deep") == ["deep/c.wav"]
    assert _found(store, "x") == []
    with changing(store) as changes:
        changes.delete([3])
    assert verify(store) == []


def test_lost_words_and_odd_rows_are_mended_together(store: Store) -> None:
    _change(store, "DROP TABLE words")
    _change(store, "UPDATE windows SET end_s = 9 WHERE recording_id = 2")
    assert {problem.kind for problem in verify(store)} == {"rows", "words"}
    repair(store)
    assert verify(store) == [] and _found(store, "b") == []


def test_a_search_with_damaged_words_leads_to_repair(store: Store) -> None:
    _change(store, "DELETE FROM words_data WHERE id > 10")
    with pytest.raises(StoreError, match=r"words .* soundsearch repair"):
        _found(store, "c")
    repair(store)
    assert _found(store, "c") == ["deep/c.wav"]


def test_damaged_words_are_not_looked_for_where_nothing_can_be_written(
    store: Store, tmp_path: Path
) -> None:
    _change(store, "DELETE FROM words_data WHERE id > 10")
    store.close()
    with open_folder() as place:
        sealed = Path(shutil.copytree(store.folder, place / "index"))
        sealed.chmod(0o555)
        with ordinary_user(), contextlib.closing(Store.open(sealed)) as opened:
            assert opened.damaged_words() == []
    assert len(store.damaged_words()) == 1


def test_damaged_words_are_not_looked_for_while_another_process_writes(store: Store) -> None:
    _change(store, "DELETE FROM words_data WHERE id > 10")
    with contextlib.closing(Store.open(store.folder)) as other, other.writer():
        assert store.damaged_words() == []  # it would end the other's transaction
        assert store.damaged_words(is_locked=True) != []
    assert len(store.damaged_words()) == 1


@pytest.mark.parametrize("table", ["words", "name_parts"])
def test_a_search_and_a_run_without_words_lead_to_repair(store: Store, table: str) -> None:
    _change(store, f"DROP TABLE {table}")
    with pytest.raises(StoreError, match=f"{table}.*soundsearch repair"):
        _found(store, "c")
    with (
        pytest.raises(StoreError, match=f"{table}.*soundsearch repair"),
        changing(store) as changes,
    ):
        changes.delete([3])


def test_words_that_cannot_be_opened_lead_to_a_backup(store: Store) -> None:
    _change(store, "DROP TABLE words_data")
    for look in (verify, repair):
        with pytest.raises(StoreError, match="from a backup"):
            look(store)


# ---- the database


def test_of_a_database_that_is_held_nothing_is_said(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 10)
    database = store.folder / "soundsearch.db"
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process holds the database"):
            verify(store)


def test_a_damaged_database_is_told_and_not_repaired(store: Store) -> None:
    _change(store, "DROP INDEX windows_by_recording")
    with contextlib.closing(
        sqlite3.connect(store.folder / "soundsearch.db", isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM recordings WHERE id = 2")

    (*problems,) = verify(store)

    assert len(problems) == 3 and {p.kind for p in problems} == {"database"}
    assert problems[0].text == "row 4 of windows points at a row of recordings that is not there"
    before = _files(store.folder)
    with pytest.raises(StoreError, match=r"restore soundsearch\.db from a backup"):
        repair(store)
    assert _files(store.folder) == before


def test_a_damaged_page_is_told(store: Store) -> None:
    with changing(store) as changes:
        for i in range(400):
            changes.put(
                Indexed(
                    FileFacts(1, f"{i}.wav", 1, 1),
                    b"",
                    1.0,
                    8000,
                    1,
                    "WAV",
                    [(0.0, 1.0)],
                    unit(np.ones((1, 8))),
                ),
            )
    store.close()
    path = store.folder / "soundsearch.db"
    content = bytearray(path.read_bytes())
    content[-8192:-4096] = bytes([0xA5]) * 4096
    path.write_bytes(content)
    opened = Store.open(store.folder)
    with contextlib.closing(opened):
        problems = verify(opened)
        assert {problem.kind for problem in problems} == {"database"}
        assert all(text.startswith("SQLite says: ") for text in _texts(problems))
        with pytest.raises(StoreError, match="from a backup"):
            repair(opened)


# ---- vectors


def _replaced(store: Store, ids: Sequence[int], embeddings: np.ndarray) -> None:
    (folder,) = store.folder.glob("vectors-*")
    replace_vectors(folder, ids, embeddings)


def _own(store: Store, ids: Sequence[int]) -> np.ndarray:
    with store.snapshot() as reader:
        return reader.embeddings(np.array(ids), 8)


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (
            lambda store: _replaced(store, range(1, 12), _own(store, range(1, 12))),
            "the vectors beside the database are of 11 windows, it has 12",
        ),
        (
            lambda store: _replaced(store, range(2, 14), _own(store, range(1, 13))),
            "the vectors beside the database are of 12 windows, it has 12",
        ),
        (
            lambda store: _replaced(store, range(12, 0, -1), _own(store, range(1, 13))),
            "vectors that differ from the database: 12",
        ),
    ],
)
def test_vectors_that_are_not_of_this_database(
    store: Store, harm: Callable[[Store], None], text: str
) -> None:
    harm(store)

    assert verify(store) == [Problem("vectors", text)]

    assert repair(store) == ["made the vectors again"]
    assert verify(store) == []
    assert load_vectors(store).ids.tolist() == list(range(1, 13))


def test_a_flipped_bit_in_the_vectors_is_not_believed(store: Store) -> None:
    path = _vector_file(store)
    good = path.read_bytes()
    content = bytearray(good)
    at = content.index(_own(store, [5]).tobytes())
    content[at + 2] ^= 1
    path.write_bytes(content)
    assert verify(store) == []  # it is only a cache, and a damaged one counts as none
    load_vectors(store)
    assert path.read_bytes() == good


# ---- the encoder


def _lose(copy: Path) -> None:
    shutil.rmtree(copy)


def _lose_a_file(copy: Path) -> None:
    (copy / "text.onnx").unlink()


def _damage_a_file(copy: Path) -> None:
    (copy / "audio.onnx").write_bytes(b"damaged")


def _damage_the_manifest(copy: Path) -> None:
    (copy / "bundle.json").write_text("{")


def _exchange(copy: Path) -> None:
    shutil.rmtree(copy)
    write_tiny_bundle(copy, name="other", shift=1)


HARMS = pytest.mark.parametrize(
    ("harm", "text"),
    [
        (_lose, "encoder: no encoder bundle here"),
        (_lose_a_file, "text.onnx: the encoder tiny lacks this file"),
        (_damage_a_file, "audio.onnx: damaged"),
        (_damage_the_manifest, "bundle.json: not valid JSON"),
        (_exchange, "holds other 1 (8-d, "),
    ],
)


@HARMS
def test_a_lost_encoder_comes_back_from_a_twin(
    store: Store, tiny: EncoderBundle, harm: Callable[[Path], None], text: str
) -> None:
    harm(store.folder / "encoder")

    (problem,) = verify(store)

    assert problem.kind == "encoder" and text in problem.text
    assert repair(store) == ["put back the encoder"]  # the same bundle is among the person's own
    assert verify(store) == []
    copy = EncoderBundle.read(store.folder / "encoder")
    assert copy == tiny and pinned_bundle(store).folder == copy.folder
    assert not [p.name for p in store.folder.iterdir() if p.name.startswith(".encoder")]


@HARMS
def test_a_lost_encoder_without_a_twin(
    store: Store,
    tiny: EncoderBundle,
    tmp_path: Path,
    harm: Callable[[Path], None],
    text: str,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    tiny.folder.rename(elsewhere)
    write_tiny_bundle(tmp_path / "models" / "other", name="other", shift=1)
    harm(store.folder / "encoder")
    before = _files(store.folder)

    (problem,) = verify(store)
    assert problem.kind == "encoder" and text in problem.text
    with pytest.raises(IndexMismatchError, match=r"built with tiny 1.*other 1.*repair --model"):
        repair(store)
    assert _files(store.folder) == before

    assert repair(store, EncoderBundle.read(elsewhere)) == ["put back the encoder"]
    assert verify(store) == []


def test_a_wrong_encoder_is_refused(store: Store, tmp_path: Path) -> None:
    other = write_tiny_bundle(tmp_path / "models" / "other", name="other", shift=1)
    for lost in (False, True):
        if lost:
            shutil.rmtree(store.folder / "encoder")
        before = _files(store.folder)
        with pytest.raises(IndexMismatchError, match=r"built with tiny 1 .*you asked for other 1 "):
            repair(store, other)
        assert _files(store.folder) == before


def test_a_damaged_bundle_does_not_replace_the_copy(
    store: Store, tiny: EncoderBundle, tmp_path: Path
) -> None:
    (store.folder / "encoder" / "text.onnx").unlink()
    (tiny.folder / "audio.onnx").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"audio\.onnx: damaged"):
        repair(store, tiny)
    assert sorted(p.name for p in (store.folder / "encoder").iterdir()) == [
        "audio.onnx",
        "bundle.json",
        "tokenizer.json",
    ]


def test_the_index_answers_from_a_twin_meanwhile(store: Store, tiny: EncoderBundle) -> None:
    shutil.rmtree(store.folder / "encoder")
    assert pinned_bundle(store).folder == tiny.folder


def test_another_encoder_is_another_index(store: Store, tmp_path: Path) -> None:
    check_same_encoder(store, pinned_bundle(store))
    other = write_tiny_bundle(tmp_path / "other", name="tiny", shift=1)  # of the same name
    with pytest.raises(IndexMismatchError, match="make a second index with --index"):
        check_same_encoder(store, other)


def test_a_row_of_a_file_that_was_named_itself_is_told_by_its_path(
    store: Store, root: Path
) -> None:
    with changing(store) as changes:
        (folder,) = changes.roots()
        changes.relocate(folder, root / "a.wav")
    _change(store, "UPDATE recordings SET relative_path = x'2E' WHERE id = 1")
    _change(store, "DELETE FROM windows WHERE recording_id = 1")
    assert f"{root / 'a.wav'}: has no windows" in _texts(verify(store))


def test_a_named_file_that_is_deleted_is_left_to_the_next_run(store: Store, root: Path) -> None:
    _change(store, "DELETE FROM windows WHERE recording_id > 1")
    _change(store, "DELETE FROM recordings WHERE id > 1")
    _change(store, "UPDATE recordings SET relative_path = x'2E'")
    with changing(store) as changes:
        (folder,) = changes.roots()
        changes.relocate(folder, root / "a.wav")
    load_vectors(store)
    (root / "a.wav").unlink()
    (problem,) = verify(store)
    assert problem == Problem("files", f"{root / 'a.wav'}: No such file or directory", 1)
    shutil.rmtree(root)
    (problem,) = verify(store)
    assert problem.recording_id is None
    assert problem.text.endswith(way_out(root / "a.wav"))


# ---- files


def _grow(path: Path) -> None:
    path.write_bytes(b"some other sound")


def _touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (Path.unlink, "No such file or directory"),
        (_grow, "changed since it was indexed"),
        (_touch, "changed since it was indexed"),
    ],
)
def test_files_that_differ_are_drift_and_no_fault(
    store: Store, root: Path, harm: Callable[[Path], None], text: str
) -> None:
    harm(root / "deep/c.wav")

    (problem,) = verify(store)

    assert problem == Problem("files", f"{root / 'deep/c.wav'}: {text}", 3) and problem.is_drift
    assert repair(store) == []
    with store.snapshot() as reader:
        assert {r.state for r in reader.recordings()} == {State.INDEXED}


def test_an_unmounted_root_is_one_line(store: Store, root: Path) -> None:
    root.rename(root.parent / "unmounted")
    (problem,) = verify(store)
    assert (problem.kind, problem.recording_id, problem.is_drift) == ("files", None, True)
    assert problem.text == f"{root}: not there now; recordings of it that are kept: 4; " + way_out(
        root
    )
    assert repair(store) == []
    root.mkdir()  # the mount point
    (problem,) = verify(store)
    assert problem.text.startswith(f"{root}: empty now; recordings of it that are kept: 4; ")


# ---- large indexes


@pytest.mark.parametrize("rows_at_once", [1, 5, 1000])
def test_odd_windows_are_found_wherever_blocks_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(sounds, "BLOCK_ROWS", rows_at_once)
    _change(store, "UPDATE windows SET embedding = x'00' WHERE id IN (1, 5)")
    _change(store, "UPDATE windows SET end_s = 9 WHERE id IN (5, 6, 12)")
    found = [(problem.text.split(":")[0], problem.recording_id) for problem in verify(store)]
    assert found == [
        ("a.wav, window 1", 1),
        ("b.wav, window 5", 2),
        ("b.wav, window 6", 2),
        (f"{NAMES[3]}, window 12", 4),
    ]


def test_verify_and_repair_say_how_far_they_are(store: Store) -> None:
    for run in (verify, repair):
        stages = Stages()
        run(store, progress=stages)  # type: ignore[operator]
        assert stages.totals == {
            "windows checked": 12,
            "files compared": 4,
            "vectors compared": 12,
        }
        assert stages.whole == stages.totals
        assert {"checking the database", "checking words"} <= set(stages.done)


def test_repair_says_how_far_it_is_with_the_vectors(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "EXACT_WINDOWS", 1)
    monkeypatch.setattr(cache, "_questions", lambda reader: None)
    _replaced(store, [1, 2], _own(store, [2, 1]))
    stages = Stages()
    repair(store, progress=stages)
    assert stages.totals["windows put into lists"] == 12


def test_repair_mends_a_bounded_number_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "MENDED_AT_ONCE", 2)
    _change(store, "UPDATE windows SET embedding = x'00' WHERE id IN (1, 5, 12)")
    began = []
    transaction = Writer.transaction
    monkeypatch.setattr(
        Writer, "transaction", lambda self, **how: (began.append(how), transaction(self, **how))[1]
    )
    assert "3 odd recordings" in " ".join(repair(store))
    assert len(began) == 2


# ---- several at once


def test_everything_at_once(store: Store, root: Path) -> None:
    _change(store, "UPDATE windows SET embedding = x'00' WHERE id = 4")
    _vector_file(store).write_bytes(b"damaged")
    _damage_a_file(store.folder / "encoder")
    (root / "a.wav").unlink()
    assert {problem.kind for problem in verify(store)} == {"rows", "encoder", "files"}
    assert repair(store) == [
        "put back the encoder",
        "dropped 1 odd recordings; run `soundsearch index` to embed them anew",
        "made the vectors again",
    ]
    assert [problem.kind for problem in verify(store)] == ["files"]


def test_no_repair_while_another_writes(store: Store) -> None:
    with Store.open(store.folder).writer(), pytest.raises(IndexBusyError):
        repair(store)
