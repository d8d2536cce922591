"""Recordings in S3, on a real server and on a Dask cluster."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pytest
import s3fs

from indexer.parts import PartFolder, Row
from indexer.reading import Decoded
from soundsearch.paths import DatabaseUrl
from soundsearch.store import FileFacts, PinnedEncoder, Store
from tests.conftest import Run
from tests.filled_store import unit
from tests.index_contents import rows_of, sounds_of
from tests.sounds import tone, write
from tests.storage import tar
from tests.tiny_encoder import BAND_HZ, WORDS

if TYPE_CHECKING:
    from tests.postgres import Server

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries of storages and clusters
NAMES = ["a b", "c#d", "e?f=g", "h%20i", "ä ö", "j+k&l", "m[n]*", "o'p\"q"]


@pytest.fixture
def library(tmp_path: Path, s3: Any) -> Path:
    for name, word, hz in zip(NAMES, WORDS, BAND_HZ, strict=True):
        path = write(tmp_path / "lib" / name / f"{word} {name}.wav", tone(hz, 1.5))
        s3.pipe_file(f"box/lib/{path.relative_to(tmp_path / 'lib')}", path.read_bytes())
    s3.pipe_file("box/lib/empty.wav", b"")
    return tmp_path / "lib"


def by_name(index: Path, root: str) -> dict[str, object]:
    return {str(path).removeprefix(root): sound for path, sound in sounds_of(index).items()}


def test_odd_names_and_changes(soundsearch: Run, tmp_path: Path, s3: Any, library: Path) -> None:
    soundsearch("index", library, "--index", "A")
    summary = soundsearch("index", "s3://box/lib").stderr.splitlines()
    assert summary[-1].startswith("8 new") and "empty.wav" in summary[0]
    assert by_name(tmp_path / "A", str(library)) == by_name(tmp_path / "index", "s3://box/lib")
    assert ", 8 unchanged, 0 removed" in soundsearch("index").stderr
    one = f"box/lib/{NAMES[1]}/hum {NAMES[1]}.wav"
    size = s3.info(one)["size"]
    s3.pipe_file(one, (library / NAMES[1] / f"hum {NAMES[1]}.wav").read_bytes()[:-2] + b"xy")
    assert s3.info(one)["size"] == size  # and perhaps within the same second
    s3.rm_file(f"box/lib/{NAMES[0]}/rumble {NAMES[0]}.wav")
    assert "0 new, 1 changed, 0 moved, 6 unchanged, 1 removed" in soundsearch("index").stderr


def test_tar_members_and_large_objects(
    soundsearch: Run, tmp_path: Path, s3: Any, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of objects are fetched, by the arguments that this file system has."""
    sounds = {str(path.relative_to(library)): path.read_bytes() for path in library.rglob("*.wav")}
    s3.rm("box/lib", recursive=True)
    s3.pipe_file("box/lib/x.tar", tar(sounds))
    s3.pipe_file("box/lib/code.ts", b"export const a = 1;")
    soundsearch("index", library, "--index", "A")
    soundsearch("index", "s3://box/lib", "--index", "B")
    monkeypatch.setattr("indexer.fetching.MOST_IN_MEMORY", 0)
    soundsearch("index", "s3://box/lib", "--index", "C")
    for name in ("B", "C"):
        found = by_name(tmp_path / name, "s3://box/lib/x.tar!")
        assert found == by_name(tmp_path / "A", str(library))


def test_to_look_at_a_part_is_not_to_download_it(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    made = [
        Row(
            "s3://box/lib",
            FileFacts(0, f"{i}.wav", 1, 1),
            Decoded(rng.bytes(16), 50.0, 8000, 1, "WAV"),
            [(float(j), j + 1.0) for j in range(50)],
            unit(rng.normal(size=(50, 256))),
        )
        for i in range(100)
    ]
    folder = PartFolder("s3://box/parts")
    folder.write("part-a.parquet", PinnedEncoder("tiny", "1", "f" * 64, 256), made)
    assert s3.info("box/parts/part-a.parquet")["size"] > 2_000_000
    n_bytes = 0
    fetch = s3fs.core.S3File._fetch_range

    def counted(self: Any, start: int, end: int) -> bytes:
        nonlocal n_bytes
        content: bytes = fetch(self, start, end)
        n_bytes += len(content)
        return content

    monkeypatch.setattr(s3fs.core.S3File, "_fetch_range", counted)
    assert folder.files_of("part-a.parquet")[1] == [(row.root, row.file) for row in made]
    assert 0 < n_bytes < 500_000


@pytest.mark.parametrize(
    "command",
    [
        ("index", "s3://box/lib"),
        ("index", "here", "--workers", "1", "--parts", "s3://box/lib"),
        ("ingest", "s3://box/lib"),
    ],
)
def test_no_credentials_is_one_line(
    soundsearch: Run,
    tmp_path: Path,
    s3: Any,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    write(tmp_path / "here" / "hum.wav", tone(100))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    error = soundsearch(*command, code=1).stderr.strip()
    assert "s3://box/lib" in error and "AWS_ACCESS_KEY_ID" in error and "\n" not in error
    assert not (tmp_path / "index").exists() or not rows_of(tmp_path / "index")


@pytest.fixture
def cluster() -> Iterator[Any]:
    import dask
    from distributed import LocalCluster

    dask.config.set(
        {"distributed.scheduler.allowed-failures": 0}
    )  # by default 3, which takes longer
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as made:
        yield made


def hits(soundsearch: Run, text: str, index: object, root: str) -> list[tuple[object, ...]]:
    answer = json.loads(soundsearch("query", text, "-k", 20, "--index", index, "--json").stdout)
    return [
        (hit["path"].removeprefix(root), hit["start_s"], hit["end_s"], round(hit["cosine"], 5))
        for hit in answer["hits"]
    ]


def test_a_dask_cluster_that_loses_a_worker_fills_a_database_with_the_same_hits(
    soundsearch: Run,
    s3: Any,
    library: Path,
    cluster: Any,
    postgres: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As examples/archive.py has it: S3, workers of which some are killed, PostgreSQL."""
    from indexer import distribute, workers
    from tests.scale.workers import embed_or_die

    s3.pipe_file("box/lib/poison.wav", (library / NAMES[0] / f"rumble {NAMES[0]}.wav").read_bytes())
    soundsearch("index", library, "--index", "A")
    cut = workers.cut_shards
    monkeypatch.setattr(
        workers, "cut_shards", lambda job, files, **_: cut(job, files, most_files=2)
    )
    monkeypatch.setattr(
        workers,
        "distributor_of",
        lambda address, progress: distribute.Dask(address, progress, embed_or_die),
    )
    address, place = cluster.scheduler_address, postgres.new_place()
    command = ("index", "s3://box/lib", "--index", place, "--workers", address)
    result = soundsearch(*command, "--parts", "s3://box/parts")
    assert "8 new" in result.stderr and "ends its process 1" in result.stderr
    for word in WORDS:
        found = hits(soundsearch, word, place, "s3://box/lib")
        assert len(found) == 8 and found == hits(soundsearch, word, "A", str(library))
    with contextlib.closing(Store.open(DatabaseUrl(place))) as store, store.snapshot() as reader:
        causes = {r.relative_path: r.cause for r in reader.recordings() if r.cause}
    assert causes == {"empty.wav": "empty file", "poison.wav": "ends its process"}
