"""Everything that can be wrong with files, encoders and index folders: one line each, nothing lost."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from indexer import embedding, fetching
from soundsearch.audio.recording import AudioFile
from soundsearch.cli import app
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError
from soundsearch.render import printable
from soundsearch.store import State, Store
from soundsearch.store.migrations import latest
from tests import program
from tests.broken_sounds import TABLE, Broken
from tests.conftest import Run
from tests.index_contents import rows_of, searchable
from tests.ordinary_user import open_folder, ordinary_user
from tests.sounds import encode, noise, tone, write
from tests.tiny_encoder import write_tiny_bundle
from tests.vector_files import files_in


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Two good recordings; read before and after whatever lies between them."""
    write(tmp_path / "library" / "0 good.wav", tone(100, 2))
    write(tmp_path / "library" / "~ good.wav", tone(3200, 1))
    return tmp_path / "library"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


def one_line(text: str) -> str:
    """The one line of error that there is."""
    assert text.startswith("error: ") and text.count("\n") == 1 and text.endswith("\n"), text
    return text.removeprefix("error: ").rstrip("\n")


# ---- recordings


@pytest.mark.parametrize("broken", TABLE, ids=lambda broken: ascii(broken.name))
def test_a_bad_recording_costs_one_line_and_nothing_else(
    soundsearch: Run,
    library: Path,
    index: Path,
    capfd: pytest.CaptureFixture[str],
    broken: Broken,
) -> None:
    path = library / broken.name
    broken.make(path)
    result = soundsearch("index", library)
    *lines, summary = result.stderr.splitlines()
    row = rows_of(index)[path]
    is_used = broken.partly or broken.cause is None
    assert capfd.readouterr() == ("", "")  # the C libraries below say nothing of their own
    assert row.cause == broken.cause
    if broken.cause is None:
        assert lines == []
    else:
        (line,) = lines
        what = "partly read" if broken.partly else "skipped"
        assert line == f"{what} {printable(path)}: {row.error}"
        assert re.fullmatch(broken.reason, str(row.error))
    assert row.state == (State.INDEXED if is_used else State.FAILED)
    assert bool(row.window_ids) == is_used
    assert summary.startswith(f"{2 + is_used} new, ")
    assert f" {1 - is_used} failed" in summary
    good = {library / "0 good.wav", library / "~ good.wav"}
    assert searchable(index) == (good | {path} if is_used else good)


def test_all_of_them_together(soundsearch: Run, library: Path, index: Path) -> None:
    for broken in TABLE:
        broken.make(library / broken.name)
    result = soundsearch("index", library, "-j", 4)
    failed = {b.name for b in TABLE if b.cause and not b.partly}
    told = [b for b in TABLE if b.cause]
    assert len(result.stderr.splitlines()) == len(told) + 1
    assert {path.name for path in searchable(index)} == (
        {b.name for b in TABLE} | {"0 good.wav", "~ good.wav"}
    ) - failed
    facts = json.loads(soundsearch("status", "--json").stdout)
    assert facts["n_failed"] == len(failed)
    assert sum(facts["failures"].values()) == len(told)
    assert soundsearch("verify").stderr.startswith("the index is sound")


def test_all_channels_of_a_big_recording_are_heard(
    soundsearch: Run, library: Path, index: Path
) -> None:
    sound = np.zeros((96_000, 8), np.float32)
    sound[:, 7] = tone(1150, 0.5, 192_000)
    write(library / "eight.wav", sound, 192_000, "PCM_24")
    soundsearch("index", library)
    result = soundsearch("query", "beep", "-k", 1, "--paths")
    assert result.stdout == f"{library}/eight.wav\n"


def test_a_recording_that_may_not_be_read(
    soundsearch: Run, tiny: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_folder() as folder:
        for name in ("a", "closed", "z"):
            write(folder / "lib" / f"{name}.wav", tone(100))
        (folder / "lib" / "closed.wav").chmod(0)
        (folder / "index").mkdir()
        (folder / "index").chmod(0o777)
        shutil.copytree(tiny.folder, folder / "models" / "tiny")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("SOUNDSEARCH_MODELS", str(folder / "models"))
        with ordinary_user():
            result = soundsearch("index", "lib", "--index", "index")
        assert result.stderr.splitlines()[0] == (
            f"skipped {folder}/lib/closed.wav: permission to read it is denied"
        )
        assert rows_of(folder / "index")[folder / "lib" / "closed.wav"].cause == "not permitted"
        assert len(searchable(folder / "index")) == 2


def meddle(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[Path], object]) -> None:
    """Do something to a file when its turn comes."""

    class Meddled(AudioFile):
        def __init__(self, path: Path) -> None:
            if path.name == name:
                act(path)
            super().__init__(path)

    monkeypatch.setattr(fetching, "AudioFile", Meddled)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (Path.unlink, "the file is not there any more"),
        (lambda path: os.truncate(path, 0), "the file is empty (0 bytes)"),
        (
            lambda path: path.write_text("gone to pieces" * 9),
            "neither libsndfile nor FFmpeg knows this format",
        ),
        (lambda path: (path.unlink(), path.mkdir()), "it is a folder, not a regular file"),
    ],
    ids=["vanishes", "emptied", "overwritten", "a folder now"],
)
def test_a_recording_that_changes_under_the_run(
    soundsearch: Run,
    library: Path,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[Path], object],
    reason: str,
) -> None:
    write(library / "mid.wav", tone(750))
    meddle(monkeypatch, "mid.wav", act)
    result = soundsearch("index", library)
    assert result.stderr.splitlines()[0] == f"skipped {library}/mid.wav: {reason}"
    assert {path.name for path in searchable(index)} == {"0 good.wav", "~ good.wav"}


_WHOLE = {
    "wav": lambda path: write(path, noise(0.5)),
    "flac": lambda path: write(path, noise(0.5)),
    "ogg": lambda path: write(path, noise(0.5)),
    "mp3": lambda path: write(path, noise(0.5, 16000), 16000),
    "aiff": lambda path: write(path, noise(0.5)),
    "m4a": lambda path: encode(path, noise(0.5, 16000), 16000, "aac", "ipod"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One good file of each format."""
    folder = tmp_path_factory.mktemp("whole")
    return {
        suffix: make(folder / f"a.{suffix}").read_bytes()  # type: ignore[no-untyped-call]
        for suffix, make in _WHOLE.items()
    }


@pytest.mark.parametrize("suffix", _WHOLE)
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    places=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=6),
    at_head=st.booleans(),
    length=st.floats(0.05, 1),
)
@example(places=[], at_head=False, length=1.0)
@example(places=[], at_head=False, length=0.921875)  # an M4A whose sound is of no known codec
def test_any_damage_ends_in_sound_or_in_our_error(
    tmp_path: Path,
    tiny: EncoderBundle,
    whole: dict[str, bytes],
    suffix: str,
    places: list[tuple[float, bytes]],
    at_head: bool,
    length: float,
) -> None:
    content = bytearray(whole[suffix])
    for place, patch in places:
        at = int(place * (100 if at_head else len(content) - 1))
        content[at : at + len(patch)] = patch
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(content[: int(length * len(content))])
    try:
        spans, embeddings = Encoder(tiny, "cpu", 1).embed_file(path)
    except AudioError:
        return
    assert len(spans) == len(embeddings) >= 1
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)


# ---- encoder bundles

FILES = ["audio.onnx", "text.onnx", "tokenizer.json", "bundle.json"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["missing", "garbage"])
def test_a_bad_encoder_makes_no_index(
    soundsearch: Run, library: Path, index: Path, tiny: EncoderBundle, file: str, how: str
) -> None:
    spoil(tiny.folder / file, how)
    line = one_line(soundsearch("index", library, "--model", tiny.folder, code=1).stderr)
    assert file in line and str(tiny.folder) in line
    assert not Store.exists(index)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["missing", "garbage"])
def test_a_bad_copy_of_the_encoder_is_one_line_and_repair_mends_it(
    soundsearch: Run,
    library: Path,
    index: Path,
    tiny: EncoderBundle,
    tmp_path: Path,
    file: str,
    how: str,
) -> None:
    soundsearch("index", library)
    tiny.folder.rename(tmp_path / "aside")  # there is no other encoder of this kind
    spoil(index / "encoder" / file, how)
    write(library / "new.wav", tone(750))
    is_needed = file != "text.onnx" and file != "tokenizer.json"
    if how == "missing" or is_needed:
        result = CliRunner().invoke(app, ["index", str(library)])
        assert result.exit_code == 1
        one_line(result.stderr)
    if how == "missing" or file != "audio.onnx":
        line = one_line(soundsearch("query", "hiss", code=1).stderr)
        assert f"{index}/encoder/{file}" in line or "repair --model" in line
    assert len(rows_of(index)) == 2
    soundsearch("verify", code=1)
    soundsearch("repair", "--model", "./aside")
    assert soundsearch("query", "hiss", "-k", 1, "--paths").stdout == f"{library}/~ good.wav\n"


def test_a_lost_copy_is_made_up_for_by_the_encoder_of_that_kind(
    soundsearch: Run, library: Path, index: Path
) -> None:
    soundsearch("index", library)
    shutil.rmtree(index / "encoder")
    assert soundsearch("query", "hiss", "-k", 1, "--paths").stdout == f"{library}/~ good.wav\n"


def test_an_index_made_by_another_encoder(
    soundsearch: Run, library: Path, index: Path, tmp_path: Path
) -> None:
    """Somebody puts another encoder's files in the place of the copy."""
    soundsearch("index", library)
    other = write_tiny_bundle(tmp_path / "other", name="other", shift=1)
    pinned = EncoderBundle.read(index / "encoder")
    shutil.rmtree(index / "encoder")
    shutil.copytree(other.folder, index / "encoder")
    shutil.rmtree(tmp_path / "models")
    line = one_line(soundsearch("query", "hiss", code=1).stderr)
    assert f"tiny 1 (8-d, {pinned.fingerprint[:12]})" in line
    assert f"other 1 (8-d, {other.fingerprint[:12]})" in line


def spoil(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(b"{ this is \xff no such thing")


# ---- the index folder


def test_an_index_below_a_regular_file(soundsearch: Run, library: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    for folder in ("file", "file/index"):
        line = one_line(soundsearch("index", library, "--index", folder, code=1).stderr)
        assert line.startswith(f"{tmp_path}/{folder}: the index folder cannot be written (")
        assert line.endswith("; choose another with --index")
        line = one_line(soundsearch("query", "hum", "--index", folder, code=1).stderr)
        assert line == f"no index at {tmp_path}/{folder}; make one with: soundsearch index FOLDER"


@pytest.fixture
def open_place(tiny: EncoderBundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A library and an encoder where an ordinary user can read them, and write nothing."""
    with open_folder() as folder:
        write(folder / "lib" / "a.wav", tone(100))
        shutil.copytree(tiny.folder, folder / "models" / "tiny")
        folder.chmod(0o755)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("SOUNDSEARCH_MODELS", str(folder / "models"))
        monkeypatch.setenv("SOUNDSEARCH_INDEX", str(folder / "index"))
        yield folder
        folder.chmod(0o755)


def test_a_folder_that_may_not_be_written(soundsearch: Run, open_place: Path) -> None:
    open_place.chmod(0o555)
    with ordinary_user():
        line = one_line(soundsearch("index", "lib", code=1).stderr)
    assert line == (
        f"{open_place}/index: the index folder cannot be written (Permission denied); "
        "choose another with --index"
    )


def test_an_index_that_may_not_be_written_can_be_searched(
    soundsearch: Run, open_place: Path
) -> None:
    soundsearch("index", "lib")
    write(open_place / "lib" / "new.wav", tone(3200))
    closed = [open_place / "index", *(open_place / "index").iterdir()]
    for path in closed:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with ordinary_user():
        line = one_line(soundsearch("index", "lib", code=1).stderr)
        assert str(open_place / "index") in line and "cannot be written" in line
        result = soundsearch("query", "rumble", "--paths")
    assert result.stdout == f"{open_place}/lib/a.wav\n"


def test_an_index_that_may_not_be_read_is_one_line(soundsearch: Run, open_place: Path) -> None:
    soundsearch("index", "lib")
    (open_place / "index").chmod(0)
    with ordinary_user():
        for command in (["query", "hum"], ["status"], ["index", "lib"], ["verify"]):
            line = one_line(soundsearch(*command, code=1).stderr)
            assert str(open_place / "index") in line, command
    (open_place / "index").chmod(0o755)


def test_a_library_that_may_not_be_read_is_one_line(soundsearch: Run, open_place: Path) -> None:
    (open_place / "index").mkdir()
    (open_place / "index").chmod(0o777)
    (open_place / "lib").chmod(0)
    with ordinary_user():
        line = one_line(soundsearch("index", "lib/deep", code=1).stderr)
        assert line == "lib/deep: cannot be opened (Permission denied); give one that you may read"
        line = one_line(soundsearch("index", "lib", code=1).stderr.splitlines(True)[0])
        for fact in (f"{open_place}/lib: Permission denied", "kept: 0", "check its permissions"):
            assert fact in line
    (open_place / "lib").chmod(0o755)


# ---- a full disk


@pytest.fixture
def disk_size(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Give the database room for so many pages of 4096 bytes from now on; None: all it wants."""
    limit: list[int | None] = [None]

    def apply(connection: Any, _: object) -> None:
        if limit[0] is not None:
            connection.execute(f"PRAGMA max_page_count = {limit[0]}")

    make_engine = sa.create_engine

    def engine(*arguments: Any, **options: Any) -> sa.Engine:
        made = make_engine(*arguments, **options)
        sa.event.listen(made, "connect", apply)
        return made

    monkeypatch.setattr(sa, "create_engine", engine)
    return lambda n_pages: limit.__setitem__(0, n_pages)


def test_a_full_disk_loses_nothing_committed_and_a_later_run_completes(
    soundsearch: Run,
    tmp_path: Path,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
    disk_size: Callable[[int | None], None],
) -> None:
    library = tmp_path / "library"
    monkeypatch.setattr(embedding, "COMMIT_S", 0.0)  # each recording has a transaction of its own
    for i in range(40):
        write(library / f"{i:02d}.wav", noise(60, 4000, seed=i), 4000)
    disk_size(60)
    line = one_line(soundsearch("index", library, "-j", 2, code=1).stderr)
    assert line == (
        f"{index}: database or disk is full: the disk is full; make room and run the command "
        "again, what was committed is kept"
    )
    kept = rows_of(index)
    assert 1 <= len(kept) < 40
    assert searchable(index) == set(kept)
    assert soundsearch("verify").stderr == "the index is sound\n"
    disk_size(None)
    soundsearch("index", library)
    after = rows_of(index)
    assert len(after) == 40
    assert all(after[path] == row for path, row in kept.items())


def test_a_disk_full_from_the_start(
    soundsearch: Run, library: Path, index: Path, disk_size: Callable[[int | None], None]
) -> None:
    disk_size(2)
    assert "the disk is full" in one_line(soundsearch("index", library, code=1).stderr)
    disk_size(None)
    soundsearch("index", library)
    assert len(searchable(index)) == 2


def test_no_room_for_the_faiss_file_is_a_note(
    soundsearch: Run,
    library: Path,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from soundsearch.vectors.exact import ExactIndex

    def full(self: ExactIndex, path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ExactIndex, "save", full)
        soundsearch("index", library)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "No space left on device" in record.getMessage()
        assert len(soundsearch("query", "hum").stdout.splitlines()) == 2
    assert soundsearch("verify").stderr == "the index is sound\n"


# ---- damaged files of the index


@pytest.mark.parametrize(
    "damage", ["DROP TABLE revisions", "ALTER TABLE windows RENAME COLUMN embedding TO vector"]
)
def test_a_database_of_another_make_is_one_line_with_a_way_out(
    soundsearch: Run, library: Path, index: Path, damage: str
) -> None:
    program.soundsearch("index", library, "--model", "tiny", check=True)
    with contextlib.closing(sqlite3.connect(index / "soundsearch.db")) as database:
        database.execute(damage)
    write(library / "another.wav", noise(1.0, seed=99))
    for command in (["verify"], ["repair"], ["index", library]):
        line = one_line(soundsearch(*command, code=1).stderr)
        assert str(index) in line and "index again" in line


@pytest.mark.parametrize("how", ["garbage", "torn", "cut", "folder"])
def test_a_damaged_database_is_one_line(
    soundsearch: Run, library: Path, index: Path, how: str
) -> None:
    program.soundsearch("index", library, "--model", "tiny", check=True)  # and all is closed again
    database = index / "soundsearch.db"
    assert not list(index.glob("soundsearch.db-*"))
    if how == "garbage":
        database.write_bytes(b"garbage" * 1000)
    elif how == "torn":
        content = bytearray(database.read_bytes())
        content[4096 : 4096 * 3] = os.urandom(4096 * 2)
        database.write_bytes(content)
    elif how == "cut":
        os.truncate(database, 6000)
    else:
        database.unlink()
        database.mkdir()
    for command in (["query", "hum"], ["index", library], ["status"]):
        if how in ("torn", "cut"):  # some answers need none of the pages that are lost
            result = CliRunner().invoke(app, [str(argument) for argument in command])
            assert result.exit_code == 0 or str(index) in one_line(result.stderr)
        else:
            assert str(index) in one_line(soundsearch(*command, code=1).stderr)
    assert str(index) in one_line(soundsearch("repair", code=1).stderr)
    result = soundsearch("verify", code=1)
    assert "the index is not sound" in result.stderr or str(index) in one_line(result.stderr)


#: What is said of a file whose length is right, and of one whose length is not.
WRONG = {
    "empty": "0 bytes long, expected {0}",
    "garbage": "700 bytes long, expected {0}",
    "cut": "{1} bytes long, expected {0}",
    "torn": "not a readable FAISS file",
}


@pytest.mark.parametrize("how", list(WRONG))
def test_a_damaged_faiss_file_is_noted_and_made_again(
    soundsearch: Run, library: Path, index: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    soundsearch("index", library)
    (folder,) = index.glob("vectors-*")
    path = folder / "delta.faiss"
    good, files = path.read_bytes(), files_in(folder)
    bad = {
        "empty": b"",
        "garbage": b"garbage" * 100,
        "cut": good[:-9],
        "torn": bytes(99) + good[99:],
    }
    path.write_bytes(bad[how])
    result = soundsearch("query", "hiss", "-k", 1, "--paths")
    assert result.stdout == f"{library}/~ good.wav\n"
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{path}: {WRONG[how].format(len(good), len(good) - 9)}; making it again from the database"
    )
    assert files_in(folder) == files
    soundsearch("query", "hiss")
    assert len(caplog.records) == 1


def test_a_note_goes_to_stderr(soundsearch: Run, library: Path, index: Path) -> None:
    soundsearch("index", library)
    (folder,) = index.glob("vectors-*")
    path = folder / "delta.faiss"
    n_bytes = path.stat().st_size
    path.write_bytes(b"")
    result = program.soundsearch("query", "hiss", "-k", 1, "--paths")
    assert result.stdout == os.fsencode(library / "~ good.wav") + b"\n"
    assert result.stderr.decode() == (
        f"note: {path}: 0 bytes long, expected {n_bytes}; making it again from the database\n"
    )


def test_a_lost_faiss_file_is_made_again_without_a_word(
    soundsearch: Run, library: Path, index: Path
) -> None:
    soundsearch("index", library)
    (path,) = index.glob("vectors-*")
    good = files_in(path)
    shutil.rmtree(path)
    assert len(soundsearch("query", "hum").stdout.splitlines()) == 2
    assert files_in(path) == good


def test_a_newer_schema_is_one_line(soundsearch: Run, library: Path, index: Path) -> None:
    soundsearch("index", library)
    with contextlib.closing(sqlite3.connect(index / "soundsearch.db")) as connection:
        connection.execute(f"PRAGMA user_version = {latest() + 1}")
    for command in (["query", "hum"], ["index", library], ["status"], ["verify"], ["repair"]):
        line = one_line(soundsearch(*command, code=1).stderr)
        assert line == (
            f"{index}: written by a newer soundsearch (schema {latest() + 1}, "
            f"this one knows {latest()}); upgrade soundsearch"
        )


def test_somebody_elses_database_is_one_line(soundsearch: Run, library: Path, index: Path) -> None:
    import sqlite3

    index.mkdir()
    other = sqlite3.connect(index / "soundsearch.db")
    other.execute("CREATE TABLE songs (title)")
    other.close()
    line = one_line(soundsearch("index", library, code=1).stderr)
    assert line.startswith(f"{index}/soundsearch.db: not an index of soundsearch")


# ---- two at a time


def test_one_writes_others_read(
    soundsearch: Run, library: Path, tmp_path: Path, index: Path
) -> None:
    long = tmp_path / "long"
    first = write(long / "00.wav", noise(120))
    for i in range(1, 60):
        os.link(first, long / f"{i:02d}.wav")
    process = program.start(
        *("index", long, "--model", "tiny", "-j", 1), command=program.COMMITTING_AT_ONCE
    )
    deadline = time.monotonic() + 30
    while not (Store.exists(index) and rows_of(index)):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # held in the middle of its run
    for command in (["index", library], ["index"], ["repair"]):
        line = one_line(soundsearch(*command, code=1).stderr)
        assert line == (
            f"{index}: another soundsearch is writing this index; "
            "wait until it has finished (searching works meanwhile)"
        )
    assert "would be: " in soundsearch("index", "--dry-run").stderr
    process.send_signal(signal.SIGCONT)
    seen: set[Path] = set()
    is_over = False
    while not is_over:
        is_over = process.poll() is not None
        hits = json.loads(soundsearch("query", "hum", "-k", 100, "--no-unique", "--json").stdout)[
            "hits"
        ]
        found = {Path(hit["path"]) for hit in hits}
        assert seen <= found and found
        seen = found
        facts = json.loads(soundsearch("status", "--json").stdout)
        assert len(seen) <= facts["n_indexed"]
        assert soundsearch("verify").stderr.startswith("the index is sound")
    assert b"60 new, " in process.communicate()[1]
    assert seen == set(long.iterdir())
