"""Published numbers of others, as data, and where a result of ours stands among them.

published.csv holds one number a line, in percent, with its source, how well it is known and what
to beware of. Papers rarely state their tie rule or their counts: the numbers are landmarks, not
a ranking.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from soundsearch.bench.protocols import AUDIO_TO_TEXT, TEXT_TO_AUDIO, ZERO_SHOT
from soundsearch.bench.results import BenchmarkResult
from soundsearch.bench.sheets import Sheet
from soundsearch.errors import BenchmarkError
from soundsearch.tables import Row, Table

#: How well a number is known, and the mark it carries in a table.
MARKS = {"primary": "", "second-hand": "†", "unverified": "‡"}

#: What the groups of published.csv have in common.
GROUPS = {
    "paired": "trained on pairs of sound and text",
    "mteb": "stored results of MTEB",
    "pivot": "trained through images or video",
}

_COLUMNS = {
    "clotho": [(d, m) for d in (TEXT_TO_AUDIO, AUDIO_TO_TEXT) for m in ("R@1", "R@5", "R@10")],
    "audiocaps": [(d, m) for d in (TEXT_TO_AUDIO, AUDIO_TO_TEXT) for m in ("R@1", "R@5", "R@10")],
    "esc-50": [(ZERO_SHOT, "accuracy")],
    "urbansound8k": [(ZERO_SHOT, "accuracy")],
}
_SHORT = {TEXT_TO_AUDIO: "T→A ", AUDIO_TO_TEXT: "A→T ", ZERO_SHOT: ""}


@dataclass(frozen=True, kw_only=True)
class Published:
    """One number of somebody's, in percent."""

    group: str
    model: str
    year: int
    benchmark: str
    direction: str
    measure: str
    percent: float
    source: str
    evidence: str
    """primary: read in the project's own README, code or results; second-hand: read in another's
    table or digest; unverified: not read anywhere that could be checked."""
    caution: str


@cache
def published() -> tuple[Published, ...]:
    """Every number of published.csv, in its order."""
    columns = [field.name for field in fields(Published)]
    table = Table(Path(__file__).with_name("published.csv"), BenchmarkError)
    return tuple(map(_published, table.rows(columns, may_be_blank=["caution"])))


def _published(row: Row) -> Published:
    facts: dict[str, Any] = dict(row.cells)
    return Published(**facts | {"year": int(row["year"]), "percent": float(row["percent"])})


def table(result: BenchmarkResult | None = None) -> list[Sheet]:
    """Where it stands: the published numbers of the result's benchmark, the result among them.

    Without a result, those of every benchmark. Empty for a benchmark nobody has published on.
    Rows fall by their first number; a number of ours counts only where the protocol's measure is
    the papers' own, so recall@k that divides by the captions of a clip is left out.
    """
    names = list(_COLUMNS) if result is None else [result.run.benchmark]
    return [_sheet(name, result) for name in names if name in _COLUMNS]


def _sheet(benchmark: str, result: BenchmarkResult | None) -> Sheet:
    columns = list(_COLUMNS[benchmark])
    if result is not None and result.protocol == "dcase" and benchmark == "clotho":
        columns = [*columns[:3], (TEXT_TO_AUDIO, "mAP@10"), (TEXT_TO_AUDIO, "mAP@16")]
    rows: dict[tuple[str, str], dict[tuple[str, str], Published]] = {}
    for each in published():
        if each.benchmark == benchmark and (each.direction, each.measure) in columns:
            rows.setdefault((each.group, each.model), {})[each.direction, each.measure] = each
    cautions: dict[str, int] = {}
    lines: list[tuple[list[float], tuple[str, ...]]] = []
    for (group, model), numbers in rows.items():
        cells = [_cell(numbers.get(column), cautions) for column in columns]
        year = str(next(iter(numbers.values())).year)
        values = [numbers[c].percent if c in numbers else -1.0 for c in columns]
        lines.append((values, (model, year, group, *cells)))
    heading = [f"{benchmark}: published numbers, percent"]
    if result is not None:
        run = result.run
        ours = [_ours(result, *column) for column in columns]
        cells = ["-" if value is None else f"{value:.1f}" for value in ours]
        name = f"> {run.model} {run.model_version}".strip()
        lines.append(([-1.0 if v is None else v for v in ours], (name, "", "this run", *cells)))
        heading.append(
            f"this run: {run.split}, {result.n_clips:,} clips, {result.n_texts:,} "
            f"{'texts' if result.task == 'retrieval' else 'classes'}, protocol {result.protocol}, {result.ties}"
        )
    lines.sort(key=lambda line: line[0], reverse=True)
    return Sheet(
        tuple(heading),
        (
            "model",
            "year",
            "group",
            *(_SHORT[direction] + measure for direction, measure in columns),
        ),
        tuple(row for _, row in lines),
        (
            "; ".join(f"{name}: {what}" for name, what in GROUPS.items()),
            "† second-hand   ‡ unverified   (n) see below; splits, counts and tie rules differ or are not stated",
            *(f"({n}) {caution}" for caution, n in cautions.items()),
        ),
    )


def _cell(number: Published | None, cautions: dict[str, int]) -> str:
    if number is None:
        return "-"
    text = f"{number.percent:.1f}{MARKS[number.evidence]}"
    if number.caution:
        text += f" ({cautions.setdefault(number.caution, len(cautions) + 1)})"
    return text


def _ours(result: BenchmarkResult, direction: str, measure: str) -> float | None:
    """Our number in percent, under the name by which the protocol has it; None if it has none."""
    of = result.direction(direction)
    if of is None:
        return None
    for name in (measure, measure.replace("R@", "hit_rate@")):
        if name in of.numbers:
            return 100 * of.numbers[name].value
    return None
