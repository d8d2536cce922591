"""Model cards: tables of what was measured, and a training log in some ten lines."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from soundsearch.encoder.bundle import EncoderBundle
from trainer import model_card


def write_log(path: Path, *records: dict[str, float]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_card_holds_the_facts_and_the_sections_in_order(tiny: EncoderBundle) -> None:
    card = ModelCard(model_card.render(tiny, "make it", {"Measured": "much\n", "Limits": "few"}))
    text = card.text.lstrip()
    assert text.startswith("# tiny 1\n\neight words for eight bands. Texts and windows of 1 s")
    assert "vectors of\n8 numbers" in text and "Licence of these weights: Apache-2.0" in text
    assert "Made by `make it`. made by the tests" in text
    assert text.endswith("## Measured\n\nmuch\n\n## Limits\n\nfew\n")


@pytest.mark.parametrize(
    ("licence", "named", "in_words"),
    [
        ("Apache-2.0", "apache-2.0", None),
        ("mit, as the card of clap says", "mit", None),
        ('the "house" rules: ask', "other", 'the "house" rules: ask'),
        (model_card.NO_LICENCE, None, None),
    ],
)
def test_the_head_of_a_card_is_what_the_hub_reads(
    tiny: EncoderBundle, licence: str, named: str | None, in_words: str | None
) -> None:
    bundle = dataclasses.replace(tiny, licence=licence)
    facts = ModelCard(model_card.render(bundle, "make it", {})).data
    assert (facts.license, facts.license_name) == (named, in_words)
    assert (facts.language, facts.library_name) == ("en", "soundsearch")
    assert "text-to-audio-retrieval" in facts.tags


def test_results_become_tables_with_their_command() -> None:
    found = model_card.results_tables(
        {"recall": {"command": "count", "split": "valid", "recall_at_1": 0.5, "n": 3}}
    )
    assert found == (
        "recall (valid), by `count`:\n\n| | |\n| --- | --- |\n| recall at 1 | 0.5 |\n| n | 3 |"
    )
    assert model_card.results_tables({"recall": {"command": "count", "n": 3}}).startswith(
        "recall, by `count`:"
    )


def test_another_run_stands_beside_the_results() -> None:
    found = model_card.results_tables(
        {
            "recall": {"command": "count", "recall_at_1": 0.5, "n": 3},
            "speed": {"command": "c", "s": 1},
        },
        {"seed 1": {"recall": {"command": "count", "recall_at_1": 0.25}}},
    )
    assert found == (
        "recall, by `count`:\n\n| | | seed 1 |\n| --- | --- | --- |\n"
        "| recall at 1 | 0.5 | 0.25 |\n| n | 3 |  |\n\n"
        "speed, by `c`:\n\n| | | seed 1 |\n| --- | --- | --- |\n| s | 1 |  |"
    )


def test_a_bundle_names_its_card_and_settings_and_keeps_its_fingerprint(
    tiny: EncoderBundle,
) -> None:
    settings = {"loop": {"steps": 3}, "file": Path("a"), "name": "é"}
    written = model_card.write(tiny, "make it", {"Limits": "few"}, settings)
    written.write()
    found = EncoderBundle.read(tiny.folder)
    card = found.file("model_card.md").read_text(encoding="utf-8")
    assert "[training.json](training.json)" in card and '"steps"' not in card
    stored = json.loads(found.file("training.json").read_text(encoding="utf-8"))
    assert stored == settings | {"file": "a"}
    assert found.fingerprint == tiny.fingerprint
    assert dataclasses.replace(found, files=tiny.files) == tiny


def test_without_settings_no_file_is_promised(tiny: EncoderBundle) -> None:
    written = model_card.write(tiny, "make it", {"Limits": "few"})
    assert set(written.files) == {*tiny.files, "model_card.md"}
    assert "training.json" not in written.file("model_card.md").read_text(encoding="utf-8")


def test_a_curve_shows_the_checked_steps_and_always_the_last(tmp_path: Path) -> None:
    steps = range(1, 60)
    log = write_log(
        tmp_path / "log.jsonl",
        *({"step": i, "loss": 1 / i, **({"recall": i} if i % 2 else {})} for i in steps),
    )
    rows = model_card.curve(log, "Log", ("loss", "recall")).splitlines()
    assert rows[:4] == ["Log:", "", "| step | loss | recall |", "| --- | --- | --- |"]
    assert rows[4].startswith("| 1 |") and rows[-1].startswith("| 59 |")
    assert 10 <= len(rows) - 4 <= 20
    assert all(int(row.split("|")[1]) % 2 for row in rows[4:])


def test_a_log_without_checks_shows_its_end_and_none_shows_nothing(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.jsonl", {"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0})
    assert model_card.curve(log, "Log", ("loss", "recall")).splitlines()[4:] == ["| 2 | 1.0 |  |"]
    assert len(model_card.curve(tmp_path / "none", "Log", ("loss",)).splitlines()) == 4


def test_columns_are_losses_and_checks_alone(tmp_path: Path) -> None:
    log = write_log(
        tmp_path / "log.jsonl",
        {"step": 1, "rate": 0.1, "logit_scale": 14.0, "loss": 2.0, "norm": 1.0, "seconds": 3.0},
        {"step": 2, "valid_r1": 0.5},
    )
    assert model_card.columns_of(log) == ("loss", "logit_scale", "valid_r1")
