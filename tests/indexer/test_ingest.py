"""Parts into indexes, and out of them."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer import ingest as module
from indexer.ingest import export, ingest
from indexer.parts import PartFolder, Row
from indexer.reading import Decoded
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import Cause, IndexMismatchError, StoreError
from soundsearch.store import Failed, FileFacts, PinnedEncoder, State, Store
from tests.conftest import Run
from tests.index_contents import rows_of, sounds_of
from tests.recorded import Recorded
from tests.sounds import tone, write
from tests.tiny_encoder import write_words


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return write_words(tmp_path / "lib")


@pytest.fixture
def index(soundsearch: Run, library: Path, tmp_path: Path) -> Path:
    (tmp_path / "captions.csv").write_text("file,text\nhum.wav,a fridge at night\n")
    soundsearch("index", library, "--captions", tmp_path / "captions.csv")
    (library / "hiss.wav").unlink()
    soundsearch("index", library)
    return tmp_path / "index"


def all_of(folder: Path) -> list[object]:
    """All that an index says of its recordings, but ids and when they were stored."""
    with Store.open(folder).snapshot() as reader:
        facts = [vars(reader.facts(recording)) for recording in reader.recordings()]
        peaks = [reader.peaks(one["recording_id"]) for one in facts]
    outlines = [None if p is None else (p.per_second, p.values.tobytes()) for p in peaks]
    for one in facts:
        del one["recording_id"], one["indexed_at"]
    return sorted(zip(facts, outlines, strict=True), key=lambda pair: str(pair[0]["path"]))


def test_an_index_travels_as_parts(soundsearch: Run, tmp_path: Path, index: Path) -> None:
    soundsearch("export-parts", "P")
    summary = soundsearch("ingest", "P", "--index", "B").stderr
    assert "parts: 1; recordings: 9 new, 0 replaced, 0 known, 1 failed" in summary
    assert all_of(tmp_path / "B") == all_of(index)
    assert sounds_of(tmp_path / "B") == sounds_of(index)
    assert {row.state for row in rows_of(tmp_path / "B").values()} == {
        *("indexed", "missing", "failed")
    }
    found = [
        json.loads(soundsearch("query", "fridge", "--json", "--index", name).stdout)["hits"]
        for name in ("index", "B")
    ]
    for hit in (*found[0], *found[1]):
        del hit["recording_id"]
    assert found[0] == found[1]
    assert soundsearch("verify", "--index", "B").exit_code in (0, 1)
    facts = json.loads(soundsearch("ingest", "P", "--index", "B", "--json").stdout)
    assert (facts["new"], facts["replaced"], facts["known"]) == (0, 0, 9)


def test_an_export_holds_one_part_at_a_time(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of bounded size, whether by recordings or by windows; what is not embedded is counted."""
    read: list[Row] = []
    written: list[tuple[int, int, int]] = []
    exported, write_part = module._exported, PartFolder.write

    def counted(*arguments: object) -> Row:
        read.append(exported(*arguments))  # type: ignore[arg-type]
        return read[-1]

    def measured(self: PartFolder, name: str, encoder: PinnedEncoder, rows: list[Row]) -> None:
        written.append((len(read), len(rows), sum(len(row.spans) for row in rows)))
        write_part(self, name, encoder, rows)

    monkeypatch.setattr(module, "_exported", counted)
    monkeypatch.setattr(PartFolder, "write", measured)
    monkeypatch.setattr(module, "EXPORTED_RECORDINGS", 4)
    with Store.open(index).writer() as writer, writer.transaction() as changes:
        (first, *_) = (r for r in changes.recordings() if r.state is State.INDEXED)
        changes.mark_not_embedded([first.id], "away")
    progress = Recorded()
    assert export(index, str(tmp_path / "P"), progress=progress) == (8, 1)
    assert [n for n, _, _ in written] == [4, 8] and progress.stage("recordings").done == 8
    written.clear()
    read.clear()
    monkeypatch.setattr(module, "EXPORTED_WINDOWS", 5)
    export(index, str(tmp_path / "Q"))
    assert all(n_windows - len(read[n - 1].spans) < 5 for n, _, n_windows in written)
    assert sum(n for _, n, _ in written) == 8 and len(written) > 2
    ingest(str(tmp_path / "Q"), tmp_path / "B", "tiny")
    assert len(rows_of(tmp_path / "B")) == 8


def test_parts_into_a_wider_root(soundsearch: Run, tmp_path: Path, index: Path) -> None:
    soundsearch("export-parts", "P")
    write(tmp_path / "other.wav", tone(100))
    soundsearch("index", tmp_path, "--index", "B", "--exclude", "lib")
    soundsearch("ingest", "P", "--index", "B")
    assert soundsearch("roots", "--index", "B").stdout.strip().endswith(str(tmp_path))
    assert sounds_of(index).items() <= sounds_of(tmp_path / "B").items()


#: Dates in ns: long before 1970, before now, and in the far future.
FAR = (-(2**63), 10**18, 2**63 - 2)


def row(state: int, value: float, *, fails: bool = False) -> Row:
    file = FileFacts(0, "a.wav", 1, state)
    if fails:
        return Row("s3://b/lib", file, Failed(file, Cause.NOT_AUDIO, f"at {value}"))
    embedding = np.eye(8, dtype=np.float32)[[int(value)]]
    end = Decoded(bytes([int(value)]) * 16, 1.0, 8000, 1, "WAV", sound_hash=b"s" * 16)
    return Row("s3://b/lib", file, end, [(0.0, 1.0)], embedding)


@pytest.mark.parametrize(
    ("seed", "skew"), [*((seed, (1, 2, 3)) for seed in range(4)), (4, (-9, -1, 0)), (5, FAR)]
)
def test_the_order_of_parts_makes_no_difference(
    tmp_path: Path, tiny: EncoderBundle, seed: int, skew: tuple[int, int, int]
) -> None:
    """Neither which comes first, nor that some come twice; the last state of a file counts."""
    rng = random.Random(seed)
    early, now, late = skew
    rows = [row(early, 1), row(now, 2), row(late, 3), row(late + 1, 4, fails=True)]
    rows += [row(early, 1), row(late, 3)]
    rng.shuffle(rows)
    encoder = PinnedEncoder.of(tiny)
    for i, one in enumerate(rows):
        PartFolder(str(tmp_path / f"P{i}")).write("part-x.parquet", encoder, [one])
        ingest(str(tmp_path / f"P{i}"), tmp_path / "B", "tiny")
    PartFolder(str(tmp_path / "all")).write("part-x.parquet", encoder, rows)
    ingest(str(tmp_path / "all"), tmp_path / "C", "tiny")
    expected = np.eye(8, dtype="<f2")[3].tobytes()
    for name in ("B", "C"):
        ((path, stored),) = rows_of(tmp_path / name).items()
        assert str(path) == "s3://b/lib/a.wav"
        assert stored.embeddings == (expected,)


def test_another_encoder_is_refused_and_nothing_written(
    soundsearch: Run, tmp_path: Path, index: Path, other: EncoderBundle
) -> None:
    soundsearch("export-parts", "P")
    soundsearch("index", tmp_path / "lib", "--index", "B", "--model", "other")
    before = rows_of(tmp_path / "B")
    error = soundsearch("ingest", "P", "--index", "B", code=1).stderr.strip()
    assert "tiny" in error and "other" in error and "\n" not in error
    assert rows_of(tmp_path / "B") == before
    soundsearch("export-parts", "P", "--index", "B")
    with pytest.raises(IndexMismatchError, match="of one encoder"):
        ingest(str(tmp_path / "P"), tmp_path / "C")
    assert not (tmp_path / "C").exists()


def test_a_part_that_is_cut_short_is_one_line_and_nothing_is_written(
    soundsearch: Run, tmp_path: Path, index: Path
) -> None:
    soundsearch("export-parts", "P")
    (part,) = (tmp_path / "P").iterdir()
    whole = part.read_bytes()
    part.with_name("part-z.parquet").write_bytes(whole[:-9])
    error = soundsearch("ingest", "P", "--index", "B", code=1).stderr.strip()
    assert "part-z.parquet" in error and "delete" in error and "\n" not in error
    assert not (tmp_path / "B").exists()


def test_a_part_that_would_break_the_index_is_one_line(
    soundsearch: Run, tmp_path: Path, index: Path, tiny: EncoderBundle
) -> None:
    """Whichever part it is: an index that is there goes on answering."""
    before = rows_of(index)
    folder = PartFolder(str(tmp_path / "P"))
    for name, length in (("part-a.parquet", 1), ("part-b.parquet", 3)):
        one = row(1, length)
        assert one.embeddings is not None
        folder.write(
            name, PinnedEncoder.of(tiny), [replace(one, embeddings=one.embeddings * length)]
        )
    error = soundsearch("ingest", "P", code=1).stderr.strip().splitlines()
    assert len(error) == 1 and "part-b.parquet" in error[0] and "unit" in error[0]
    soundsearch("query", "hum")
    assert before.items() <= rows_of(index).items()


def test_no_parts_and_no_encoder(tmp_path: Path, index: Path, tiny: EncoderBundle) -> None:
    with pytest.raises(StoreError, match="no parts"):
        ingest(str(tmp_path / "nowhere"), tmp_path / "B")
    export(index, str(tmp_path / "P"))
    tiny.folder.rename(tmp_path / "away")
    with pytest.raises(Exception, match="--model"):
        ingest(str(tmp_path / "P"), tmp_path / "B")
    assert ingest(str(tmp_path / "P"), tmp_path / "B", str(tmp_path / "away")).n_new == 9
