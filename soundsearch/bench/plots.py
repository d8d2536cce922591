"""Pictures of results, as PNG. Needs matplotlib: the extra `soundsearch[bench]`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from soundsearch.bench.result_files import write_file
from soundsearch.bench.results import BenchmarkResult
from soundsearch.errors import BenchmarkError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
#: Ranks that a curve of recall reaches to.
MOST_K = 50


def plot_recall(results: Sequence[BenchmarkResult], path: Path) -> None:
    """Share of queries whose best relevant candidate has rank <= k, against k, in both directions.

    One line a result; each needs its ranks. Raises BenchmarkError.
    """
    names = list(dict.fromkeys(each.name for result in results for each in result.directions))
    figure = _figure(6.4 * max(1, len(names)), 4.2)
    k = np.arange(1, MOST_K + 1)
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for result in results:
            direction = result.direction(name)
            if direction is None:
                continue
            if direction.queries is None:
                raise BenchmarkError(
                    f"the result of {result.run.model} comes without its .ranks.csv"
                )
            best = np.sort(direction.queries.ranks.expected.best)
            recall = 100 * np.searchsorted(best, k, "right") / best.size
            label = f"{result.run.model}, {result.protocol}, {direction.n_queries:,} queries"
            axes.plot(k, recall, label=label)
        axes.set(title=name, xlabel="k", ylabel="found among the first k, %", xlim=(1, MOST_K))
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    _save(figure, path)


def plot_confusion(result: BenchmarkResult, path: Path) -> None:
    """Which class is taken for which, each row in percent of its clips. Raises BenchmarkError."""
    if not result.confusion:
        raise BenchmarkError(f"a {result.task} result has no confusion matrix to draw")
    counts = np.array(result.confusion)
    totals = counts.sum(axis=1, keepdims=True)
    shares = 100 * np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side = max(4.0, 0.2 * len(counts) + 2)
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, label="% of the class", fraction=0.046)
    run = result.run
    axes.set(
        xlabel="taken for",
        ylabel="class",
        title=f"{run.model} on {run.benchmark}, {result.n_clips:,} clips",
    )
    names = [each["name"] for each in result.classes]
    ticks = np.arange(len(counts))
    axes.set_xticks(ticks, names, rotation=90, fontsize=6)
    axes.set_yticks(ticks, names, fontsize=6)
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, drawn without a display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BenchmarkError(
            "pictures need matplotlib: pip install 'soundsearch[bench]'"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    write_file(path, picture.getvalue())
