"""Commands where something is missing that a shell usually has: no traceback, and hits all the same."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from soundsearch.encoder.bundle import EncoderBundle
from tests import program
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ

#: A user whom the system's list of users does not know, as containers have them.
UNKNOWN_USER = 54321
OWN_FOLDERS = ("SOUNDSEARCH_INDEX", "SOUNDSEARCH_MODELS", "SOUNDSEARCH_CACHE")


@dataclass(frozen=True)
class Place:
    """An index of two recordings, one with a name that few encodings have, and a manifest of them."""

    folder: Path
    settings: Mapping[str, str]

    @property
    def hum(self) -> Path:
        return self.folder / "library" / "hum ä 雨.wav"

    @property
    def index(self) -> str:
        return self.settings["SOUNDSEARCH_INDEX"]


@pytest.fixture(scope="module")
def place(_tiny: EncoderBundle, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(_tiny.folder, folder / "models" / "tiny")
    settings = {name: str(folder / name.split("_")[1].lower()) for name in OWN_FOLDERS}
    found = Place(folder, settings)
    write(found.hum, tone(BAND_HZ[1]))
    write(folder / "library" / "hiss.wav", tone(BAND_HZ[7]))
    (folder / "sounds.csv").write_text(
        "file,label\nlibrary/hum ä 雨.wav,hum\nlibrary/hiss.wav,hiss\n", encoding="utf-8"
    )
    command = ["index", folder / "library", "--model", "tiny"]
    result = program.soundsearch(*command, env=program.environment(**settings))
    assert result.returncode == 0, result.stderr
    return found


@dataclass(frozen=True)
class Odd:
    """What is odd about an environment. lacks: variables that are not set."""

    sets: Mapping[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    prepare: Callable[[], object] | None = None


def run(place: Place, odd: Odd, *arguments: object, **more: Any) -> tuple[int, bytes, str]:
    """Exit code, stdout and stderr of a command; none may have a traceback."""
    env = program.environment(**{**place.settings, **odd.sets})
    for name in odd.lacks:
        env.pop(name, None)
    result = program.soundsearch(
        *arguments, env=env, preexec_fn=odd.prepare, cwd=place.folder, **more
    )
    stderr = (result.stderr or b"").decode("utf-8", "backslashreplace")
    for sign in ("Traceback", "Exception ignored", "Logging error"):
        assert sign not in stderr, stderr
    return result.returncode, result.stdout or b"", stderr


def in_a_folder_that_is_gone() -> None:
    gone = Path(f"gone-{os.getpid()}").absolute()
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()


def close(*descriptors: int) -> Callable[[], None]:
    return lambda: [os.close(descriptor) for descriptor in descriptors] and None


FEW_FILES = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (20, 20))
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}

ENVIRONMENTS = {
    "ASCII": Odd(ASCII),
    "Latin-1": Odd({"PYTHONIOENCODING": "latin-1", "PYTHONUNBUFFERED": "1"}),
    "nothing at all": Odd(lacks=("HOME", "LANG", "LC_ALL", "TERM", "TMPDIR", "PATH", "USER")),
    "odd values": Odd(
        {"TERM": "", "COLUMNS": "0", "TMPDIR": "/nowhere", "TZ": ":/nowhere", "HOME": ""}
    ),
    "a current folder that is gone": Odd(prepare=in_a_folder_that_is_gone),
    "few files": Odd(prepare=FEW_FILES),
    "no stdin": Odd(prepare=close(0)),
    "no stderr": Odd(prepare=close(2)),
    "neither stdin nor stderr": Odd(prepare=close(0, 2)),
}


@pytest.mark.parametrize("odd", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_hits_are_printed_in_any_environment(place: Place, odd: Odd) -> None:
    code, stdout, stderr = run(place, odd, "query", "hum", "-k", 1)
    assert code == 0, stderr
    assert stdout.count(b"\n") == 1 and b"0:00.0-0:01.0" in stdout


@pytest.mark.parametrize("name", ["few files", "nothing at all"])
def test_the_status_is_printed_in_any_environment(place: Place, name: str) -> None:
    code, stdout, stderr = run(place, ENVIRONMENTS[name], "status")
    assert code == 0, stderr
    assert b"recordings  2 (" in stdout


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("ASCII", "similar"),
        ("ASCII", "bench"),
        ("ASCII", "paths"),
        ("ASCII", "json"),
        ("a current folder that is gone", "similar"),
        ("a current folder that is gone", "describe"),
        ("a current folder that is gone", "bench"),
    ],
)
def test_other_commands_in_odd_environments(place: Place, name: str, command: str) -> None:
    arguments: dict[str, list[object]] = {
        "similar": ["similar", place.hum, "-k", 1],
        "describe": ["describe", place.hum, "--model", "tiny"],
        "bench": ["bench", "manifest", place.folder / "sounds.csv", "--model", "tiny"],
        "paths": ["query", "hum", "--paths", "-k", 1],
        "json": ["query", "hum", "--json"],
    }
    code, stdout, stderr = run(place, ENVIRONMENTS[name], *arguments[command])
    assert code == 0, stderr
    if command == "paths":  # bytes stay bytes
        assert stdout == os.fsencode(place.hum) + b"\n"
    else:
        assert stdout.decode("ascii" if name == "ASCII" else "utf-8")


def test_what_the_encoding_lacks_is_escaped_and_the_rest_is_not(place: Place) -> None:
    for encoding, name in (
        ("ascii", rb"hum \xe4 \u96e8.wav"),
        ("cp1252", b"hum \xe4 \\u96e8.wav"),
    ):
        odd = Odd({"PYTHONIOENCODING": encoding})
        _, stdout, _ = run(place, odd, "query", "hum", "-k", 1)
        assert b"library/" + name + b"  [hum]\n" in stdout, encoding


def test_words_of_another_alphabet_reach_the_encoder_in_an_ascii_locale(place: Place) -> None:
    text = "дождь и ветер"
    _, stdout, _ = run(place, Odd(ASCII), "query", text, "--json")
    assert json.loads(stdout)["query"]["text"] == text


# ---- no home folder


def unknown_user() -> None:
    os.setresuid(UNKNOWN_USER, 0, 0)


NO_HOME = Odd(lacks=("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", *OWN_FOLDERS), prepare=unknown_user)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become another user")
@pytest.mark.parametrize("command", ["query", "bench", "models"])
def test_without_a_home_folder_what_is_named_works(place: Place, command: str) -> None:
    tiny = f"{place.settings['SOUNDSEARCH_MODELS']}/tiny"
    arguments: dict[str, list[object]] = {
        "query": ["query", "hum", "--index", place.index],
        "bench": ["bench", "manifest", place.folder / "sounds.csv", "--model", tiny],
        "models": ["models", "show", "starter"],
    }
    code, stdout, stderr = run(place, NO_HOME, *arguments[command])
    assert code == 0, stderr
    assert stdout
    notes = ["SOUNDSEARCH_CACHE", "without cached embeddings"] if command == "bench" else []
    assert all(word in stderr for word in notes) and stderr.count("\n") == bool(notes)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become another user")
@pytest.mark.parametrize("command", [["query", "hum"], ["index", "library"]])
def test_without_a_home_folder_the_index_must_be_named(place: Place, command: list[str]) -> None:
    code, stdout, stderr = run(place, NO_HOME, *command)
    assert (code, stdout) == (1, b"")
    assert stderr.startswith("error: no home folder: ") and stderr.count("\n") == 1
    for fact in ("HOME is None", "--index", "SOUNDSEARCH_INDEX"):
        assert fact in stderr
    assert not (place.folder / "~").exists()


def test_a_home_that_nobody_has(place: Place) -> None:
    odd = Odd({"SOUNDSEARCH_INDEX": "~nobody-at-all/index"})
    code, _, stderr = run(place, odd, "status")
    assert code == 1
    assert stderr.startswith("error: ~nobody-at-all/index: ") and stderr.count("\n") == 1


def test_a_relative_path_in_a_folder_that_is_gone(place: Place) -> None:
    odd = ENVIRONMENTS["a current folder that is gone"]
    for command in (
        ["demo", "sounds"],
        ["status", "--index", "index"],
        ["index", "library"],
        ["query", "hum", "--in", "."],
        ["roots", "remove", "library", "--yes"],
        ["roots", "move", place.folder / "library", "../library"],
    ):
        code, stdout, stderr = run(place, odd, *command)
        assert (code, stdout) == (1, b""), command
        assert stderr.startswith("error: ") and stderr.count("\n") == 1, command
        assert "current folder" in stderr


@pytest.mark.parametrize(
    "command",
    [
        ["index", ""],
        ["index", "library", "--index", ""],
        ["index", "library", "--model="],
        ["roots", "remove", "", "--yes"],
        ["roots", "move", "library", ""],
        ["query", "hum", "--index="],
        ["query", "hum", "--in", ""],
        ["query", ""],
        ["similar", ""],
    ],
    ids=" ".join,
)
def test_an_argument_that_is_empty_is_not_the_current_folder(
    place: Place, tmp_path: Path, command: list[str]
) -> None:
    """As where a script has `"$FOLDER"`, and the variable is not set."""
    library = place.folder / "library"
    before = run(place, Odd(), "roots", "--json")
    code, stdout, stderr = run(place, Odd(prepare=lambda: os.chdir(library)), *command)
    assert (code, stdout) == (2, b"")
    assert "argument is empty" in " ".join(stderr.split())
    assert run(place, Odd(), "roots", "--json") == before
    assert not any(library.glob("*.db"))


@pytest.mark.parametrize("n", [6, 7, 8, 9])
def test_where_hardly_a_file_can_be_opened_that_is_said(place: Place, n: int) -> None:
    few = Odd(prepare=functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (n, n)))
    for command in (
        ["roots"],
        ["status"],
        ["roots", "remove", "nowhere", "--yes"],
        ["query", "hum"],
    ):
        code, _, stderr = run(place, few, *command)
        if code:
            assert "too many open files" in stderr or "nowhere: no root" in stderr, command
        assert "not there" not in stderr and "mount" not in stderr, command


def test_no_bar_is_drawn_into_a_file_whatever_the_colours(place: Place) -> None:
    code, _, stderr = run(place, Odd({"FORCE_COLOR": "1"}), "index")
    assert code == 0 and stderr.startswith("0 new, ")


# ---- streams


@pytest.mark.parametrize("options", [[], ["--paths"], ["--json"], ["--null"]], ids=str)
def test_a_reader_that_went_away_is_no_fault(place: Place, options: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with contextlib.closing(os.fdopen(writing, "wb")) as stdout:
        result = subprocess.run(
            [*program.COMMAND, "query", "hum", *options],
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=program.environment(**place.settings),
            check=False,
        )
    assert (result.returncode, result.stderr) == (0, b"")


def test_the_exit_code_is_the_same_whether_or_not_somebody_reads(
    place: Place, tmp_path: Path
) -> None:
    shutil.copytree(place.index, tmp_path / "damaged")
    (tmp_path / "damaged" / "encoder" / "text.onnx").unlink()
    reading, writing = os.pipe()
    os.close(reading)
    with contextlib.closing(os.fdopen(writing, "wb")) as stdout:
        result = subprocess.run(
            [*program.COMMAND, "verify", "--index", tmp_path / "damaged"],
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=program.environment(**place.settings),
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr.startswith(b"the index is not sound")


@pytest.mark.parametrize("options", [[], ["--paths"], ["--json"]], ids=str)
def test_a_closed_output_is_an_error_like_a_full_one(place: Place, options: list[str]) -> None:
    code, stdout, stderr = run(place, Odd(prepare=close(1)), "query", "hum", *options)
    assert (code, stdout) == (1, b"")
    assert stderr == "error: standard output: bad file descriptor\n"


def test_a_closed_output_is_no_fault_of_what_prints_nothing(place: Place) -> None:
    for closed in ((1,), (0, 1, 2)):
        code, _, _ = run(place, Odd(prepare=close(*closed)), "repair")
        assert code == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_notes_that_cannot_be_written_cost_no_results(place: Place) -> None:
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [*program.COMMAND, "query", "hum", "--min-score", "0.9", "--paths"],
            stdout=subprocess.PIPE,
            stderr=full,
            env=program.environment(**place.settings),
            check=False,
        )
        assert (result.returncode, result.stdout) == (0, os.fsencode(place.hum) + b"\n")
        command = [*program.COMMAND, "status", "--index", place.folder / "nowhere"]
        env = program.environment(**place.settings)
        assert subprocess.run(command, stderr=full, env=env, check=False).returncode == 1


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """Else what goes to the stream goes into a database."""
    program_text = (
        "import os, sys; from soundsearch.cli import streams; streams.prepare()\n"
        "opened = open(sys.argv[1], 'w'); print('a note', file=sys.stderr, flush=True)\n"
        "os._exit(opened.fileno())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program_text, tmp_path / "file"],
        preexec_fn=close(0, 1, 2),
        env=program.environment(),
        check=False,
    )
    assert result.returncode == 3
    assert (tmp_path / "file").read_bytes() == b""
