"""Where few files may be open at a time: what happens is said as what it is."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.scan import scan
from soundsearch import cli
from soundsearch.descriptors import n_free, ran_out, too_many
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import BundleError, SoundsearchError, StoreError
from soundsearch.store import Store
from soundsearch.store.pinned import create_index
from tests import program
from tests.filled_store import FLAT, put
from tests.sounds import noise, write


@contextlib.contextmanager
def only(n: int) -> Iterator[None]:
    """Within, this process can open so many files and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(highest + 1000, hard), hard))
    held: list[int] = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for descriptor in held[len(held) - n :]:
            os.close(descriptor)
        del held[len(held) - n :]
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_free_descriptors_are_counted_and_given_back() -> None:
    with only(3):
        assert [n_free(2), n_free(3), n_free(100), n_free(100)] == [2, 3, 3, 3]


def test_an_error_is_known_by_what_it_came_from(tmp_path: Path) -> None:
    with only(0), pytest.raises(OSError, match="Too many open files") as caught:
        (tmp_path / "a").read_text()
    wrapped = ValueError("cannot do it")
    wrapped.__cause__ = caught.value
    assert ran_out(wrapped)
    assert not ran_out(ValueError()) and not ran_out(PermissionError(13, "no"))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert f"limit {limit}" in too_many() and "ulimit -n" in too_many()


def test_nothing_else_is_blamed_for_a_lack_of_descriptors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with only(0):
        try:
            try:
                (tmp_path / "background.npy").read_bytes()
            except OSError as error:
                raise BundleError("not a NumPy array; restore the bundle") from error
        except BundleError as error:
            cli._show(error)
    said = capsys.readouterr().err
    assert said.startswith("error: too many open files") and "restore" not in said
    assert ran_out(ImportError("libx.so: cannot open shared object file: Too many open files"))
    assert not ran_out(ImportError("no module named x"))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_database_that_cannot_be_opened_for_want_of_descriptors(tmp_path: Path, n: int) -> None:
    with contextlib.closing(Store.create(tmp_path / "index", FLAT)) as store:
        put(store, tmp_path, "a.wav")
        store.close()
        with only(n), pytest.raises(StoreError, match=r"too many open files.*ulimit -n"):
            put(store, tmp_path, "b.wav")
        put(store, tmp_path, "b.wav")


def test_a_lock_and_an_index_that_cannot_be_made_for_want_of_descriptors(
    tmp_path: Path, tiny: EncoderBundle
) -> None:
    store = Store.create(tmp_path / "index", FLAT)
    with only(0), pytest.raises(StoreError, match="too many open files"), store.writer():
        pass
    store.close()
    with only(0), pytest.raises(SoundsearchError, match="too many open files"):
        create_index(tmp_path / "other", tiny)


def test_a_folder_that_cannot_be_listed_for_want_of_descriptors_ends_the_scan(
    tmp_path: Path,
) -> None:
    write(tmp_path / "lib" / "a.wav", noise())
    with only(0), pytest.raises(SoundsearchError, match="too many open files"):
        scan(tmp_path / "lib")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    for i in range(20):
        write(folder / f"{i % 3}" / f"{i}.wav", noise(seed=i))
    return folder


def index(library: Path, n_descriptors: int, n_jobs: int) -> tuple[int, str]:
    """Exit code and stderr of an index run that may open so many files."""
    done = program.soundsearch(
        *("index", library, "-j", n_jobs, "--model", "tiny"),
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (n_descriptors, n_descriptors)
        ),
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.usefixtures("tiny")
def test_fewer_files_are_read_at_a_time_where_few_can_be_open(library: Path) -> None:
    code, errors = index(library, 20, n_jobs=16)
    assert code == 0, errors
    assert errors.startswith("20 new, ") and " 0 failed" in errors


@pytest.mark.usefixtures("tiny")
def test_too_few_descriptors_are_one_line_and_no_failed_files(library: Path) -> None:
    assert index(library, 64, n_jobs=1)[0] == 0
    write(library / "new.wav", noise(seed=100))
    code, errors = index(library, 8, n_jobs=4)
    assert code == 1
    assert "too many open files (limit 8)" in errors and "ulimit -n" in errors
    assert errors.count("\n") == 1
    code, errors = index(library, 64, n_jobs=1)
    assert (code, errors[:6]) == (0, "1 new,")
