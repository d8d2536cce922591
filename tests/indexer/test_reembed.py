"""Another encoder for an index: what it takes over, what it refuses, how it is resumed."""

from __future__ import annotations

import contextlib
import shutil
from collections import namedtuple
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import soundsearch
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import (
    BundleError,
    IndexBusyError,
    IndexMismatchError,
    QueryError,
    StoreError,
)
from soundsearch.health import status
from soundsearch.search.question import Asker, Question
from soundsearch.search.question_parts import QuestionParts
from soundsearch.store import State, Store
from tests import program
from tests.index_contents import rows_of, searchable, sounds_of, vectors_of
from tests.recorded import Recorded
from tests.reembedding import INDEX, best, problems, reembed, rows_but_embeddings
from tests.sounds import noise, tone, write
from tests.tiny_encoder import BAND_HZ, write_tiny_bundle


def test_an_index_with_another_encoder_is_like_one_made_with_it(
    index: Path, sounds: Path, tmp_path: Path
) -> None:
    (sounds / "notes.txt").write_text("no sound")
    soundsearch.index_folders((), index)
    before, ids = (
        rows_but_embeddings(index),
        {i for r in rows_of(index).values() for i in r.window_ids},
    )
    assert best("hiss") == "high.wav"
    report = reembed()
    assert report.switched
    assert not report.interrupted
    assert (report.n_embedded, report.n_ready, report.n_left_out) == (2, 2, 0)
    soundsearch.index_folders(sounds, tmp_path / "new", model="other")
    assert sounds_of(index) == sounds_of(tmp_path / "new")
    low = rows_of(index)[sounds / "low.wav"]
    assert vectors_of(low).shape == (3, 12)
    assert low.spans == ((0.0, 2.0), (1.0, 3.0), (1.2, 3.2))  # windows of the new encoder
    assert rows_but_embeddings(index) == before
    assert rows_of(index)[sounds / "broken.wav"].state is State.FAILED
    assert not ids & set(low.window_ids)  # none is used twice
    assert problems(index) == []
    assert best("hiss") == "low.wav"  # to this encoder it means the lowest band
    assert searchable(index) == {sounds / "low.wav", sounds / "deep" / "high.wav"}
    assert EncoderBundle.read(index / "encoder").name == "other"
    assert not (index / "next").exists()
    assert len(list(index.glob("vectors-*"))) == 1
    assert soundsearch.index_folders((), index).n_unchanged == 2


def test_metadata_and_words_stay_and_find(index: Path, sounds: Path) -> None:
    write(sounds / "Metal Door.wav", tone(700))
    soundsearch.index_folders((), index)
    before = rows_but_embeddings(index)
    reembed()
    assert rows_but_embeddings(index) == before
    with soundsearch.open_index(index) as opened:
        assert [hit.path.name for hit in opened.search(text="doors", by="words")] == [
            "Metal Door.wav"
        ]


def test_files_are_embedded_as_they_are_now(index: Path, sounds: Path) -> None:
    write(sounds / "low.wav", tone(BAND_HZ[7], 1.0))
    (sounds / "broken.wav").unlink()
    assert reembed().switched
    assert rows_of(index)[sounds / "low.wav"].spans == ((0.0, 1.0),)
    assert (
        soundsearch.index_folders((), index).n_unchanged == 2
    )  # size, date and hash are those of now


def test_files_that_were_never_indexed_stay_out(index: Path, sounds: Path) -> None:
    write(sounds / "left out on purpose.wav", tone(700))
    assert reembed().n_ready == 2
    assert len(searchable(index)) == 2


def test_a_file_that_is_no_sound_now_costs_one_row(index: Path, sounds: Path) -> None:
    (sounds / "low.wav").write_bytes(b"no sound any more")
    report = reembed()
    assert report.switched
    assert [path for path, _ in report.failures] == [sounds / "low.wav"]
    row = rows_of(index)[sounds / "low.wav"]
    assert (row.state, row.cause, row.window_ids) == (State.FAILED, "not audio", ())
    assert problems(index) == []


def test_partly_read_stays_partly_read(index: Path, sounds: Path) -> None:
    content = write(sounds / "cut.flac", noise(20)).read_bytes()
    (sounds / "cut.flac").write_bytes(content[: len(content) // 2])
    soundsearch.index_folders((), index)
    before = rows_of(index)[sounds / "cut.flac"]
    assert before.cause == "damaged"
    reembed()
    after = rows_of(index)[sounds / "cut.flac"]
    assert (after.state, after.cause, after.error) == (before.state, before.cause, before.error)


# ---- what is refused


def test_the_same_encoder_is_refused(index: Path) -> None:
    with pytest.raises(StoreError, match=r"tiny 1 .* already"):
        soundsearch.reembed(index, "tiny")
    assert not (index / "next").exists()


def test_none_is_refused_where_none_was_begun(index: Path) -> None:
    with pytest.raises(QueryError, match="--model"):
        soundsearch.reembed(index)
    assert soundsearch.cancel_reembedding(index) is False


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"model": "nobody"}, BundleError),
        ({"model": 1}, QueryError),
        ({"model": "other", "device": "tpu"}, QueryError),
        ({"model": "other", "jobs": 0}, QueryError),
        ({"index": "nowhere", "model": "other"}, StoreError),
    ],
)
def test_bad_arguments_are_refused(
    index: Path, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        soundsearch.reembed(**{"index": index, **arguments})
    assert not (index / "next").exists()


def test_an_encoder_that_cannot_answer_is_refused(index: Path, other: EncoderBundle) -> None:
    shutil.copyfile(other.folder / "audio.onnx", other.folder / "text.onnx")
    with pytest.raises(BundleError):
        reembed()
    assert best("hiss") == "high.wav"


def test_another_writer_is_not_disturbed(index: Path) -> None:
    with program.another_writer(index), pytest.raises(IndexBusyError):
        reembed()


def test_index_runs_are_refused_while_it_goes_on(
    index: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def while_it_reads(*_: object) -> None:
        ran = program.soundsearch("index", "--index", index)
        answered = program.soundsearch("query", "hiss", "-k", "1", "--paths", "--index", index)
        tried.append((ran.returncode, ran.stderr, answered.stdout))

    monkeypatch.setattr("indexer.reembed.read_files", while_it_reads)
    reembed()
    ((code, errors, answer),) = tried
    assert code == 1
    assert errors.count(b"\n") == 1 and b"another soundsearch" in errors
    assert answer == f"{sounds}/deep/high.wav\n".encode()


Usage = namedtuple("Usage", "total used free")


def test_too_little_room_is_said_before(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 1000, 1000))
        with pytest.raises(StoreError, match=r"0\.0 MB are free"):
            reembed()
    assert not (index / "next").exists()
    progress = Recorded()
    soundsearch.reembed(INDEX, "other", progress=progress)
    assert any("disk room" in note for note in progress.notes)


# ---- stopped, resumed, dropped


def stop_after(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Ctrl-C comes when so many recordings were stored."""
    monkeypatch.setattr("indexer.embedding.COMMIT_S", 0.0)
    from soundsearch.store.transaction import Transaction

    put_all = Transaction.put_all
    stored: list[Any] = []

    def counted(changes: Transaction, recordings: Iterable[Any]) -> list[int]:
        some = list(recordings)
        if some and len(stored) >= n:
            raise KeyboardInterrupt
        stored.extend(some)
        return put_all(changes, some)

    monkeypatch.setattr(Transaction, "put_all", counted)


def test_stopped_and_resumed(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        report = reembed(jobs=1)
    assert (report.interrupted, report.switched, report.n_embedded) == (True, False, 1)
    with contextlib.closing(Store.open(index)) as store:
        begun = status(store).reembedding
    assert begun is not None
    assert (begun.encoder.name, begun.n_ready) == ("other", 1)
    assert best("hiss") == "high.wav"
    report = soundsearch.reembed(index)  # goes on with the same
    assert (report.switched, report.n_embedded, report.n_ready) == (True, 1, 2)
    with contextlib.closing(Store.open(index)) as store:
        assert status(store).reembedding is None


def test_another_encoder_than_the_one_begun_is_refused(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        reembed(jobs=1)
    write_tiny_bundle(tmp_path / "models" / "third", name="third", shift=2)
    with pytest.raises(StoreError, match=r"other 1 .* third 1 .*--cancel"):
        soundsearch.reembed(index, "third")
    assert soundsearch.cancel_reembedding(index) is True
    assert not (index / "next").exists()
    assert best("hiss") == "high.wav"
    assert soundsearch.reembed(index, "third").switched


def test_a_damaged_second_index_is_no_harm_to_the_first(index: Path, sounds: Path) -> None:
    (index / "next").mkdir()
    (index / "next" / "soundsearch.db").write_bytes(b"no database" * 100)
    shutil.copytree(index / "encoder", index / "next" / "encoder")
    (index / "next" / "encoder" / "bundle.json").write_text("{}")
    with contextlib.closing(Store.open(index)) as store:
        assert status(store).reembedding is None
    assert soundsearch.index_folders((), index).n_unchanged == 2
    assert best("hiss") == "high.wav"
    with pytest.raises(StoreError, match="--cancel"):
        reembed()
    assert soundsearch.cancel_reembedding(index) is True
    assert reembed().switched


def test_a_lost_encoder_can_be_replaced(index: Path, tiny: EncoderBundle) -> None:
    shutil.rmtree(index / "encoder")
    shutil.rmtree(tiny.folder)
    with pytest.raises(IndexMismatchError, match="reembed"):
        best("hiss")
    assert reembed().switched
    assert best("hiss") == "low.wav"


def test_back_to_the_first_encoder(index: Path, sounds: Path) -> None:
    before = sounds_of(index)
    reembed()
    assert soundsearch.reembed(index, "tiny").switched
    assert sounds_of(index) == before
    assert best("hiss") == "high.wav"
    assert problems(index) == []


def test_an_encoder_of_the_same_form_is_not_mistaken_for_the_old_one(
    index: Path, tmp_path: Path, sounds: Path
) -> None:
    """Its windows and vectors look alike, and vectors of before must not be built upon."""
    write_tiny_bundle(tmp_path / "models" / "twin", name="twin", shift=1)
    (old,) = index.glob("vectors-*")
    content = shutil.copytree(old, tmp_path / "old")
    soundsearch.reembed(index, "twin")
    for path in index.glob("vectors-*"):
        shutil.rmtree(path)
    content.rename(old)
    assert problems(index) == []
    assert best("hiss") == "low.wav"
    with contextlib.closing(Store.open(index)) as store, store.snapshot() as reader:
        assert not reader.has_had_revision(old.name.removeprefix("vectors-"))


# ---- while an index is open


def test_an_open_index_answers_with_the_new_encoder(index: Path) -> None:
    with soundsearch.open_index(index) as opened:
        assert opened.search(text="hiss", by="sound")[0].path.name == "high.wav"
        reembed()
        assert opened.search(text="hiss", by="sound")[0].path.name == "low.wav"
        assert opened.pinned.name == "other"


def test_an_index_that_is_switched_during_a_search_answers_once_with_one_encoder(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Asker.ask

    def switched_meanwhile(self: Asker, parts: QuestionParts) -> Question:
        question = ask(self, parts)
        if self.encoder().bundle.name == "tiny":
            reembed()
        return question

    monkeypatch.setattr(Asker, "ask", switched_meanwhile)
    assert best("hiss") == "low.wav"


def test_an_index_opened_with_its_encoder_by_name_says_that_it_has_another(index: Path) -> None:
    with soundsearch.open_index(index, model="tiny") as opened:
        opened.search(text="hiss")
        reembed()
        with pytest.raises(IndexMismatchError, match=r"other 1 .* tiny 1 .*reembed"):
            opened.search(text="hiss")
