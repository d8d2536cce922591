"""What many tests need: a tiny encoder, an index folder, the command, the real recordings."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from typer.testing import CliRunner, Result

from soundsearch.encoder.bundle import EncoderBundle
from tests.tiny_encoder import write_tiny_bundle

if TYPE_CHECKING:
    from tests.postgres import Server

if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are shared out already
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("default", deadline=None, max_examples=50)
# A change is judged by the same examples each time; looking for new ones is for people's machines.
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("SOUNDSEARCH_DATA", ROOT.parent / "shared" / "data"))
HAS_TORCH = importlib.util.find_spec("torch") is not None
OF_STORAGES = ("fetching", "ingest", "objects", "parts", "shards")
#: Search, indexing and benchmarks are tested without torch too: `make test-search`.
collect_ignore = [] if HAS_TORCH else ["trainer", "recipes"]
#: Those of storages and workers need the extras dask and test-scale.
HAS_WORKERS = all(map(importlib.util.find_spec, ("distributed", "fsspec", "moto", "pyarrow")))
if not HAS_WORKERS:
    collect_ignore += ["scale"]
    collect_ignore += [f"indexer/test_{name}.py" for name in OF_STORAGES]


def pytest_report_header() -> list[str]:
    left_out = {
        "torch is not installed: the tests of the trainer are left out": HAS_TORCH,
        "dask or moto is not installed: the tests of storages are left out": HAS_WORKERS,
    }
    return [line for line, is_there in left_out.items() if not is_there]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("data") and not (DATA / "sounds.csv").exists():
            item.add_marker(pytest.mark.skip(reason=f"no recordings at {DATA}"))
        if item.get_closest_marker("slow") and not os.environ.get("SOUNDSEARCH_SLOW"):
            item.add_marker(pytest.mark.skip(reason="set SOUNDSEARCH_SLOW=1 to run it"))


@pytest.fixture(autouse=True)
def no_progress_of_a_slow_machine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that take some seconds say how far they are; what is compared is the rest."""
    if request.path.name != "test_progress.py":
        monkeypatch.setattr("soundsearch.cli.progress.FIRST_LINE_S", 3600.0)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    return DATA


@pytest.fixture(scope="session")
def _tiny(tmp_path_factory: pytest.TempPathFactory) -> EncoderBundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def tiny(tmp_path: Path, _tiny: EncoderBundle) -> EncoderBundle:
    """A tiny encoder bundle of this test's own."""
    folder = tmp_path / "models" / "tiny"
    shutil.copytree(_tiny.folder, folder)
    return EncoderBundle.read(folder)


@pytest.fixture
def other(tmp_path: Path) -> EncoderBundle:
    """A second encoder: longer embeddings, longer windows, and each word means another band."""
    folder = tmp_path / "models" / "other"
    return write_tiny_bundle(folder, name="other", shift=1, dim=12, window_s=2)


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the person's own index or encoders, and relative paths lie in tmp_path."""
    monkeypatch.setenv("SOUNDSEARCH_INDEX", str(tmp_path / "index"))
    monkeypatch.setenv("SOUNDSEARCH_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("SOUNDSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server, on which tests make databases."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed: pip install 'soundsearch[postgres,test-scale]'")
    from tests.postgres import running_server

    with running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def each_database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Once as it is, and once with a database on a server in place of each index folder."""
    if request.param == "postgresql":
        request.getfixturevalue("postgres").replace_folders(monkeypatch)
    return str(request.param)


Run = Callable[..., Result]


@pytest.fixture
def soundsearch(tiny: EncoderBundle) -> Run:
    """The command line, in this process: `soundsearch("query", "hiss")`."""
    from soundsearch.cli import app

    runner = CliRunner()

    def run(*arguments: object, code: int = 0, stdin: str | None = None) -> Result:
        texts: Sequence[str] = [str(argument) for argument in arguments]
        if texts[0] == "index" and "--model" not in texts:
            texts = [*texts, "--model", "tiny"]
        result = runner.invoke(app, texts, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, f"{texts}: {result.exit_code}\n{result.output}"
        return result

    return run
