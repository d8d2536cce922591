"""Published numbers: sound data, and a place for ours among them."""

from __future__ import annotations

from collections import Counter

import pytest

from soundsearch.bench.published import GROUPS, MARKS, published, table
from soundsearch.bench.sheets import Sheet
from tests.bench.toy import toy_classification, toy_retrieval


def row_of(sheet: Sheet, start: str) -> tuple[str, ...]:
    return next(row for row in sheet.rows if row[0].startswith(start))


def test_every_number_has_a_source_and_is_possible() -> None:
    assert len(published()) > 250
    for each in published():
        assert 0 <= each.percent <= 100
        assert each.group in GROUPS
        assert each.evidence in MARKS
        assert each.source.strip()
        assert 2020 < each.year < 2030
        assert each.benchmark in ("clotho", "audiocaps", "esc-50", "urbansound8k")
        assert each.evidence != "unverified" or each.caution


def test_no_number_stands_twice() -> None:
    keys = Counter(
        (each.group, each.model, each.benchmark, each.direction, each.measure)
        for each in published()
    )
    assert keys.most_common(1)[0][1] == 1


def test_recall_rises_with_k_in_every_row() -> None:
    for each in published():
        for other in published():
            same = ("group", "model", "benchmark", "direction")
            if all(getattr(each, name) == getattr(other, name) for name in same) and (
                each.measure,
                other.measure,
            ) in (("R@1", "R@5"), ("R@5", "R@10"), ("R@1", "R@10")):
                assert each.percent < other.percent


@pytest.mark.parametrize(
    ("model", "benchmark", "direction", "measure", "percent"),
    [
        ("AuroLA-rerank-7B", "clotho", "text-to-audio", "R@1", 28.2),
        ("laion/clap-htsat-unfused", "clotho", "audio-to-text", "R@10", 58.9),
        ("laion/clap-htsat-unfused", "audiocaps", "text-to-audio", "R@5", 62.3),
        ("msclap-2023", "urbansound8k", "zero-shot", "accuracy", 83.0),
        ("ImageBind huge", "esc-50", "zero-shot", "accuracy", 66.9),
        ("DCASE 2025 baseline, PaSST + RoBERTa-L", "clotho", "text-to-audio", "mAP@16", 40.6),
    ],
)
def test_some_numbers_by_hand(
    model: str, benchmark: str, direction: str, measure: str, percent: float
) -> None:
    found = {
        each.percent
        for each in published()
        if (each.model, each.benchmark, each.direction, each.measure)
        == (model, benchmark, direction, measure)
    }
    assert found == {percent}


def test_numbers_to_beware_of_say_why() -> None:
    beware = {
        "PE-AV": "re-weighted",
        "msclap-2022": "trained on the test clips",
        "laion/larger_clap_music": "broken",
    }
    for each in published():
        for model, why in beware.items():
            if each.benchmark == "clotho" and each.model.split(" ")[0] == model:
                assert why in each.caution


def test_ours_stands_where_its_first_number_falls() -> None:
    result = toy_retrieval("ours", 1.0)
    [sheet] = table(result)
    assert sheet.columns[3:5] == ("T→A R@1", "T→A R@5")
    ours = row_of(sheet, "> ours 1")
    assert ours[3] == f"{100 * result.directions[0].numbers['R@1'].value:.1f}"
    assert ours[6] == f"{100 * result.directions[1].numbers['R@1'].value:.1f}"
    firsts = [float(row[3].split()[0].rstrip("†‡")) for row in sheet.rows if row[3] != "-"]
    assert firsts == sorted(firsts, reverse=True)
    assert "40 clips, 200 texts, protocol literature, ties by expectation" in sheet.heading[1]


def test_marks_and_cautions_are_explained_below() -> None:
    [sheet] = table(toy_classification())
    assert row_of(sheet, "VIP-ANT, curated text")[3].startswith("69.2‡ (")
    assert row_of(sheet, "MGA-CLAP")[3] == "94.9†"
    assert row_of(sheet, "msclap-2023")[3] == "89.9"
    cell = row_of(sheet, "LAION-CLAP 630k")[3]
    assert f"{cell.split()[1]} fold 1 alone, 400 clips" in sheet.notes


def test_numbers_by_another_formula_are_left_out() -> None:
    result = toy_retrieval("ours", 1.0, protocol="mteb-v2")
    [mteb] = table(result)  # hit rates are what papers call R@k
    numbers = result.directions[1].numbers
    wanted = [f"{100 * numbers[f'hit_rate@{k}'].value:.1f}" for k in (1, 5, 10)]
    assert list(row_of(mteb, "> ours")[6:9]) == wanted
    [dcase] = table(toy_retrieval("ours", protocol="dcase"))
    assert dcase.columns[3:] == ("T→A R@1", "T→A R@5", "T→A R@10", "T→A mAP@10", "T→A mAP@16")
    assert row_of(dcase, "DCASE 2025 baseline")[7].startswith("40.6")
    assert not any(column.startswith("A→T") for column in dcase.columns)


def test_without_a_result_every_benchmark_is_shown() -> None:
    sheets = table()
    assert [sheet.heading[0].split(":")[0] for sheet in sheets] == [
        "clotho",
        "audiocaps",
        "esc-50",
        "urbansound8k",
    ]
    assert not any(row[0].startswith(">") for sheet in sheets for row in sheet.rows)
    assert sum(len(sheet.rows) for sheet in sheets) > 100
