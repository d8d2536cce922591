from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.roots import way_out
from soundsearch.store import Store
from tests.conftest import Run
from tests.index_contents import rows_of, searchable
from tests.ordinary_user import open_folder, ordinary_user
from tests.sounds import tone, write
from tests.tiny_encoder import write_tiny_bundle


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """low.wav (two seconds), x/high.wav (one), and a file that holds no sound."""
    folder = tmp_path / "library"
    write(folder / "low.wav", tone(100, 2))
    write(folder / "x" / "high.wav", tone(3200))
    (folder / "bad.wav").write_text("this is no sound")
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


def tree(folder: Path) -> dict[str, bytes]:
    """The files of an index, byte for byte, but for the database: SQLite tidies up when it likes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "soundsearch.db" not in path.name
    }


def test_the_summary_goes_to_stderr_and_stdout_stays_empty(soundsearch: Run, library: Path) -> None:
    result = soundsearch("index", library)
    assert result.stdout == ""
    skipped, summary = result.stderr.splitlines()
    assert skipped == f"skipped {library}/bad.wav: neither libsndfile nor FFmpeg knows this format"
    assert summary.startswith(
        "2 new, 0 changed, 0 moved, 0 unchanged, 0 removed, 1 failed; 3 s of sound in "
    )
    assert summary.endswith(" times real time)")


def test_without_new_sound_the_summary_has_no_speed(soundsearch: Run, library: Path) -> None:
    (library / "bad.wav").unlink()
    soundsearch("index", library)
    result = soundsearch("index", library)
    assert result.stderr == "0 new, 0 changed, 0 moved, 2 unchanged, 0 removed, 0 failed\n"


def test_what_a_run_does_is_in_the_database(soundsearch: Run, library: Path, index: Path) -> None:
    soundsearch("index", library)
    assert {path: row.state for path, row in rows_of(index).items()} == {
        library / "low.wav": "indexed",
        library / "x" / "high.wav": "indexed",
        library / "bad.wav": "failed",
    }


def test_without_folders_all_folders_known_are_looked_through(
    soundsearch: Run, library: Path, tmp_path: Path, index: Path
) -> None:
    write(tmp_path / "second" / "a.wav", tone(480))
    soundsearch("index", library, tmp_path / "second")
    write(library / "new.wav", tone(1150))
    write(tmp_path / "second" / "new.wav", tone(1650))
    assert soundsearch("index").stderr.startswith("2 new, 0 changed, 0 moved, 3 unchanged")
    assert len(searchable(index)) == 5


def test_files_may_be_named_one_by_one(soundsearch: Run, library: Path, index: Path) -> None:
    soundsearch("index", "library/low.wav", library / "x" / "high.wav")
    assert searchable(index) == {library / "low.wav", library / "x" / "high.wav"}


def test_exclude(soundsearch: Run, library: Path, index: Path) -> None:
    soundsearch("index", library, "--exclude", "x", "--exclude", "bad*")
    assert set(rows_of(index)) == {library / "low.wav"}


def test_prune(soundsearch: Run, library: Path, index: Path) -> None:
    soundsearch("index", library)
    (library / "low.wav").unlink()
    (library / "bad.wav").unlink()
    assert "1 pruned" not in soundsearch("index").stderr
    assert library / "low.wav" in rows_of(index)
    assert soundsearch("index", "--prune").stderr.endswith(", 1 pruned\n")
    assert set(rows_of(index)) == {library / "x" / "high.wav"}


def test_jobs(soundsearch: Run, library: Path, index: Path) -> None:
    soundsearch("index", library, "--jobs", 3)
    assert len(searchable(index)) == 2
    assert "--jobs" in soundsearch("index", library, "-j", 0, code=2).stderr


# ---- JSON


def test_the_json_of_a_run(soundsearch: Run, library: Path) -> None:
    result = soundsearch("index", library, "--json")
    facts = json.loads(result.stdout)
    assert facts.pop("elapsed_s") > 0
    stages = facts.pop("stage_s")
    assert list(stages) == ["decode", "features", "embed", "store"]
    assert all(isinstance(seconds, float) and seconds >= 0 for seconds in stages.values())
    assert facts == {
        "schema": 1,
        "dry_run": False,
        "new": 2,
        "changed": 0,
        "moved": 0,
        "unchanged": 0,
        "again": 0,
        "removed": 0,
        "failed": 1,
        "failed_before": 0,
        "causes": {"not audio": 1},
        "pruned": 0,
        "windows": 4,
        "audio_s": 3.0,
        "captioned": 0,
        "uncaptioned": 0,
        "unmatched_captions": [],
        "interrupted": False,
        "skipped": {},
        "failures": [
            {
                "path": str(library / "bad.wav"),
                "reason": "neither libsndfile nor FFmpeg knows this format",
            }
        ],
        "absent": [],
        "left_behind": [],
        "dropped_roots": [],
    }
    assert result.stderr.count("\n") == 1  # the line on bad.wav; no summary


def test_the_json_of_a_run_with_a_lost_folder(soundsearch: Run, library: Path) -> None:
    soundsearch("index", library)
    library.rename(library.with_name("away"))
    result = soundsearch("index", "--json", code=1)
    facts = json.loads(result.stdout)
    reason = f"not there; recordings of it that are kept: 2; {way_out(library)}"
    assert facts["absent"] == [{"path": str(library), "reason": reason}]
    assert facts["removed"] == 0


def test_the_json_of_a_dry_run(soundsearch: Run, library: Path) -> None:
    soundsearch("index", library)
    (library / "low.wav").rename(library / "moved.wav")
    write(library / "x" / "high.wav", tone(480, 3))
    (library / "bad.wav").unlink()
    write(library / "new.wav", tone(750))
    assert json.loads(soundsearch("index", "--dry-run", "--json").stdout) == {
        "schema": 1,
        "dry_run": True,
        "unchanged": 0,
        "failed_before": 0,
        "skipped": {},
        "again": [],
        "new": [str(library / "new.wav")],
        "changed": [str(library / "x" / "high.wav")],
        "moved": [str(library / "moved.wav")],
        "removed": [str(library / "bad.wav")],
    }


# ---- a dry run


def test_a_dry_run_makes_nothing(soundsearch: Run, library: Path, index: Path) -> None:
    result = soundsearch("index", library, "--dry-run")
    assert result.stdout == (
        "new     library/bad.wav\nnew     library/low.wav\nnew     library/x/high.wav\n"
    )
    assert result.stderr == (
        "would be: 3 new, 0 changed, 0 moved, 0 removed, 0 unchanged; nothing was changed\n"
    )
    assert not index.exists()


def test_a_dry_run_changes_nothing(soundsearch: Run, library: Path, index: Path) -> None:
    soundsearch("index", library)
    (library / "low.wav").rename(library / "moved.wav")
    shutil.rmtree(library / "x")
    write(library / "new.wav", tone(750))
    before = tree(index), rows_of(index)
    exclude = ("--exclude", "index", "--exclude", "models")
    result = soundsearch("index", library.parent, "--dry-run", "--prune", *exclude)
    assert (tree(index), rows_of(index)) == before
    assert result.stdout.splitlines() == [
        "new     library/new.wav",
        "moved   library/moved.wav",
        "removed library/x/high.wav",
    ]
    soundsearch("index", library)
    assert searchable(index) == {library / "moved.wav", library / "new.wav"}


# ---- usage


def test_an_empty_index_needs_a_folder(soundsearch: Run, index: Path) -> None:
    result = soundsearch("index", code=2)
    assert "give at least one folder: nothing has been indexed yet" in result.stderr
    assert result.stdout == ""
    assert not index.exists()


def test_a_folder_that_is_not_there_makes_nothing(soundsearch: Run, index: Path) -> None:
    result = soundsearch("index", "nowhere", code=1)
    assert result.stderr == "error: nowhere: no such file or folder; give one that exists\n"
    assert not index.exists()


def test_no_folder_is_indexed_if_one_of_them_is_not_there(
    soundsearch: Run, library: Path, index: Path
) -> None:
    soundsearch("index", library, "nowhere", code=1)
    assert not index.exists()


def test_an_unknown_option_is_a_usage_error(soundsearch: Run, library: Path) -> None:
    assert "--jbos" in soundsearch("index", library, "--jbos", 3, code=2).stderr


# ---- the encoder of an index


def test_an_unknown_encoder_names_those_at_hand(
    soundsearch: Run, library: Path, index: Path
) -> None:
    result = soundsearch("index", library, "--model", "larger", code=1)
    assert result.stderr.startswith("error: no encoder named 'larger'; there is: ")
    assert "tiny" in result.stderr and "./larger" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not index.exists()


def test_an_encoder_may_be_a_folder(
    soundsearch: Run, library: Path, index: Path, tmp_path: Path
) -> None:
    write_tiny_bundle(tmp_path / "mine", name="mine")
    soundsearch("index", library, "--model", "./mine")
    assert json.loads(soundsearch("status", "--json").stdout)["encoder"]["name"] == "mine"
    shutil.rmtree(tmp_path / "mine")  # the index has its own copy
    write(library / "new.wav", tone(750))
    soundsearch("index", library, "--model", index / "encoder")
    assert len(searchable(index)) == 3


def test_another_encoder_is_refused_in_one_line_with_both_names(
    soundsearch: Run, library: Path, index: Path, tmp_path: Path
) -> None:
    soundsearch("index", library)
    other = write_tiny_bundle(tmp_path / "models" / "other", name="other", shift=1)
    before = tree(index), rows_of(index)
    result = soundsearch("index", library, "--model", "other", code=1)
    tiny = EncoderBundle.read(index / "encoder")
    assert result.stderr == (
        f"error: {index}: this index was built with tiny 1 (8-d, {tiny.fingerprint[:12]}), "
        f"you asked for other 1 (8-d, {other.fingerprint[:12]}); "
        "leave out --model, give it that encoder with: soundsearch reembed --model other, "
        "or make a second index with --index\n"
    )
    assert (tree(index), rows_of(index)) == before


def test_the_encoder_need_not_be_named_again(soundsearch: Run, library: Path, index: Path) -> None:
    from typer.testing import CliRunner

    from soundsearch.cli import app

    soundsearch("index", library)
    write(library / "new.wav", tone(750))
    assert CliRunner().invoke(app, ["index"]).exit_code == 0
    assert len(searchable(index)) == 3


# ---- where the index lies


def test_index_option_and_environment(
    soundsearch: Run, library: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundsearch("index", library, "--index", tmp_path / "by option")
    assert Store.exists(tmp_path / "by option") and not index.exists()
    monkeypatch.setenv("SOUNDSEARCH_INDEX", str(tmp_path / "by environment"))
    soundsearch("index", library)
    assert Store.exists(tmp_path / "by environment") and not index.exists()
    soundsearch("index", library, "--index", "relative/deep")
    assert Store.exists(tmp_path / "relative" / "deep")


def test_an_index_inside_its_own_library(soundsearch: Run, library: Path) -> None:
    soundsearch("index", library, "--index", library / "index")
    result = soundsearch("index", library, "--index", library / "index")
    assert " 2 unchanged, 0 removed, 0 failed" in result.stderr


# ---- trouble with folders


def test_a_lost_folder_is_an_error_but_the_others_are_indexed(
    soundsearch: Run, library: Path, tmp_path: Path, index: Path
) -> None:
    write(tmp_path / "second" / "a.wav", tone(480))
    soundsearch("index", library, tmp_path / "second")
    library.rename(library.with_name("away"))
    write(tmp_path / "second" / "b.wav", tone(750))
    result = soundsearch("index", code=1)
    assert f"error: {library}: not there; recordings of it that are kept: 2; " in result.stderr
    assert f"soundsearch roots remove {library}\n" in result.stderr
    assert len(searchable(index)) == 4


def test_a_closed_folder_is_told(
    soundsearch: Run, monkeypatch: pytest.MonkeyPatch, tiny: EncoderBundle
) -> None:
    with open_folder() as folder:
        write(folder / "lib" / "a.wav", tone(100))
        write(folder / "lib" / "closed" / "b.wav", tone(480))
        (folder / "index").mkdir()
        (folder / "index").chmod(0o777)
        shutil.copytree(tiny.folder, folder / "models" / "tiny")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("SOUNDSEARCH_MODELS", str(folder / "models"))
        options = ["lib", "--index", folder / "index"]
        with ordinary_user():
            soundsearch("index", *options)
        (folder / "lib" / "closed").chmod(0)
        with ordinary_user():
            result = soundsearch("index", *options)
        assert result.stderr == (
            f"skipped folder {folder}/lib/closed: Permission denied; what is known of it is kept\n"
            "0 new, 0 changed, 0 moved, 1 unchanged, 0 removed, 0 failed\n"
        )
        assert len(searchable(folder / "index")) == 2


def test_names_with_newlines_and_odd_bytes_stay_on_one_line(
    soundsearch: Run, tmp_path: Path, index: Path
) -> None:
    library = tmp_path / "lib"
    odd = library / os.fsdecode(b"two\nlines \xff \x1b[31m.wav")
    library.mkdir()
    odd.write_text("this is no sound")
    assert soundsearch("index", library, "--dry-run").stdout.count("\n") == 1
    result = soundsearch("index", library)
    assert result.stderr.splitlines()[0].startswith(
        f"skipped {library}/two\\nlines \\udcff \\x1b[31m.wav: "
    )
    assert result.stderr.count("\n") == 2
    facts = json.loads(soundsearch("index", library, "--json", "--retry").stdout)
    assert facts["failures"][0]["path"] == str(odd)
