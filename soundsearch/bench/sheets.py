"""Results to tables: Rich for the terminal, Markdown for files.

Results of several models share a table where they share benchmark, split, protocol and counts,
all of which stand in its heading. Shares are shown in percent, [low, high] is the 95 % interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from soundsearch.bench.compare import Comparison
from soundsearch.bench.evaluation import Number
from soundsearch.bench.protocols import PROTOCOLS, Measure
from soundsearch.bench.results import BenchmarkResult, DirectionResult


@dataclass(frozen=True)
class Sheet:
    """A table before it is drawn: lines above, column names, rows, lines below."""

    heading: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def result_sheets(results: Sequence[BenchmarkResult]) -> Iterator[Sheet]:
    """A sheet for each direction of what can be set side by side."""
    for _, group in groupby(sorted(results, key=_kind), key=_kind):
        alike = list(group)
        for direction in alike[0].directions:
            yield _sheet(alike, direction)


def class_sheet(result: BenchmarkResult) -> Sheet:
    """How the clips of every class fared, the worst last."""
    heading = (f"{_name(result)} on {result.run.benchmark}, class by class; {_counts(result)}",)
    number = "average_precision" if result.task == "tagging" else "accuracy"
    ordered = sorted(result.classes, key=lambda each: (-(each[number] or 0.0), each["name"]))
    if result.task == "tagging":
        cells = [(each["name"], str(each["n_clips"]), each[number]) for each in ordered]
        return Sheet(
            heading,
            ("class", "clips", "average precision"),
            tuple((name, n_clips, _value(value, False)) for name, n_clips, value in cells),
        )
    return Sheet(
        heading,
        ("class", "clips", "accuracy", "most often mistaken for"),
        tuple(
            (
                each["name"],
                str(each["n_clips"]),
                "-" if each["accuracy"] is None else _value(each["accuracy"], False),
                each["mistaken_for"] or "",
            )
            for each in ordered
        ),
    )


def comparison_sheet(comparison: Comparison) -> Sheet:
    """Both results and their difference."""
    first, second = comparison.first, comparison.second
    rows = []
    for each in comparison.differences:
        values = [_value(x, each.is_rank) for x in (each.first, each.second)]
        span = f"{_value(each.low, each.is_rank, '+')}, {_value(each.high, each.is_rank, '+')}"
        change = f"{_value(each.difference, each.is_rank, '+')} [{span}]"
        rows.append((each.direction, each.measure, *values, change, f"{each.p_value:.4f}"))
    return Sheet(
        (*_heading(first, None), f"A: {_name(first)}", f"B: {_name(second)}"),
        ("direction", "number", "A", "B", "B - A", "p"),
        tuple(rows),
        (
            f"paired bootstrap, {comparison.bootstrap:,} resamplings of {comparison.n_clips:,} clips, "
            f"seed {comparison.seed}; p is two-sided, not corrected for the number of rows",
        ),
    )


def print_results(
    results: Sequence[BenchmarkResult], console: Console, *, classes: bool = False
) -> None:
    """Every sheet of the results, drawn for the terminal; with classes, also one class by class."""
    print_sheets(result_sheets(results), console)
    if classes:
        print_sheets((class_sheet(each) for each in results if each.classes), console)


def print_sheets(sheets: Iterable[Sheet], console: Console) -> None:
    """Draw sheets, each with an empty line after it."""
    for sheet in sheets:
        for line in sheet.heading:
            console.print(line, markup=False, highlight=False)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for i, column in enumerate(sheet.columns):
            table.add_column(escape(column), justify="left" if i == 0 else "right", overflow="fold")
        for row in sheet.rows:
            table.add_row(*map(escape, row))
        console.print(table)
        for line in sheet.notes:
            console.print(line, markup=False, highlight=False)
        console.print()


def markdown(results: Sequence[BenchmarkResult]) -> str:
    """Every sheet of the results, and the classes of those that have them, as Markdown."""
    sheets = [*result_sheets(results), *(class_sheet(each) for each in results if each.classes)]
    return "\n".join(sheet_markdown(sheet) for sheet in sheets)


def sheet_markdown(sheet: Sheet) -> str:
    """One sheet as Markdown: the heading's first line bold, then a pipe table."""
    title, *more = sheet.heading
    lines = [f"**{_cell(title)}**", *map(_cell, more)]
    table = [
        "| " + " | ".join(map(_cell, sheet.columns)) + " |",
        "| --- |" + " ---: |" * (len(sheet.columns) - 1),
        *("| " + " | ".join(map(_cell, row)) + " |" for row in sheet.rows),
    ]
    notes = [f"- {_cell(line)}" for line in sheet.notes]
    parts = ["  \n".join(lines), "\n".join(table), *(["\n".join(notes)] if notes else [])]
    return "\n\n".join(parts) + "\n"


def _sheet(alike: Sequence[BenchmarkResult], of: DirectionResult) -> Sheet:
    measures = PROTOCOLS[alike[0].protocol].measures(of.name)
    folds = any(each.folds for each in alike)
    rows, notes = [], []
    for result in alike:
        direction = result.direction(of.name)
        numbers = direction.numbers if direction else {}
        cells = [_number(numbers[m.name], m) if m.name in numbers else "-" for m in measures]
        if folds:
            cells.append(_folds(result))
        rows.append((_name(result), *cells))
        spans = [
            f"{m.name} {_value(n.pessimistic, m.is_rank)} to {_value(n.optimistic, m.is_rank)}"
            for m in measures
            if (n := numbers.get(m.name)) and n.optimistic is not None and n.pessimistic is not None
        ]
        if spans:
            notes.append(
                f"{_name(result)}, from the worst to the best order of ties: {', '.join(spans)}"
            )
    ways = dict.fromkeys(
        f"{_name(each)}: {each.run.windows}"
        + (f"; prompt {each.run.prompt!r}" if each.run.prompt else "")
        + (f"; a class scores by the {each.run.class_texts} texts" if each.run.class_texts else "")
        + (
            f"; {each.run.n_skipped:,} of {each.run.n_listed:,} clips skipped"
            if each.run.n_skipped
            else ""
        )
        + (
            f"; {each.run.n_truncated:,} of {each.n_texts:,} texts cut to {each.run.max_tokens} tokens"
            if each.run.n_truncated
            else ""
        )
        for each in alike
    )
    columns = ("model", *(m.name for m in measures), *(["folds"] if folds else []))
    return Sheet(_heading(alike[0], of), columns, tuple(rows), (*ways, *notes))


def _heading(result: BenchmarkResult, direction: DirectionResult | None) -> tuple[str, str]:
    protocol = PROTOCOLS[result.protocol]
    what = f"{result.run.benchmark} {result.run.split}"
    if direction is None:
        what += f": {_counts(result)}"
    else:
        what += f", {direction.name}: {direction.n_queries:,} queries, {direction.n_candidates:,} candidates"
    merged = "; identical texts merged" if result.merged_identical else ""
    rule = f" ({protocol.text_rule})" if result.task == "retrieval" else ""
    drawn = "classes" if result.task == "tagging" else "clips"
    level = f"; shares in percent, [95 % interval over {drawn}]" if result.bootstrap else ""
    return what, f"protocol {protocol.name}{rule}; {result.ties}{merged}{level}"


def _kind(result: BenchmarkResult) -> tuple[str | int, ...]:
    run = result.run
    return (
        *(run.benchmark, run.split, result.protocol, result.directions[0].name, result.ties),
        *(result.merged_identical, result.n_clips, result.n_texts, bool(result.bootstrap)),
    )


def _name(result: BenchmarkResult) -> str:
    return f"{result.run.model} {result.run.model_version}".strip()


def _counts(result: BenchmarkResult) -> str:
    texts = "texts" if result.task == "retrieval" else "classes"
    return f"{result.n_clips:,} clips, {result.n_texts:,} {texts}"


def _folds(result: BenchmarkResult) -> str:
    if result.fold_mean is None:
        return "-"
    deviation = "" if result.fold_std is None else f" ± {100 * result.fold_std:.1f}"
    return f"{100 * result.fold_mean:.1f}{deviation} of {len(result.folds)}"


def _number(number: Number, measure: Measure) -> str:
    text = _value(number.value, measure.is_rank)
    if number.low is None or number.high is None:
        return text
    return f"{text} [{_value(number.low, measure.is_rank)}, {_value(number.high, measure.is_rank)}]"


def _value(value: float, is_rank: bool, sign: str = "") -> str:
    """A rank as it is, a share in percent, with one decimal."""
    scaled = value if is_rank else 100 * value
    return f"{scaled:{sign}.1f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
