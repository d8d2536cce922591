"""Tables and pictures: every number stands beside its protocol, tie rule and counts."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from soundsearch.bench import plots
from soundsearch.bench.plots import plot_confusion, plot_recall
from soundsearch.bench.result_files import read_result, write_result
from soundsearch.bench.results import BenchmarkResult
from soundsearch.bench.sheets import (
    Sheet,
    markdown,
    print_results,
    print_sheets,
    result_sheets,
    sheet_markdown,
)
from soundsearch.errors import BenchmarkError
from tests.bench.toy import toy_classification, toy_retrieval


def printed(*results: BenchmarkResult, classes: bool = False, width: int = 160) -> str:
    out = io.StringIO()
    print_results(results, Console(file=out, width=width), classes=classes)
    return out.getvalue()


def test_models_on_one_benchmark_share_a_table() -> None:
    one, two = toy_retrieval("one"), toy_retrieval("two", 1.0)
    sheets = list(result_sheets([one, two]))
    assert [[row[0] for row in sheet.rows] for sheet in sheets] == [["one 1", "two 1"]] * 2
    assert sheets[0].columns == (
        "model",
        "R@1",
        "R@5",
        "R@10",
        "mAP@10",
        "median rank",
        "mean rank",
    )


def test_other_protocols_and_counts_get_tables_of_their_own() -> None:
    results = [toy_retrieval(), toy_retrieval(protocol="dcase"), toy_retrieval(n_clips=41)]
    sheets = list(result_sheets(results))
    assert len(sheets) == 6
    assert all(len(sheet.rows) == 1 for sheet in sheets)


def test_every_table_says_what_was_counted_and_how() -> None:
    shown = printed(toy_retrieval(), toy_classification())
    for part in (
        "clotho evaluation, text-to-audio: 200 queries, 40 candidates",
        "clotho evaluation, audio-to-text: 40 queries, 200 candidates",
        "protocol literature (every caption is a query; best of a clip's captions); ties by expectation",
        "esc-50 evaluation, zero-shot: 40 queries, 4 candidates",
        "[95 % interval over clips]",
        "10 s, hop 5 s; best window",
    ):
        assert part in shown
    assert shown.count("ties by expectation") == 3


def test_shares_are_in_percent_and_ranks_are_not() -> None:
    result = toy_retrieval(skill=1.0)
    sheet = next(result_sheets([result]))
    r1, median = (result.directions[0].numbers[name] for name in ("R@1", "median rank"))
    assert r1.low is not None and r1.high is not None
    assert sheet.rows[0][1] == f"{100 * r1.value:.1f} [{100 * r1.low:.1f}, {100 * r1.high:.1f}]"
    assert sheet.rows[0][5].startswith(f"{median.value:.1f} [")


def test_ties_that_matter_are_told_and_others_not() -> None:
    tied, clean = toy_retrieval("tied", decimals=0), toy_retrieval("clean")
    notes = [note for note in next(result_sheets([tied, clean])).notes if "order of ties" in note]
    assert len(notes) == 1
    r1 = tied.directions[0].numbers["R@1"]
    assert r1.optimistic is not None and r1.pessimistic is not None
    assert notes[0].startswith("tied 1, from the worst to the best order of ties: ")
    assert f"R@1 {100 * r1.pessimistic:.1f} to {100 * r1.optimistic:.1f}" in notes[0]


def test_without_resampling_there_are_no_intervals() -> None:
    sheet = next(result_sheets([toy_retrieval(bootstrap=0)]))
    assert "[" not in "".join(sheet.rows[0])
    assert "interval" not in "".join(sheet.heading)


def test_classification_shows_folds_and_classes() -> None:
    shown = printed(toy_classification(), classes=True)
    assert "± " in shown and " of 5" in shown
    assert "toy 1 on esc-50, class by class; 40 clips, 4 classes" in shown
    assert "crow | rook" in shown
    assert "class by class" not in printed(toy_classification())


def test_names_are_not_taken_for_markup() -> None:
    shown = printed(toy_retrieval("[bold]x[/bold]"))
    assert shown.count("[bold]x[/bold] 1") == 4  # a row and a note for either direction


def test_markdown_is_a_table_a_direction() -> None:
    text = markdown([toy_retrieval(), toy_classification()])
    assert text.count("| --- | ---: |") == 4
    assert "**clotho evaluation, text-to-audio: 200 queries, 40 candidates**" in text
    assert "crow \\| rook" in text
    for line in text.splitlines():
        if line.startswith("| "):
            assert line.endswith(" |")
    sheet = Sheet(("a title", "more"), ("x", "y"), (("1", "2"),), ("a note",))
    assert sheet_markdown(sheet) == (
        "**a title**  \nmore\n\n| x | y |\n| --- | ---: |\n| 1 | 2 |\n\n- a note\n"
    )


def test_a_narrow_terminal_loses_no_digits() -> None:
    out = io.StringIO()
    sheet = Sheet(
        ("t",), ("model", "R@1"), (("a rather long name of a model", "12.3 [11.1, 13.3]"),)
    )
    print_sheets([sheet], Console(file=out, width=30))
    assert "12.3" in out.getvalue() and "…" not in out.getvalue()


def test_recall_is_drawn_for_both_directions(tmp_path: Path) -> None:
    plot_recall([toy_retrieval("one"), toy_retrieval("two", 1.0)], tmp_path / "new" / "recall.png")
    with Image.open(tmp_path / "new" / "recall.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1.5 * picture.height
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["recall.png"]


def test_confusion_is_drawn(tmp_path: Path) -> None:
    plot_confusion(toy_classification(), tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as picture:
        assert picture.format == "PNG"
    with pytest.raises(BenchmarkError, match="a retrieval result has no confusion matrix"):
        plot_confusion(toy_retrieval(), tmp_path / "none.png")


def test_what_is_drawn_are_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure))
    result, sorted_out = toy_retrieval(skill=1.0), toy_classification()
    plot_recall([result], tmp_path / "a.png")
    plot_confusion(sorted_out, tmp_path / "b.png")
    for axes, direction in zip(drawn[0].axes, result.directions, strict=True):
        assert axes.get_title() == direction.name
        [line] = axes.get_lines()
        found = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for k in (1, 5, 10):
            assert found[k] == pytest.approx(100 * direction.numbers[f"R@{k}"].value)
    shares = np.asarray(drawn[1].axes[0].get_images()[0].get_array())
    assert np.diag(shares) == pytest.approx([100 * c["accuracy"] for c in sorted_out.classes])
    assert shares.sum(axis=1) == pytest.approx([100] * 4)


def test_recall_needs_the_ranks(tmp_path: Path) -> None:
    write_result(toy_retrieval(), tmp_path / "a.json")
    (tmp_path / "a.ranks.csv").unlink()
    with pytest.raises(BenchmarkError, match=r"without its \.ranks\.csv"):
        plot_recall([read_result(tmp_path / "a.json")], tmp_path / "a.png")


def test_without_matplotlib_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BenchmarkError, match=r"pip install 'soundsearch\[bench\]'") as caught:
        plot_confusion(toy_classification(), tmp_path / "a.png")
    assert "\n" not in str(caught.value)


def test_numbers_need_neither_torch_nor_matplotlib_nor_faiss() -> None:
    code = (
        "import sys, soundsearch.bench.sheets, soundsearch.bench.plots, "
        "soundsearch.bench.published\n"
        "print([m for m in ('torch', 'matplotlib', 'faiss', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
