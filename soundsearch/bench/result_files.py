"""The result of one benchmark run as files.

clotho.json        benchmark, model, protocol, counts, numbers with intervals (schema 1)
clotho.ranks.csv   beside it, one row a query: where its relevant candidates stood
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsearch import files
from soundsearch.bench.metrics import Ranks, TiedRanks
from soundsearch.bench.protocols import PROTOCOLS
from soundsearch.bench.results import (
    DECIMALS,
    BenchmarkResult,
    DirectionResult,
    QueryRanks,
    result_from_json,
)
from soundsearch.errors import BenchmarkError
from soundsearch.tables import Row, Table

COLUMNS = ("direction", "query", "clip", "rank", "positions", "optimistic", "pessimistic")


def write_result(result: BenchmarkResult, path: Path) -> None:
    """Write the JSON and, beside it, the ranks; each atomically. Raises BenchmarkError."""
    text = json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n"
    write_file(path, text.encode())
    if any(each.queries for each in result.directions):
        write_ranks_csv(result, ranks_path(path))


def read_result(path: Path) -> BenchmarkResult:
    """A result, with its ranks if their file is there. Raises BenchmarkError naming the file."""
    try:
        result = result_from_json(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BenchmarkError(f"{path} is not JSON: {error}") from error
    except BenchmarkError as error:
        raise BenchmarkError(f"{path}: {error}") from error
    return with_ranks(result, ranks_path(path)) if ranks_path(path).exists() else result


def ranks_path(path: Path) -> Path:
    """Where the ranks of a result stand: clotho.json -> clotho.ranks.csv."""
    return path.with_suffix(".ranks.csv")


def write_ranks_csv(result: BenchmarkResult, path: Path) -> None:
    """One row a query: direction, query, clip, rank, positions, optimistic, pessimistic.

    positions: those of all its relevant candidates, ties by expectation, divided by spaces; rank
    is the first of them. optimistic and pessimistic: the same under the best and the worst order
    of ties, empty where nothing is tied. From these every measure can be computed again.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for direction in result.directions:
        if direction.queries is None:
            continue
        of = direction.queries
        first = of.ranks.expected.first
        for i, (query, clip) in enumerate(zip(of.queries, of.clips, strict=True)):
            expected, *others = (
                " ".join(_plain(p) for p in each.positions[first[i] : first[i + 1]])
                for each in of.ranks
            )
            rank = expected.split()[0]
            tied = others if others[0] != others[1] else ["", ""]
            writer.writerow([direction.name, query, clip, rank, expected, *tied])
    write_file(path, out.getvalue().encode())


def with_ranks(result: BenchmarkResult, path: Path) -> BenchmarkResult:
    """The result with the ranks of its queries. Raises BenchmarkError if they are not its own."""
    rows = list(Table(path, BenchmarkError).rows(COLUMNS, may_be_blank=COLUMNS[2:]))
    try:
        directions = []
        for direction in result.directions:
            of = _queries_of([row for row in rows if row["direction"] == direction.name])
            _check_ranks(result, direction, of)
            directions.append(replace(direction, queries=of))
        return replace(result, directions=tuple(directions))
    except BenchmarkError as error:
        raise BenchmarkError(f"{path}: {error}") from error
    except ValueError as error:
        raise BenchmarkError(f"{path} does not hold the ranks of a benchmark: {error}") from error


def _queries_of(rows: Sequence[Row]) -> QueryRanks:
    lists = [
        [
            _numbers(row[name] or row["positions"])
            for name in ("positions", "optimistic", "pessimistic")
        ]
        for row in rows
    ]
    lengths = [len(expected) for expected, *_ in lists]
    if (
        not lists
        or not all(lengths)
        or any(len(x) != n for row, n in zip(lists, lengths, strict=True) for x in row)
    ):
        raise ValueError("a query has no positions, or not as many under every order of ties")
    first = np.cumsum([0, *lengths])
    return QueryRanks(
        tuple(row["query"] for row in rows),
        tuple(row["clip"] for row in rows),
        TiedRanks(*(Ranks(np.concatenate([row[i] for row in lists]), first) for i in range(3))),
    )


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array([float(each) for each in text.split()])


def _check_ranks(result: BenchmarkResult, direction: DirectionResult, of: QueryRanks) -> None:
    """Refuse ranks that do not give the result's numbers."""
    for measure in PROTOCOLS[result.protocol].measures(direction.name):
        again = measure.over(measure.values(of.ranks)[0])
        stated = direction.numbers.get(measure.name)
        if stated is None or not math.isclose(again, stated.value, abs_tol=10**-DECIMALS):
            raise BenchmarkError(
                f"these are the ranks of another run: {direction.name} {measure.name} is {again:.4f} by them, "
                f"but {stated.value if stated else math.nan:.4f} in the result"
            )


def _plain(position: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(float(position)).removesuffix(".0")


def write_file(path: Path, data: bytes) -> None:
    """Write a file atomically, its folder made if need be. Raises BenchmarkError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, data)
    except OSError as error:
        raise BenchmarkError(f"cannot write {path}: {error.strerror or error}") from error
