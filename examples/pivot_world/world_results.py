"""Results as a table, as JSON and as a plot."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from soundsearch.files import write_text

Numbers = Mapping[str, float]


def table(rows: Mapping[str, Sequence[Numbers]]) -> str:
    """A Markdown table in percent: a row an arm, mean over seeds, with the range where there are several."""
    names = list(next(iter(rows.values()))[0])
    lines = ["| | " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    lines.append("| --- |" + " ---: |" * len(names))
    for arm, found in rows.items():
        cells = [_cell([100 * numbers[name] for numbers in found]) for name in names]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def plot(path: Path, arms: Mapping[str, Sequence[Numbers]], chance: Numbers) -> None:
    """R@1 against the number of captions, with and without the pivot, between control and ceiling."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for place, name in enumerate(("audio_to_text", "text_to_audio")):
        axes = figure.add_subplot(1, 2, place + 1)
        for label, pattern, colour in (
            ("after the pivot", r"pivot(?: \+ (\d+) captions)?", "tab:blue"),
            ("captions alone", r"(\d+) captions alone", "tab:orange"),
        ):
            points = {
                int(match[1] or 0): [100 * numbers[name] for numbers in found]
                for arm, found in arms.items()
                if (match := re.fullmatch(pattern, arm))
            }
            counts = sorted(points)
            means = [statistics.mean(points[n]) for n in counts]
            axes.plot(counts, means, "o-", color=colour, label=label)
            low, high = ([f(points[n]) for n in counts] for f in (min, max))
            axes.fill_between(counts, low, high, color=colour, alpha=0.2)
        for arm, style, label in (
            ("all captions", "--", "all captions, no pivot"),
            ("shuffled pairs", "-.", "pivot, shuffled pairs"),
        ):
            level = 100 * statistics.mean(numbers[name] for numbers in arms[arm])
            axes.axhline(level, color="grey", linestyle=style, label=label)
        axes.axhline(100 * chance[name], color="black", linestyle=":", label="chance")
        shown = sorted({n for arm in arms for n in map(int, re.findall(r"\d+", arm))} | {0})
        axes.set_xscale("symlog", linthresh=max(2, shown[1]))
        axes.set_xticks(shown, [str(n) for n in shown])
        axes.set_xticks([], minor=True)
        axes.set_xlim(-0.1 * shown[1], 1.2 * shown[-1])
        axes.set_xlabel("captions")
        axes.set_ylabel("R@1, %")
        axes.set_ylim(0, None)
        axes.set_title(name.replace("_", " "))
        axes.grid(alpha=0.3)
    lines, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    figure.savefig(path, dpi=90)
