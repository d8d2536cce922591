"""Read tables from CSV files: one reader, one set of messages.

A table is a text file whose first row names its columns. It is UTF-8, with or without a byte order
mark, or UTF-16 with one. Its columns are separated by commas, semicolons or tabs, whichever gives
the most column names; cells may stand in quotes and then hold line ends. Rows are read one by one,
so that memory does not grow with the file.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import re
import textwrap
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from soundsearch.errors import SoundsearchError
from soundsearch.files import open_regular

DELIMITERS = (",", ";", "\t")
#: A longer row is refused: a quote was left open, or the file is no table.
ROW_CHARS = 1 << 22
#: Column names that a message lists, and characters of each.
N_LISTED, LISTED_CHARS = 12, 40
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Bytes that are not UTF-8, as the handler "surrogateescape" gives them.
_ESCAPED = re.compile("[\udc80-\udcff]")


class TableError(SoundsearchError):
    """A table that cannot be read, or does not hold what it should."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    line: where it begins in the file, from 1. offset: the same in bytes. cells: what stands in
    each column that has a name.
    """

    line: int
    offset: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


class _TextFile:
    """A text file and its encoding. start: where its text begins, in bytes."""

    def __init__(
        self,
        path: Path,
        error: type[SoundsearchError],
        undecodable: Literal["strict", "surrogateescape"] = "strict",
    ) -> None:
        self.path, self._error, self._undecodable = path, error, undecodable
        self.start, self.encoding = self._find_encoding()

    def fault(self, text: str) -> SoundsearchError:
        """The error for something wrong in the file."""
        return self._error(f"{self.path}: {text}")

    def _find_encoding(self) -> tuple[int, str]:
        """Where the text begins, in bytes, and its encoding."""
        with self._translated(), open_regular(self.path) as file:
            begin = file.read(3)
        for mark, encoding in BYTE_ORDER_MARKS:
            if begin.startswith(mark):
                return len(mark), encoding
        return 0, "utf-8"

    @contextlib.contextmanager
    def open(self, offset: int) -> Iterator[TextIO]:
        """The text from an offset in bytes on."""
        with self._translated(), open_regular(self.path) as file:
            file.seek(offset)
            errors = "surrogateescape" if self.encoding == "utf-8" else "strict"
            yield io.TextIOWrapper(file, self.encoding, errors, newline="")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Faults of the system and of the encoding as the table's error."""
        try:
            yield
        except OSError as error:
            raise self.fault(f"cannot be read ({error.strerror or error})") from error
        except UnicodeDecodeError as error:
            raise self.fault(
                f"not UTF-16, which its byte order mark promises ({error.reason}); save it as UTF-8"
            ) from error

    def check(self, line: str, number: int, *, is_first: bool) -> None:
        """Raise the error if a line was not decoded. is_first: whether the file begins with it."""
        if is_first and "\0" in line:
            raise self.fault(
                f"not UTF-8 (line {number} holds byte 0x00, as UTF-16 without a byte order mark "
                "would); save it as UTF-8"
            )
        if self._undecodable == "strict" and not line.isascii() and (bad := _ESCAPED.search(line)):
            raise self.fault(
                f"not UTF-8 (line {number} holds byte 0x{ord(bad[0]) - 0xDC00:02x}, as Latin-1 "
                "would); save it as UTF-8"
            )

    def n_bytes(self, line: str) -> int:
        """How long a line is in the file."""
        return len(line.encode(self.encoding, "surrogateescape"))


def text_lines(path: Path, error: type[SoundsearchError] = TableError) -> Iterator[str]:
    """The lines of a text file with their ends, in the encodings that a table may have.

    Raises TableError, or the given kind, if the file cannot be read or decoded or if a line is
    longer than ROW_CHARS.
    """
    text = _TextFile(path, error)
    with text.open(text.start) as file:
        for number in itertools.count(1):
            if not (line := file.readline(ROW_CHARS + 1)):
                return
            if len(line) > ROW_CHARS:
                raise text.fault(f"line {number} has more than {ROW_CHARS:,} characters")
            text.check(line, number, is_first=number == 1)
            yield line


class Table:
    """A CSV file, read row by row. columns: the names in its first row, without blanks around them.

    Args:
        path: the file.
        error: the kind of exception that is raised for whatever is wrong with the file.
        undecodable: "surrogateescape" to accept bytes that are not UTF-8, as names of files have.

    Raises:
        TableError: or the given kind. The file cannot be read or decoded, is empty, or two of its
            columns have one name.
    """

    def __init__(
        self,
        path: Path,
        error: type[SoundsearchError] = TableError,
        *,
        undecodable: Literal["strict", "surrogateescape"] = "strict",
    ) -> None:
        self.path, self._error = path, error
        self._text = _TextFile(path, error, undecodable)
        self._delimiter, self._header = self._find_delimiter()
        self.columns = [name for name in self._header if name]  # one without a name is ignored
        name, count = Counter(self.columns).most_common(1)[0] if self.columns else ("", 0)
        if count > 1:
            raise self._text.fault(f"two columns have one name: {listed([name])}")

    def require(self, columns: Sequence[str]) -> None:
        """Raise the table's error unless it has these columns."""
        missing = [column for column in columns if column not in self.columns]
        if missing:
            what = "column {} is" if len(missing) == 1 else "columns {} are"
            raise self._text.fault(
                f"{what.format(', '.join(missing))} missing, found {listed(self._header)}"
            )

    def rows(
        self,
        required: Sequence[str] = (),
        *,
        may_be_blank: Container[str] = (),
        may_have_none: bool = False,
    ) -> Iterator[Row]:
        """All rows below the first; blank lines are skipped.

        Args:
            required: columns that must be there and must not be blank in any row.
            may_be_blank: those of them that may be blank all the same.
            may_have_none: whether a table without rows is accepted.

        Raises:
            TableError: or the kind given to the table, with the line of the row. A column is
                missing, a cell is blank, a row has too few or too many cells, or is not CSV.
        """
        self.require(required)
        row = None
        with self._text.open(self._text.start) as file:
            parsed = self._parse(file, self._text.start, self._delimiter)
            next(parsed)
            for line, offset, cells in parsed:
                row = self._row(line, offset, cells)
                for column in required:
                    if column not in may_be_blank and not row[column].strip():
                        raise self.fault(row, f"{column} is empty")
                yield row
        if row is None and not may_have_none:
            raise self._text.fault("holds no rows, only the names of its columns")

    def rows_at(self, offsets: Sequence[int]) -> list[Row]:
        """The rows at these offsets in bytes, which `rows` gave; their lines are not counted."""
        found = []
        for offset in offsets:
            with self._text.open(offset) as file:
                found.append(self._row(*next(self._parse(file, offset, self._delimiter))))
        return found

    def where(self, row: Row) -> str:
        """The place of a row, as messages begin with it."""
        return f"{self.path}: line {row.line}"

    def fault(self, row: Row, text: str) -> SoundsearchError:
        """The table's error for something wrong in a row."""
        return self._error(f"{self.where(row)}: {text}")

    def _row(self, line: int, offset: int, cells: list[str]) -> Row:
        if len(cells) != len(self._header):
            raise self._text.fault(
                f"line {line} has {len(cells)} cells, expected {len(self._header)} "
                f"({listed(self._header)}); a text with {_NAMES[self._delimiter]} stands in quotes"
            )
        named = zip(self._header, cells, strict=True)
        return Row(line, offset, {name: cell for name, cell in named if name})

    def _find_delimiter(self) -> tuple[str, list[str]]:
        """The delimiter that gives the most column names, and these."""
        headers, faults = {}, []
        for delimiter in DELIMITERS:
            try:
                headers[delimiter] = self._first_row(delimiter)
            except self._error as error:  # a quoted name that ends before another delimiter
                faults.append(error)
        if not headers:
            raise faults[0]
        return max(headers.items(), key=lambda item: len(item[1]))

    def _first_row(self, delimiter: str) -> list[str]:
        with self._text.open(self._text.start) as file:
            for _, _, cells in self._parse(file, self._text.start, delimiter):
                return [name.strip() for name in cells]
        raise self._text.fault("it is empty, expected a CSV with a first line of column names")

    def _parse(
        self, file: TextIO, offset: int, delimiter: str
    ) -> Iterator[tuple[int, int, list[str]]]:
        """Line, offset in bytes and cells of each row that is not blank, from an offset on."""
        n_chars = 0

        def lines() -> Iterator[str]:
            nonlocal n_chars, offset
            while line := file.readline(ROW_CHARS + 1 - n_chars):
                n_chars += len(line)
                if n_chars > ROW_CHARS:
                    raise csv.Error(f"a row of more than {ROW_CHARS:,} characters")
                is_first = offset == self._text.start
                self._text.check(line, reader.line_num + 1, is_first=is_first)
                offset += self._text.n_bytes(line)
                yield line

        reader = csv.reader(lines(), delimiter=delimiter, strict=True)
        while True:
            line, begin, n_chars = reader.line_num + 1, offset, 0
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise self._text.fault(
                    f"line {line}: not CSV ({error}); is a quote left open?"
                ) from error
            if cells is None:
                return
            if cells:
                yield line, begin, cells


_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


def listed(names: Sequence[str]) -> str:
    """Column names for a message: on one line, and not too many of them."""
    first = [textwrap.shorten(name, LISTED_CHARS, placeholder="...") for name in names[:N_LISTED]]
    more = f" and {len(names) - N_LISTED} more" if len(names) > N_LISTED else ""
    return ", ".join(first) + more
