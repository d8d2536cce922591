from __future__ import annotations

import csv
import io
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsearch import tables
from soundsearch.errors import BenchmarkError
from soundsearch.tables import Table, TableError


def written(folder: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path = folder / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def cells_of(path: Path) -> list[list[str]]:
    table = Table(path)
    return [table.columns, *([row[name] for name in table.columns] for row in table.rows())]


def refused(path: Path, *required: str) -> str:
    with pytest.raises(TableError) as caught:
        list(Table(path).rows(required))
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line and len(line) < 1000
    return line


anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(
    rows=st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(anything, min_size=n, max_size=n), min_size=1, max_size=6)
    ),
    delimiter=st.sampled_from(",;\t"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    ends=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_whatever_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    delimiter: str,
    encoding: str,
    ends: str,
) -> None:
    text = io.StringIO(newline="")
    if len(rows[0]) == 1:
        delimiter = ","  # nothing shows that it is another one
    names = [f"column {i}\n('{i}')" for i in range(len(rows[0]))]
    # Some versions of csv quote those line ends alone that they write themselves.
    quoting = csv.QUOTE_MINIMAL if ends == "\r\n" else csv.QUOTE_ALL
    writer = csv.writer(text, delimiter=delimiter, lineterminator=ends, quoting=quoting)
    writer.writerows([names, *rows])
    path = written(tmp_path_factory.mktemp("table"), text.getvalue(), encoding)
    assert cells_of(path) == [names, *rows]
    table = Table(path)
    offsets = [row.offset for row in table.rows()]
    again = [row.cells for row in table.rows_at(offsets[::-1])]
    assert again == [row.cells for row in table.rows()][::-1]


def test_a_row_knows_the_line_where_it_begins(tmp_path: Path) -> None:
    table = Table(written(tmp_path, 'a,b\n\n"1\n\n",2\r\n3,4\r\n'))
    assert [(row.line, row.cells) for row in table.rows()] == [
        (3, {"a": "1\n\n", "b": "2"}),
        (6, {"a": "3", "b": "4"}),
    ]


def test_columns_without_a_name_are_ignored(tmp_path: Path) -> None:
    assert cells_of(written(tmp_path, ", a ,,\n0,x,,\n")) == [["a"], ["x"]]


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (b"", ["empty", "column names"]),
        (b"\n\r\n", ["empty"]),
        (b"\xef\xbb\xbf", ["empty"]),
        (b"a,b\n", ["no rows"]),
        (b"b,c\n1,2\n", ["column a", "missing", "b, c"]),
        (b"a,b,a\n1,2,3\n", ["two columns", "a"]),
        (b"a,b\n1,2\n3\n", ["line 3", "1 cells", "expected 2", "a, b"]),
        (b"a,b\n1,2,3\n", ["line 2", "3 cells", "expected 2", "comma", "quotes"]),
        (b"a;b\n1;2;3\n", ["line 2", "semicolon"]),
        (b"a\tb\n1\t2\t3\n", ["line 2", "tab"]),
        (b"a,b\n1,2\n ,2\n", ["line 3", "a is empty"]),
        (b'a,b\n1,2\n"3,4\n5,6\n', ["line 3", "not CSV", "quote"]),
        (b'a,b\n1,"2"x\n', ["line 2", "not CSV"]),
        (b"a,b\n1,2\n\xe9,2\n", ["not UTF-8", "line 3", "0xe9", "save it as UTF-8"]),
        (b"\xff\xfea\x00,", ["not UTF-16", "save it as UTF-8"]),
        ("a,b\n1,2\n".encode("utf-16-le"), ["not UTF-8", "0x00", "save it as UTF-8"]),
        ("a,b\n1,2\n".encode("utf-32"), ["0x00", "save it as UTF-8"]),
        (b'"x\ny",' + b",".join(b"c%d" % i for i in range(5000)), ["column a", "x y", "more"]),
    ],
)
def test_a_bad_table_is_one_line(tmp_path: Path, content: bytes, facts: list[str]) -> None:
    line = refused(written(tmp_path, content), "a")
    assert [fact for fact in facts if fact not in line] == []


def test_a_table_that_cannot_be_opened(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "gone.csv")
    assert "a folder" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "a named pipe" in refused(tmp_path / "pipe")


def test_a_line_without_an_end_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROW_CHARS", 1000)
    path = written(tmp_path, "a,b\n1,2\n" + "x," * 5_000_000)
    tracemalloc.start()
    line = refused(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "line 3" in line and "1,000" in line
    assert most < 1_000_000


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n" + "one,two\n" * 200_000)
    tracemalloc.start()
    n_rows = sum(1 for _ in Table(path).rows())
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_rows == 200_000
    assert most < 500_000


def test_cells_that_may_be_blank_and_tables_without_rows(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n1,\n")
    assert [row.cells for row in Table(path).rows(["a", "b"], may_be_blank=["b"])] == [
        {"a": "1", "b": ""}
    ]
    assert list(Table(written(tmp_path, "a,b\n")).rows(may_have_none=True)) == []


def test_faults_are_of_the_kind_asked_for(tmp_path: Path) -> None:
    table = Table(written(tmp_path, "a\n1\n"), BenchmarkError)
    (row,) = table.rows()
    assert isinstance(table.fault(row, "no"), BenchmarkError)
    assert str(table.fault(row, "no")) == f"{tmp_path}/x.csv: line 2: no"
    with pytest.raises(BenchmarkError):
        table.require(["b"])


def test_names_of_files_that_are_not_utf_8(tmp_path: Path) -> None:
    path = written(tmp_path, b"a\n\xe9\n")
    (row,) = Table(path, undecodable="surrogateescape").rows()
    assert os.fsencode(row["a"]) == b"\xe9"
