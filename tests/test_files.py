from __future__ import annotations

import contextlib
import io
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from soundsearch import files
from soundsearch.audio.recording import AudioFile
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError, Cause
from soundsearch.files import NotRegularFileError, absence, is_absent, open_regular, spooled
from soundsearch.search.describe import describe
from tests.conftest import Run
from tests.ordinary_user import open_folder, ordinary_user
from tests.sounds import tone, write


@pytest.fixture(params=["pipe", "device", "socket", "folder"])
def odd(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, str]]:
    """A path that is no regular file, and what it is."""
    with open_folder() as folder, contextlib.ExitStack() as until:
        monkeypatch.chdir(folder)  # the name of a socket may not be long
        kind = request.param
        if kind == "device":
            yield "/dev/zero", "a device"
            return
        if kind == "pipe":
            os.mkfifo("odd")  # whoever opened it would wait for ever
        elif kind == "folder":
            Path("odd").mkdir()
        else:
            listener = until.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind("odd")
        yield "odd", {"pipe": "a named pipe", "socket": "a socket", "folder": "a folder"}[kind]


def test_what_is_no_regular_file_is_refused_at_once_by_what_it_is(odd: tuple[str, str]) -> None:
    path, kind = odd
    with pytest.raises(NotRegularFileError, match=f"{kind}, not a regular file"):
        open_regular(path)
    with pytest.raises(AudioError, match=f"^it is {kind}, not a regular file$") as caught:
        AudioFile(Path(path))
    assert caught.value.cause is Cause.UNREADABLE


def test_every_command_refuses_it_by_what_it_is(
    odd: tuple[str, str], soundsearch: Run, tiny: EncoderBundle, tmp_path: Path
) -> None:
    path, kind = odd
    write(tmp_path / "library" / "a.wav", tone(100))
    soundsearch("index", tmp_path / "library")
    for command in (["similar", path], ["describe", path, "--model", tiny.folder]):
        result = soundsearch(*command, code=1)
        assert result.stderr == f"error: {path}: it is {kind}, not a regular file\n"
    with pytest.raises(AudioError, match=f"it is {kind}"):
        describe(Encoder(tiny, "cpu", 1), path, ["hum"])
    if kind != "a folder":
        result = soundsearch("index", path, code=1)
        assert path in result.stderr and kind in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_link_to_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"sound")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"sound"


def test_what_is_exchanged_for_a_pipe_while_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"sound")
    was = os.stat(tmp_path / "file")
    n_open = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else None
    monkeypatch.setattr(files.os, "stat", lambda path: was)
    with pytest.raises(NotRegularFileError, match="a named pipe"):
        open_regular(tmp_path / "pipe")
    monkeypatch.undo()
    if n_open is not None:
        assert len(os.listdir("/proc/self/fd")) == n_open


# ---- streams


def test_a_stream_is_copied_whole_and_the_copy_is_deleted() -> None:
    content = os.urandom(3 * files.SPOOL_BLOCK_BYTES // 2)
    with spooled(io.BytesIO(content)) as path:
        assert path.read_bytes() == content
    assert not path.exists() and not path.parent.exists()


def test_a_stream_without_an_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: EncoderBundle
) -> None:
    monkeypatch.setattr(files, "SPOOL_BYTES", 10**6)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        open("/dev/zero", "rb") as endless,
        pytest.raises(
            AudioError, match=r"^/dev/zero: it holds more than 0\.0 GB; save it to a file"
        ),
    ):
        describe(Encoder(tiny, "cpu", 1), endless, ["hum"])
    assert not list(tmp_path.glob("soundsearch-*"))


# ---- what is not there


def test_absence_tells_apart_what_is_gone_what_is_empty_and_what_cannot_be_seen() -> None:
    with open_folder() as folder:
        for name in ("empty", "full", "closed"):
            (folder / name).mkdir()
        for name in ("full", "closed"):
            (folder / name / "a").write_text("")
        (folder / "closed").chmod(0)
        with ordinary_user():
            found = {
                name: (absence(folder / name), is_absent(folder / name))
                for name in ("empty", "full", "closed", "closed/a", "gone", "full/a", "full/a/b")
            }
    assert found == {
        "empty": ("empty", False),
        "full": (None, False),
        "closed": ("Permission denied", False),
        "closed/a": ("Permission denied", False),
        "gone": ("not there", True),
        "full/a": (None, False),
        "full/a/b": ("not there", True),
    }
