"""Parts: written, read back, and refused where they are not whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.parts import PartFolder, Row, name_of
from indexer.reading import Decoded
from soundsearch.audio.peaks import Peaks
from soundsearch.errors import Cause, StoreError
from soundsearch.store import Failed, FileFacts, PinnedEncoder
from tests.filled_store import unit
from tests.storage import memory

ENCODER = PinnedEncoder("tiny", "1", "f" * 64, 4)
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
odd_names = st.binary(min_size=1, max_size=20).map(lambda b: b.decode("utf-8", "surrogateescape"))
texts = st.text(max_size=20)
numbers = st.integers(0, 2**63 - 1)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    file = FileFacts(
        0, draw(names | odd_names), draw(numbers), draw(numbers | numbers.map(int.__neg__))
    )
    root, captions = draw(names | odd_names), draw(st.dictionaries(texts, texts, max_size=2))
    kind = draw(st.sampled_from(["indexed", "failed", "unchanged"]))
    if kind == "failed":
        failed = Failed(file, draw(st.sampled_from(Cause)), "a reason", draw(st.booleans()))
        return Row(root, file, failed, captions=captions)
    if kind == "unchanged":
        return Row(root, file, Decoded(draw(st.binary()), unchanged=True), captions=captions)
    n = draw(st.integers(1, 3))
    embeddings = unit(np.random.default_rng(draw(st.integers(0, 99))).random((n, 4), np.float32))
    values = np.arange(2 * n, dtype=np.uint8).reshape(-1, 2)
    end = Decoded(
        draw(st.binary()),
        draw(st.floats(2, 1e6)),
        draw(st.integers(1, 10**6)),
        2,
        "WAV",
        draw(st.none() | texts),
        None,
        draw(st.dictionaries(texts, texts, max_size=2)),
        sound_hash=draw(st.binary()),
        peaks=draw(st.none() | st.just(Peaks(20.0, values))),
    )
    spans = [(i / 2, i / 2 + 1) for i in range(n)]
    half = embeddings.astype(np.float16).astype(np.float32)  # as an index has them
    return Row(root, file, end, spans, half, draw(st.booleans()), captions)


def facts_of(row: Row) -> tuple[object, ...]:
    end, embeddings = row.end, None if row.embeddings is None else row.embeddings.tobytes()
    peaks = None
    if isinstance(end, Decoded):
        peaks = None if end.peaks is None else (end.peaks.per_second, end.peaks.values.tobytes())
        end = Decoded(**{**vars(end), "peaks": None})
    return (
        row.root,
        row.file,
        end,
        peaks,
        list(row.spans),
        embeddings,
        row.is_missing,
        row.captions,
    )


@settings(max_examples=25)
@given(made=st.lists(rows(), max_size=4), where=st.sampled_from(["memory://parts", "local"]))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, made: list[Row], where: str
) -> None:
    memory().store.clear()
    local = where == "local"
    folder = PartFolder(str(tmp_path_factory.mktemp("p") / "new") if local else where)
    assert folder.names() == []
    name = name_of("f", [(row.root, row.file) for row in made])
    folder.write(name, ENCODER, made)
    assert folder.names() == [name] and folder.has(name)
    assert folder.encoder_of(name) == ENCODER
    assert folder.files_of(name) == (ENCODER, [(row.root, row.file) for row in made])
    part = folder.read(name)
    assert part.encoder == ENCODER
    assert list(map(facts_of, part.rows)) == list(map(facts_of, made))
    folder.delete(name)
    assert folder.names() == [] and not folder.has(name)
    with pytest.raises(StoreError, match="not there"):
        folder.read(name)


def test_the_name_tells_the_files_and_their_states() -> None:
    def named(encoder: str = "f", root: str = "/r", path: str = "a", state: int = 1) -> str:
        return name_of(encoder, [(root, FileFacts(7, path, 1, state))])

    others = [named("g"), named(root="/ra", path=""), named(path="b"), named(state=2)]
    assert len({named(), *others}) == 5
    assert named() == name_of("f", [("/r", FileFacts(8, "a", 1, 1))])


@pytest.fixture
def part(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    made = [
        Row(
            "/r",
            FileFacts(0, f"{i}.wav", 1, 1),
            Decoded(rng.bytes(16), 1.0, 8000, 1, "WAV"),
            [(0.0, 1.0)],
            unit(rng.random((1, 4), np.float32)),
        )
        for i in range(50)
    ]
    PartFolder(str(tmp_path)).write("part-a.parquet", ENCODER, made)
    return tmp_path / "part-a.parquet"


def test_a_part_that_is_cut_short_or_damaged_is_refused(part: Path) -> None:
    whole = part.read_bytes()
    folder = PartFolder(str(part.parent))
    for n_bytes in (0, 3, len(whole) // 3, len(whole) - 1):
        part.write_bytes(whole[:n_bytes])
        with pytest.raises(StoreError, match="no whole part") as caught:
            folder.read(part.name)
        assert str(part) in str(caught.value) and "delete" in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(StoreError, match="no whole part"):
            folder.encoder_of(part.name)
    n_found = 0
    for at in range(10, len(whole) - 10, 97):
        part.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            folder.read(part.name)
        except StoreError:
            n_found += 1
    part.write_bytes(whole[:200] + bytes(20) + whole[220:])
    with pytest.raises(StoreError):
        folder.read(part.name)
    assert n_found > 20


def test_rows_that_do_not_fit_what_a_part_declares_are_refused(part: Path) -> None:
    table = parquet.read_table(part)
    parquet.write_table(table.slice(0, 49), part)
    with pytest.raises(StoreError, match="49"):
        PartFolder(str(part.parent)).read(part.name)
    columns = table.to_pydict()
    columns["embeddings"][3] = columns["embeddings"][3][:-2]
    parquet.write_table(pyarrow.Table.from_pydict(columns, table.schema), part)
    with pytest.raises(StoreError, match="no whole part"):
        PartFolder(str(part.parent)).read(part.name)


ODD = [
    ("embeddings", np.array([3, 0, 0, 0], "<f2").tobytes()),
    ("embeddings", bytes(8)),
    ("embeddings", np.array([np.nan, 0, 0, 1], "<f2").tobytes()),
    ("start_s", [-1.0]),
    ("start_s", [float("nan")]),
    ("end_s", [0.0]),
    ("end_s", [2.0]),
]


@pytest.mark.parametrize(("column", "value"), ODD)
def test_rows_that_no_index_can_hold_are_refused(part: Path, column: str, value: object) -> None:
    table = parquet.read_table(part)
    columns = table.to_pydict()
    columns[column][3] = value
    parquet.write_table(pyarrow.Table.from_pydict(columns, table.schema), part)
    with pytest.raises(StoreError, match="no whole part"):
        PartFolder(str(part.parent)).read(part.name)


def test_other_parquet_files_and_formats_are_refused(part: Path) -> None:
    table = parquet.read_table(part)
    other = table.replace_schema_metadata({b"soundsearch": b'{"format": 99}'})
    parquet.write_table(other, part)
    with pytest.raises(StoreError, match="99"):
        PartFolder(str(part.parent)).read(part.name)
    parquet.write_table(table.replace_schema_metadata(None), part)
    with pytest.raises(StoreError, match="no part of an index"):
        PartFolder(str(part.parent)).encoder_of(part.name)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--parts"):
        PartFolder(str(tmp_path / "file" / "x")).write("part-a.parquet", ENCODER, [])
