from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from typer.testing import CliRunner

import soundsearch as package
from soundsearch import health
from soundsearch.cli import app, progress
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.progress import Progress
from soundsearch.store import Store
from tests import program
from tests.conftest import Run
from tests.index_contents import rows_of, searchable
from tests.sounds import tone, write
from tests.tiny_encoder import write_tiny_bundle
from tests.vector_files import files_in, replace_vectors


@pytest.fixture
def library(tmp_path: Path, soundsearch: Run) -> Path:
    """Three recordings of four seconds in all, one failed and one missing; indexed."""
    folder = tmp_path / "library"
    for name, hz, seconds in (("a", 100, 2), ("b", 750, 1), ("c", 3200, 1), ("gone", 480, 1)):
        write(folder / f"{name}.wav", tone(hz, seconds))
    (folder / "bad.wav").write_text("this is no sound")
    soundsearch("index", folder)
    (folder / "gone.wav").unlink()
    soundsearch("index", folder)
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


# ---- status


def test_status_in_json(soundsearch: Run, library: Path, index: Path) -> None:
    result = soundsearch("status", "--json")
    facts = json.loads(result.stdout)
    assert facts.pop("size_bytes") > 10_000
    assert facts == {
        "schema": 1,
        "folder": str(index),
        "encoder": {
            "name": "tiny",
            "version": "1",
            "fingerprint": EncoderBundle.read(index / "encoder").fingerprint,
            "dim": 8,
        },
        "roots": [
            {"path": str(library), "recordings": 3, "failed": 1, "missing": 1, "present": True}
        ],
        "n_indexed": 3,
        "n_failed": 1,
        "n_missing": 1,
        "n_windows": 5,
        "duration_s": 4.0,
        "failures": {"not audio": 1},
        "skipped": {},
        "reembedding": None,
        "search": None,
    }
    assert result.stderr == ""


def test_status_in_words(soundsearch: Run, library: Path, index: Path) -> None:
    result = soundsearch("status")
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"index       {index} (") and lines[0].endswith(" MB)")
    assert lines[1].startswith("encoder     tiny 1 (8-d, ")
    assert lines[2:] == [
        "recordings  3 (4 s of sound, 5 windows), 1 missing, 1 failed",
        f"root        {library}: 3",
        "trouble     not audio: 1",
    ]
    library.rename(library.with_name("away"))
    result = soundsearch("status")
    assert f"root        {library}: 3 (not there now)" in result.stdout
    assert f"soundsearch roots move {library} NEW" in result.stderr
    assert f"soundsearch roots remove {library}" in result.stderr
    assert json.loads(soundsearch("status", "--json").stdout)["roots"][0]["present"] is False


def test_status_of_an_empty_index(soundsearch: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    soundsearch("index", tmp_path / "empty")
    facts = json.loads(soundsearch("status", "--json").stdout)
    assert (facts["n_indexed"], facts["duration_s"], facts["failures"]) == (0, 0.0, {})
    assert "recordings  0 (0 s of sound, 0 windows)" in soundsearch("status").stdout


@pytest.mark.parametrize("command", ["status", "verify", "repair"])
def test_without_an_index(soundsearch: Run, index: Path, command: str) -> None:
    result = soundsearch(command, code=1)
    assert result.stdout == ""
    assert result.stderr == (
        f"error: no index at {index}; make one with: soundsearch index FOLDER\n"
    )
    assert not index.exists()


# ---- verify and repair


@pytest.mark.usefixtures("library")
def test_a_sound_index(soundsearch: Run) -> None:
    result = soundsearch("verify")
    assert (result.stdout, result.stderr) == ("", "the index is sound\n")
    assert json.loads(soundsearch("verify", "--json").stdout) == {
        "schema": 1,
        "sound": True,
        "problems": [],
    }
    assert soundsearch("repair").stderr == "nothing to mend\n"


def test_files_that_changed_are_no_fault(soundsearch: Run, library: Path, index: Path) -> None:
    write(library / "a.wav", tone(1150, 3))
    (library / "b.wav").unlink()
    result = soundsearch("verify")
    assert sorted(result.stdout.splitlines()) == [
        f"files     {library}/a.wav: changed since it was indexed",
        f"files     {library}/b.wav: No such file or directory",
    ]
    assert result.stderr == ("the index is sound; 2 files differ from it, run: soundsearch index\n")
    facts = json.loads(soundsearch("verify", "--json").stdout)
    assert facts["sound"] is True
    assert min(facts["problems"], key=lambda problem: problem["text"]) == {
        "kind": "files",
        "text": f"{library}/a.wav: changed since it was indexed",
        "recording_id": rows_of(index)[library / "a.wav"].id,
    }


def test_an_odd_row_is_found_and_mended(soundsearch: Run, library: Path, index: Path) -> None:
    (window_id,) = rows_of(index)[library / "b.wav"].window_ids
    with contextlib.closing(sqlite3.connect(index / "soundsearch.db")) as connection, connection:
        update = "UPDATE windows SET embedding = zeroblob(32) WHERE id = ?"
        connection.execute(update, [window_id])
    result = soundsearch("verify", code=1)
    assert result.stdout == (
        f"rows      b.wav, window {window_id}: its embedding has length 0, not 1\n"
    )
    assert result.stderr == "the index is not sound (problems: 1); run: soundsearch repair\n"
    facts = json.loads(soundsearch("verify", "--json", code=1).stdout)
    assert (facts["sound"], facts["problems"][0]["kind"]) == (False, "rows")
    result = soundsearch("repair")
    assert "dropped 1 odd recordings; run `soundsearch index` to embed them anew" in result.stderr
    assert soundsearch("verify").stderr == "the index is sound\n"
    soundsearch("index")
    assert {path.name for path in searchable(index)} == {"a.wav", "b.wav", "c.wav"}
    assert soundsearch("verify").stderr == "the index is sound\n"


@pytest.mark.usefixtures("library")
def test_what_repair_cannot_mend_is_not_sent_there(soundsearch: Run, index: Path) -> None:
    with contextlib.closing(sqlite3.connect(index / "soundsearch.db")) as connection:
        connection.execute("DELETE FROM roots")
        connection.commit()
    result = soundsearch("verify", code=1)
    assert result.stdout.startswith("database  row 1 of recordings points at a row of roots ")
    assert result.stderr == (
        "the index is not sound (problems: 5); "
        "restore soundsearch.db from a backup, or move it away and index again\n"
    )
    result = soundsearch("repair", code=1)
    assert result.stderr.count("from a backup") == 1 and result.stderr.count("\n") == 1


@pytest.mark.usefixtures("library")
def test_wrong_vectors_are_found_and_mended(soundsearch: Run, index: Path) -> None:
    (path,) = index.glob("vectors-*")
    good = files_in(path)
    replace_vectors(path, [99], np.eye(8, dtype=np.float32)[:1])
    result = soundsearch("verify", code=1)
    assert result.stdout == "vectors   the vectors beside the database are of 1 windows, it has 5\n"
    assert soundsearch("repair").stderr == "made the vectors again\n"
    assert soundsearch("verify").stderr == "the index is sound\n"
    (path,) = index.glob("vectors-*")
    assert files_in(path) == good


@pytest.mark.usefixtures("library")
def test_a_damaged_encoder_is_found_and_mended(
    soundsearch: Run, index: Path, tmp_path: Path, tiny: EncoderBundle
) -> None:
    (index / "encoder" / "text.onnx").write_bytes(b"garbage")
    result = soundsearch("verify", code=1)
    assert result.stdout.startswith(f"encoder   {index}/encoder/text.onnx: damaged, ")
    assert soundsearch("repair").stderr == "put back the encoder\n"  # from the models folder
    assert soundsearch("verify").stderr == "the index is sound\n"

    tiny.folder.rename(tmp_path / "aside")
    (index / "encoder" / "text.onnx").unlink()
    result = soundsearch("repair", code=1)
    assert result.stderr.startswith(f"error: {index}: this index was built with tiny 1 (8-d, ")
    assert "run: soundsearch repair --model BUNDLE" in result.stderr
    assert result.stderr.endswith("with: soundsearch reembed --model NAME\n")
    write_tiny_bundle(tmp_path / "other", name="other", shift=1)
    result = soundsearch("repair", "--model", "./other", code=1)
    assert "tiny 1 (8-d, " in result.stderr and "other 1 (8-d, " in result.stderr
    assert soundsearch("repair", "--model", "./aside").stderr == "put back the encoder\n"
    assert soundsearch("verify").stderr == "the index is sound\n"


@pytest.mark.usefixtures("library")
def test_repair_waits_for_nobody(soundsearch: Run, index: Path) -> None:
    store = Store.open(index)
    with store.writer():
        result = soundsearch("repair", code=1)
        assert soundsearch("verify").stderr == "the index is sound\n"
    store.close()
    assert result.stderr == (
        f"error: {index}: another soundsearch is writing this index; "
        "wait until it has finished (searching works meanwhile)\n"
    )


# ---- models


def test_models_list(soundsearch: Run, tiny: EncoderBundle) -> None:
    result = soundsearch("models", "list")
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("tiny ")]
    assert line == "tiny         1           8-d  eight words for eight bands"
    facts = json.loads(soundsearch("models", "list", "--json").stdout)
    assert set(facts) == {"schema", "models"}
    (row,) = [row for row in facts["models"] if row["name"] == "tiny"]
    assert row == {
        "name": "tiny",
        "version": "1",
        "dim": 8,
        "description": "eight words for eight bands",
        "folder": str(tiny.folder),
    }


def test_models_list_passes_over_what_is_damaged(soundsearch: Run, tmp_path: Path) -> None:
    (tmp_path / "models" / "broken").mkdir()
    (tmp_path / "models" / "broken" / "bundle.json").write_text("{")
    (tmp_path / "models" / "notes").mkdir()
    result = soundsearch("models", "list")
    assert "tiny" in result.stdout and "broken" not in result.stdout
    assert result.stderr.startswith(f"skipped {tmp_path}/models/broken: ")
    assert result.stderr.count("\n") == 1


def test_models_show(soundsearch: Run, tiny: EncoderBundle) -> None:
    lines = soundsearch("models", "show", "tiny").stdout.splitlines()
    facts = {line.split()[0]: line[28:].strip() for line in lines}
    assert facts["name"] == "tiny"
    assert facts["audio.sample_rate"] == "8000"
    assert facts["fingerprint"] == tiny.fingerprint
    as_json = json.loads(soundsearch("models", "show", tiny.folder, "--json").stdout)
    assert as_json["schema"] == 1
    assert as_json["files"] == dict(tiny.files)
    assert as_json["front_end"] == tiny.features.kind
    assert set(as_json) == {
        "schema",
        "folder",
        "name",
        "version",
        "description",
        "dim",
        "audio",
        "features",
        "text",
        "licence",
        "provenance",
        "relevance",
        "results",
        "files",
        "fingerprint",
        "front_end",
    }


def test_models_show_checks_the_files(soundsearch: Run, tiny: EncoderBundle) -> None:
    (tiny.folder / "text.onnx").write_bytes(b"garbage")
    result = soundsearch("models", "show", "tiny", code=1)
    assert result.stderr.startswith(f"error: {tiny.folder}/text.onnx: damaged, its SHA-256 is ")
    assert soundsearch("models", "show", "larger", code=1).stderr.startswith(
        "error: no encoder named 'larger'; there is: "
    )


# ---- the command as a whole


def commands(of: Any = None, group: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command, with the groups it is in."""
    found: list[tuple[str, ...]] = []
    for name, command in (of or typer.main.get_command(app)).commands.items():
        is_group = hasattr(command, "commands")
        found += commands(command, (*group, name)) if is_group else [(*group, name)]
    return found


def test_the_commands_there_are() -> None:
    assert {" ".join(command) for command in commands()} == {
        "index",
        "query",
        "serve",
        "similar",
        "describe",
        "show",
        "duplicates",
        "status",
        "verify",
        "repair",
        "reembed",
        "ingest",
        "export-parts",
        "demo",
        *(f"roots {name}" for name in ("move", "remove")),
        *(f"models {name}" for name in ("list", "show", "build vip-ant", "build clap")),
        *(f"bench {name}" for name in ("clotho", "audiocaps", "esc50", "urbansound8k")),
        *(f"bench {name}" for name in ("audioset", "manifest", "compare", "table")),
        *(f"train {name}" for name in ("extract", "shards", "embed-images", "embed-captions")),
        *(f"train {name}" for name in ("curate", "pivot", "captions", "scaling", "export")),
        *(f"train {name}" for name in ("features", "pick", "probe", "finetune")),
    }


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for option in ("--help", "-h"):
        result = CliRunner().invoke(app, [*command, option])
        assert result.exit_code == 0
        assert f"Example: soundsearch {' '.join(command)}" in " ".join(result.stdout.split())
        assert result.stderr == ""


def test_every_option_of_every_command_is_explained() -> None:
    group = typer.main.get_command(app)
    for command in commands():
        found = group
        for name in command:
            found = found.commands[name]  # type: ignore[attr-defined]
        for parameter in found.params:
            assert getattr(parameter, "help", None), f"{command}: {parameter.name}"


def test_help_of_the_whole_and_no_command(soundsearch: Run) -> None:
    shown = soundsearch("--help").stdout
    for command, *_ in commands():
        assert command in shown
    assert 'soundsearch query "dog barking in rain"' in " ".join(shown.split())
    assert "Usage" in CliRunner().invoke(app, []).output


def test_version(soundsearch: Run) -> None:
    assert soundsearch("--version").stdout == f"soundsearch {package.__version__}\n"


def test_an_unknown_command_is_a_usage_error(soundsearch: Run) -> None:
    result = soundsearch("serach", "hum", code=2)
    assert result.stdout == ""
    assert "serach" in result.stderr


def test_a_bug_keeps_its_traceback(soundsearch: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(store: Store) -> None:
        raise ZeroDivisionError("a bug")

    Path("empty").mkdir()
    soundsearch("index", "empty")
    monkeypatch.setattr(health, "status", bug)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        soundsearch("status")


def test_python_m_soundsearch_is_the_command() -> None:
    result = program.soundsearch("--version")
    assert result.stdout.decode() == f"soundsearch {package.__version__}\n"


@pytest.mark.usefixtures("library")
def test_a_long_check_has_a_line_where_there_is_no_terminal(
    soundsearch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = threading.Event()
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.01)
    print_line = progress.Reporter.print_line

    def print_and_set(reporter: progress.Reporter) -> None:
        print_line(reporter)
        printed.set()

    def verify_slowly(store: object, *, progress: Progress) -> list[object]:
        progress.begin("checking the database")
        assert printed.wait(20)
        return []

    monkeypatch.setattr(progress.Reporter, "print_line", print_and_set)
    monkeypatch.setattr(health, "verify", verify_slowly)
    assert "checking the database\n" in soundsearch("verify").stderr
