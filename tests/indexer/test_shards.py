"""Shards: cut, run by whatever, lost and found again."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer import distribute, shards, workers
from indexer.distribute import End, Sequential, distributor_of
from indexer.index_options import IndexOptions
from indexer.index_run import IndexRun
from indexer.parts import Part, PartFolder
from indexer.report import FileProgress
from indexer.shards import Job, Shard, ShardFile, cut_shards, embed
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import BundleError, IndexBusyError, SoundsearchError, StoreError
from soundsearch.store import FileFacts, Store
from tests.conftest import Run
from tests.index_contents import rows_of, sounds_of
from tests.recorded import Recorded
from tests.sounds import tone, write
from tests.tiny_encoder import write_words

JOB = Job("/parts", "/bundle", "f" * 64)


def file_of(name: str, size: int = 1) -> ShardFile:
    return ShardFile("/r", FileFacts(0, name, size, 0))


@given(
    sizes=st.lists(st.integers(0, 100), max_size=40),
    most_files=st.integers(1, 10),
    most_bytes=st.integers(1, 200),
)
def test_shards_hold_all_files_once(sizes: list[int], most_files: int, most_bytes: int) -> None:
    files = [file_of(str(i), size) for i, size in enumerate(sizes)]
    cut = list(cut_shards(JOB, files, most_files=most_files, most_bytes=most_bytes))
    assert [file for shard in cut for file in shard.files] == files
    for shard in cut:
        assert 1 <= len(shard.files) <= most_files
        assert shard.n_bytes <= most_bytes or len(shard.files) == 1
        for n in (1, 2, 8):
            pieces = shard.split(n)
            assert [file for piece in pieces for file in piece.files] == list(shard.files)
            assert len(pieces) <= n


class Dies:
    """A `Distributor` whose processes die of some files, and take with them what runs beside."""

    def __init__(self, n_slots: int, poison: set[str], *, shared: bool) -> None:
        self.n_slots, self.poison, self.shared = n_slots, poison, shared
        self.running: list[Shard] = []
        self.n_deaths = 0
        self.closed = False

    def start(self, shard: Shard) -> None:
        assert len(self.running) < self.n_slots
        self.running.append(shard)

    def finished(self) -> list[tuple[Shard, End]]:
        first = self.running[0]
        if {file.facts.relative_path for file in first.files} & self.poison:
            self.n_deaths += 1
            ended = self.running if self.shared else [first]
            self.running = [] if self.shared else self.running[1:]
            return [(shard, RuntimeError("killed")) for shard in ended]
        self.running = self.running[1:]
        return [(first, first.name)]

    def close(self) -> None:
        self.closed = True


@given(
    n_files=st.integers(0, 60),
    poison=st.sets(st.integers(0, 59), max_size=5),
    n_slots=st.integers(1, 4),
    shared=st.booleans(),
)
def test_a_file_that_kills_costs_itself_alone(
    n_files: int, poison: set[int], n_slots: int, shared: bool
) -> None:
    """Also where it takes with it what runs beside it, whose fault it is not."""
    files = [file_of(str(i)) for i in range(n_files)]
    dies = Dies(n_slots, {str(i) for i in poison}, shared=shared)
    done: list[str] = []
    lost: list[str] = []
    for shard, name, why in distribute.distribute(cut_shards(JOB, files, most_files=20), dies):
        names = [file.facts.relative_path for file in shard.files]
        (lost if name is None else done).extend(names)
        assert (name is None) == bool(why)
    assert sorted(lost) == sorted(str(i) for i in poison if i < n_files)
    assert sorted(done + lost) == sorted(map(str, range(n_files)))
    assert dies.closed


def test_what_is_no_fault_of_a_file_ends_the_run() -> None:
    def full(shard: Shard) -> str:
        raise StoreError("the disk is full")

    with pytest.raises(StoreError, match="full"):
        list(distribute.distribute(cut_shards(JOB, [file_of("a")]), Sequential(full)))


@pytest.mark.parametrize("workers", ["0", "-1", "many", "http://x", "²", "1.5", ""])
def test_odd_workers_are_refused(workers: str) -> None:
    with pytest.raises(SoundsearchError, match="--workers"):
        distributor_of(workers)


def test_no_scheduler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribute, "PATIENCE_S", 0.2)
    with pytest.raises(SoundsearchError, match=r"tcp://127\.0\.0\.1:1: .*dask scheduler") as caught:
        distributor_of("dask://127.0.0.1:1")
    assert "\n" not in str(caught.value)


# ---- with a real encoder


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return write_words(tmp_path / "lib")


@pytest.fixture
def in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are this process, and shards are small."""
    monkeypatch.setattr(workers, "distributor_of", lambda *_: Sequential())
    cut = cut_shards
    monkeypatch.setattr(
        workers, "cut_shards", lambda job, files, **_: cut(job, files, most_files=3)
    )


def test_a_shard_becomes_a_part_and_stays(
    tmp_path: Path, tiny: EncoderBundle, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(str(tmp_path / "parts"), str(tiny.folder), tiny.fingerprint)
    facts = [FileFacts(0, f"{name}.wav", 1, 1) for name in ("hiss", "text", "gone")]
    (shard,) = cut_shards(job, [ShardFile(str(library), one) for one in facts])
    assert embed(shard) == shard.name
    rows = {row.file.relative_path: row for row in PartFolder(job.parts).read(shard.name).rows}
    assert len(rows["hiss.wav"].spans) == 2
    causes = {name: getattr(row.end, "cause", None) for name, row in rows.items()}
    assert causes == {"hiss.wav": None, "text.wav": "not audio", "gone.wav": "vanished"}
    path = tmp_path / "parts" / shard.name
    (tmp_path / "parts" / shard.name).write_bytes(path.read_bytes()[:100])
    write(library / "gone.wav", tone(100))
    assert embed(shard) == shard.name  # not whole: made again
    assert not any(row.end == "vanished" for row in PartFolder(job.parts).read(shard.name).rows)
    monkeypatch.setattr(shards, "embed_files", None)
    assert embed(shard) == shard.name  # whole: stays


def test_a_worker_without_the_encoder_or_of_another_version_says_so(
    tmp_path: Path, tiny: EncoderBundle
) -> None:
    (shard,) = cut_shards(Job(str(tmp_path / "p"), "/nowhere", "0" * 64), [file_of("a")])
    with pytest.raises(BundleError, match="/nowhere"):
        embed(shard)
    (shard,) = cut_shards(Job(str(tmp_path), "/nowhere", "0" * 64, version="0.0.1"), [file_of("a")])
    with pytest.raises(SoundsearchError, match=r"0\.0\.1"):
        embed(shard)
    # Elsewhere: found among those of the worker, which are in models/ here.
    job = Job(str(tmp_path / "p"), "/nowhere", tiny.fingerprint)
    (shard,) = cut_shards(job, [ShardFile("/r", FileFacts(0, "a", 1, 1))])
    assert embed(shard) == shard.name


@pytest.mark.usefixtures("in_line")
def test_workers_make_the_same_index(soundsearch: Run, tmp_path: Path, library: Path) -> None:
    soundsearch("index", library, "--index", "A")
    summary = soundsearch("index", library, "--index", "B", "--workers", 2).stderr
    assert "8 new" in summary and "failed by cause: not audio 1" in summary
    assert sounds_of(tmp_path / "A") == sounds_of(tmp_path / "B")
    assert not list((tmp_path / "B" / "parts").iterdir())
    assert ", 8 unchanged" in soundsearch("index", "--index", "B", "--workers", 2).stderr
    (library / "hum.wav").rename(library / "renamed.wav")
    write(library / "hiss.wav", tone(100, 3))
    (library / "beep.wav").touch()
    again = soundsearch("index", "--index", "B", "--workers", 2).stderr.splitlines()[-2]
    assert again.startswith("0 new, 1 changed, 1 moved, 6 unchanged, 0 removed, 0 failed")
    forced = soundsearch("index", "--index", "B", "--workers", 2, "--force").stderr
    assert ", 8 read again" in forced
    soundsearch("verify", "--index", "B")


@pytest.mark.usefixtures("in_line")
def test_a_run_that_was_killed_is_gone_on_with(
    soundsearch: Run, tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it was killed: parts that were written are stored, and no shard is embedded twice."""
    embedded: list[str] = []
    do, store = embed, workers._Taker.take

    def counted(shard: Shard) -> str:
        embedded.extend(file.facts.relative_path for file in shard.files)
        return do(shard)

    def killed(self: object, rows: Sequence[object]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "distributor_of", lambda *_: Sequential(counted))
    with monkeypatch.context() as patched:
        patched.setattr(workers._Taker, "take", killed)
        soundsearch("index", library, "--workers", 2, code=130)
    assert len(embedded) == 3 and not rows_of(tmp_path / "index")
    assert len(list((tmp_path / "index" / "parts").iterdir())) == 1
    broken = tmp_path / "index" / "parts" / "part-x.parquet"
    broken.write_bytes(b"half of one")
    assert store is workers._Taker.take
    result = soundsearch("index", library, "--workers", 2)
    assert "8 new" in result.stderr and str(broken) in result.stderr
    assert len(embedded) == len(set(embedded)) == 9
    assert len(sounds_of(tmp_path / "index")) == 8


@pytest.mark.usefixtures("in_line")
def test_kept_parts_are_of_use_to_another_index(
    soundsearch: Run, tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundsearch("index", library, "--index", "A", "--workers", 2, "--parts", "memory://parts")
    monkeypatch.setattr(workers, "distributor_of", lambda *_: Sequential(lambda shard: 1 / 0))
    result = soundsearch(
        "index", library, "--index", "B", "--workers", 2, "--parts", "memory://parts"
    )
    assert "8 new" in result.stderr
    assert sounds_of(tmp_path / "A") == sounds_of(tmp_path / "B")
    assert len(PartFolder("memory://parts").names()) == 3


@pytest.mark.usefixtures("in_line")
def test_a_part_of_what_another_index_knows_is_made_again(
    soundsearch: Run, tmp_path: Path, library: Path
) -> None:
    """It says no more than that a file is unchanged, which is of no use to the second index."""
    of_a, of_b = ((library, "--index", x, "--workers", 2, "--parts", "P") for x in "AB")
    soundsearch("index", *of_a)
    (library / "hum.wav").touch()
    assert ", 8 unchanged" in soundsearch("index", *of_a).stderr
    assert "8 new" in soundsearch("index", *of_b).stderr
    assert sounds_of(tmp_path / "A") == sounds_of(tmp_path / "B")
    assert library / "hum.wav" in sounds_of(tmp_path / "B")


@pytest.mark.usefixtures("in_line")
def test_a_file_that_its_part_lacks_is_a_failure(
    soundsearch: Run, tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(shard: Shard) -> str:
        name = embed(shard)
        folder = PartFolder(shard.job.parts)
        folder.write(name, folder.read(name).encoder, [])
        return name

    with monkeypatch.context() as patched:
        patched.setattr(workers, "distributor_of", lambda *_: Sequential(empty))
        result = soundsearch("index", library, "--workers", 2).stderr
    assert "0 new" in result and "9 failed" in result and str(library / "hum.wav") in result
    assert {row.cause for row in rows_of(tmp_path / "index").values()} == {"not handled"}
    assert "8 new" in soundsearch("index", library, "--workers", 2).stderr


@pytest.mark.usefixtures("in_line")
def test_only_parts_that_hold_something_wanted_are_read(
    soundsearch: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, files_of = PartFolder.read, PartFolder.files_of
    seen: list[tuple[str, str]] = []

    def counted_read(self: PartFolder, name: str) -> Part:
        seen.append(("read", name))
        return read(self, name)

    def counted_files(self: PartFolder, name: str) -> object:
        seen.append(("files", name))
        return files_of(self, name)

    command = ("index", library, "--workers", 2, "--parts", "memory://kept")
    soundsearch(*command)
    monkeypatch.setattr(PartFolder, "read", counted_read)
    monkeypatch.setattr(PartFolder, "files_of", counted_files)
    assert ", 8 unchanged" in soundsearch(*command).stderr
    assert seen == []
    write(library / "new.wav", tone(100))
    before = set(PartFolder("memory://kept").names())
    assert "1 new" in soundsearch(*command).stderr
    (made,) = set(PartFolder("memory://kept").names()) - before
    assert seen == [*(("files", name) for name in sorted(before)), ("read", made)]
    seen.clear()  # another index takes all, and then stops looking
    folder = PartFolder("memory://kept")
    folder.write("part-z.parquet", read(folder, made).encoder, [])
    soundsearch(*command, "--index", "B")
    assert not [name for _, name in seen if name == "part-z.parquet"]


@pytest.mark.usefixtures("in_line")
def test_files_are_read_again_on_demand_whatever_parts_say(
    soundsearch: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[str] = []

    def counted(shard: Shard) -> str:
        embedded.extend(file.facts.relative_path for file in shard.files)
        return embed(shard)

    command = ("index", library, "--workers", 2, "--parts", "P")
    soundsearch(*command)
    monkeypatch.setattr(workers, "distributor_of", lambda *_: Sequential(counted))
    assert ", 8 read again" in soundsearch(*command, "--force").stderr
    assert len(embedded) == 9
    embedded.clear()
    soundsearch(*command, "--retry")
    assert embedded == ["text.wav"]


@pytest.mark.usefixtures("in_line")
def test_failures_that_may_pass_are_read_again_whatever_parts_say(
    soundsearch: Run, tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("indexer.fetching.hash_of", denied)
        soundsearch("index", library, "--workers", 2, "--parts", "P")
    assert {row.cause for row in rows_of(tmp_path / "index").values()} == {"not permitted"}
    assert "8 new" in soundsearch("index", library, "--workers", 2, "--parts", "P").stderr


def test_two_clients_of_one_index_are_refused(
    soundsearch: Run, tmp_path: Path, library: Path, tiny: EncoderBundle
) -> None:
    soundsearch("index", library)
    write(library / "new.wav", tone(100))
    with Store.open(tmp_path / "index").writer(), pytest.raises(IndexBusyError):
        Store.open(tmp_path / "index").writer()
    with Store.open(tmp_path / "index").writer():
        error = soundsearch("index", library, "--workers", 2, code=1).stderr
    assert str(tmp_path / "index") in error and "\n" not in error.strip()


def test_the_time_left_is_that_of_the_bytes_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Recorded()
    reported = FileProgress(progress, with_time_left=True)
    reported.begin(3, 5000)
    reported.file_done(Path("empty.wav"))
    assert "left" not in progress.stage("files").statuses[-1]  # nobody knows yet
    now += 1
    reported.read(1000)  # of an earlier run, whose part was there
    reported.embedded(3600)
    reported.begin_anew()
    now += 10
    reported.read(1000)
    reported.embedded(50)
    status = progress.stage("files").statuses[-1]
    assert "about 30 s left" in status and "50 s of sound, 5 x" in status
    now += 30
    reported.read(3000)
    reported.embedded(1)
    assert "about 0 s left" in progress.stage("files").statuses[-1]


@pytest.mark.usefixtures("in_line", "tiny")
def test_workers_report_all_files_and_the_time_left(tmp_path: Path, library: Path) -> None:
    progress = Recorded()
    with IndexRun(tmp_path / "index", [library], "tiny") as run:
        run.run(IndexOptions(workers="2"), progress=progress)
    stage = progress.stage("files")
    assert (stage.total, stage.done) == (9, 9)
    assert sum(stage.bytes_read) == stage.n_bytes
    assert re.search(
        r"12 s of sound, \d+ x real time, 1 failed, about 0 s left", stage.statuses[-1]
    )


def test_parts_without_workers_are_a_mistake(soundsearch: Run) -> None:
    assert "--workers" in soundsearch("index", ".", "--parts", "P", code=2).stderr
