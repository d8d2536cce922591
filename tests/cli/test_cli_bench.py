from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from soundsearch.bench.protocols import PROTOCOLS
from soundsearch.choices import ProtocolName
from soundsearch.cli import bench
from soundsearch.encoder.towers import Encoder
from tests import made_benchmarks as made
from tests.conftest import Run
from tests.made_benchmarks import small_is_whole  # noqa: F401
from tests.sounds import write
from tests.tiny_encoder import WORDS, write_tiny_bundle

QUICK = ("--model", "tiny", "--bootstrap", "20", "--device", "cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOUNDSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "benchmarks.db"


@pytest.fixture
def clotho(tmp_path: Path, small_is_whole: None) -> Path:  # noqa: F811
    return made.clotho(tmp_path / "clotho")


def line(result: Any) -> str:
    """The one line that a command ended with."""
    assert result.stdout == ""
    (only,) = result.stderr.splitlines()
    assert only.startswith("error: ")
    return str(only.removeprefix("error: "))


# ---- each data set


@pytest.mark.usefixtures("small_is_whole")
@pytest.mark.parametrize(
    ("command", "make", "said"),
    [
        ("clotho", made.clotho, "clotho evaluation, text-to-audio: 40 queries, 8 candidates"),
        ("audiocaps", made.audiocaps, "audiocaps test, audio-to-text: 8 queries, 40 candidates"),
        ("esc50", made.esc50, "esc-50 all, zero-shot: 16 queries, 8 candidates"),
        (
            "urbansound8k",
            made.urbansound8k,
            "urbansound8k all, zero-shot: 20 queries, 8 candidates",
        ),
    ],
)
def test_a_table_for_each_data_set(
    soundsearch: Run, tmp_path: Path, command: str, make: Any, said: str
) -> None:
    result = soundsearch("bench", command, make(tmp_path / "data"), *QUICK)
    assert said in result.stdout.splitlines()
    assert re.search(r"^tiny 1  100\.0 \[100\.0, 100\.0\]", result.stdout, re.MULTILINE)
    assert "windows of 1 s every 0.5 s, best window" in result.stdout
    assert "ties by expectation" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("with_label", [False, True])
def test_a_manifest(soundsearch: Run, tmp_path: Path, with_label: bool) -> None:
    rows = [["file", "label" if with_label else "caption"]]
    for word in ("hum", "hiss"):
        made.clip(tmp_path / f"{word}.wav", word)
        rows.append([f"{word}.wav", word])
    made.table(tmp_path / "mine.csv", rows)
    result = soundsearch("bench", "manifest", "mine.csv", *QUICK)
    way = "zero-shot" if with_label else "text-to-audio"
    assert f"manifest mine, {way}: 2 queries, 2 candidates" in result.stdout


@pytest.mark.usefixtures("small_is_whole")
def test_the_split_and_the_places_of_a_data_set(soundsearch: Run, tmp_path: Path) -> None:
    made.clotho(tmp_path, "validation")
    result = soundsearch("bench", "clotho", tmp_path, "--split", "validation", *QUICK)
    assert "clotho validation, text-to-audio: 40 queries" in result.stdout
    made.audiocaps(tmp_path, "val", folder="there")
    (tmp_path / "val.csv").rename(tmp_path / "mine.csv")
    result = soundsearch(
        *("bench", "audiocaps", tmp_path, "--split", "val"),
        *("--captions", "mine.csv", "--audio", "there", *QUICK),
    )
    assert "audiocaps val, text-to-audio: 40 queries" in result.stdout


def test_less_than_was_published_is_refused_or_told(soundsearch: Run, tmp_path: Path) -> None:
    made.esc50(tmp_path)
    assert line(soundsearch("bench", "esc50", tmp_path, *QUICK, code=1)) == (
        "esc-50 all: 1984 of 2000 clips cannot be measured (the CSV lists 16); get them, or "
        "measure what is there with --allow-missing"
    )
    options = ("--allow-missing", "--json", "r.json", "--markdown", "r.md")
    result = soundsearch("bench", "esc50", tmp_path, *QUICK, *options)
    told = "1,984 of 2,000 clips skipped"
    assert told in result.stdout and told in Path("r.md").read_text()
    counts = json.loads(Path("r.json").read_text())["counts"]
    assert counts == {
        "listed_clips": 2000,
        "skipped_clips": 1984,
        "clips": 16,
        "texts": 8,
        "truncated_texts": 0,
    }


@pytest.mark.parametrize("merged", [False, True])
def test_captions_that_the_encoder_cannot_read_whole_are_counted(
    soundsearch: Run, tmp_path: Path, merged: bool
) -> None:
    made.clip(tmp_path / "a.wav", "hum")
    made.clip(tmp_path / "b.wav", "hiss")
    long = "hum " * 17  # the tiny encoder reads 16 words
    rows = [["file", "caption"], ["a.wav", "hum"], ["a.wav", long], ["b.wav", long], ["b.wav", "x"]]
    made.table(tmp_path / "own.csv", rows)
    more = ["--merge-identical-captions"] if merged else []
    result = soundsearch("bench", "manifest", "own.csv", *QUICK, *more, "--json", "r.json")
    n, of = (1, 3) if merged else (2, 4)
    assert f"{n} of {of} texts cut to 16 tokens" in result.stdout
    facts = json.loads(Path("r.json").read_text())
    assert (facts["counts"]["truncated_texts"], facts["model"]["max_tokens"]) == (n, 16)


def test_a_bad_clip_is_named(soundsearch: Run, clotho: Path) -> None:
    write(clotho / "evaluation" / "Some hum, far.wav", np.zeros(8000, np.float32))
    said = line(soundsearch("bench", "clotho", clotho, *QUICK, code=1))
    assert said.startswith(
        "clotho evaluation: 1 of 8 clips cannot be measured (the first is Some hum,"
    )
    soundsearch("bench", "clotho", clotho, *QUICK, "--allow-missing")


# ---- what comes out


def test_json_and_ranks(soundsearch: Run, clotho: Path) -> None:
    result = soundsearch("bench", "clotho", clotho, *QUICK, "--json", "out/r.json")
    assert "text-to-audio" in result.stdout
    facts = json.loads(Path("out/r.json").read_text())
    assert (facts["benchmark"], facts["protocol"], facts["model"]["name"]) == (
        *("clotho", "literature", "tiny"),
    )
    assert facts["bootstrap"] == {"samples": 20, "seed": 0, "level": 0.95}
    assert facts["command"].startswith("soundsearch")
    assert len(Path("out/r.ranks.csv").read_text().splitlines()) == 1 + 40 + 8
    soundsearch("bench", "clotho", clotho, *QUICK, "--ranks", "mine.csv")
    assert Path("mine.csv").read_text() == Path("out/r.ranks.csv").read_text()


def test_json_on_stdout(soundsearch: Run, clotho: Path) -> None:
    soundsearch("bench", "clotho", clotho, *QUICK, "--json", "r.json")
    result = soundsearch("bench", "clotho", clotho, *QUICK, "--json", "-", "--seed", 0)
    (only,) = result.stdout.splitlines()
    facts, kept = json.loads(only), json.loads(Path("r.json").read_text())
    assert facts.pop("command") and kept.pop("command")
    assert facts == kept
    assert not Path("-").exists() and not Path("-.ranks.csv").exists()


def test_several_encoders(soundsearch: Run, clotho: Path, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "models" / "other", name="other", shift=1)
    both = ("--model", "tiny", "--model", "./models/other", "--bootstrap", 20)
    result = soundsearch(
        *("bench", "clotho", clotho, *both),
        *("--json", "r.json", "--ranks", "q.csv", "--markdown", "r.md"),
    )
    rows = re.findall(r"^(tiny|other) 1 +([\d.]+) \[", result.stdout, re.MULTILINE)
    assert rows == [("tiny", "100.0"), ("other", "0.0")] * 2
    names = {"r.tiny.json", "r.tiny.ranks.csv", "r.other.json", "r.other.ranks.csv"}
    assert {path.name for path in tmp_path.glob("r.*")} == {*names, "r.md"}
    assert {path.name for path in tmp_path.glob("q.*")} == {"q.tiny.csv", "q.other.csv"}
    assert Path("r.md").read_text().count("| other 1 |") == 2
    lines = soundsearch("bench", "clotho", clotho, *both, "--json", "-").stdout.splitlines()
    assert [json.loads(each)["model"]["name"] for each in lines] == ["tiny", "other"]


def test_figures(soundsearch: Run, clotho: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    soundsearch("bench", "clotho", clotho, *QUICK, "--plots", "figures")
    soundsearch("bench", "esc50", made.esc50(tmp_path / "e"), *QUICK, "--plots", "figures")
    assert {path.name for path in Path("figures").iterdir()} == {
        "clotho-evaluation-recall.png",
        "esc-50-all-tiny-confusion.png",
    }
    for path in Path("figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_protocols_and_options_reach_the_result(soundsearch: Run, clotho: Path) -> None:
    assert list(get_args(ProtocolName)) == list(PROTOCOLS)
    for name in PROTOCOLS:
        options = ("--protocol", name, "--json", "-", "--merge-identical-captions")
        facts = json.loads(soundsearch("bench", "clotho", clotho, *QUICK, *options).stdout)
        assert (facts["protocol"], facts["merged_identical"]) == (name, True)
    options = ("--clip-score", "mean", "--prompt", "oh, {}", "--seed", 3, "-j", 2, "--json", "-")
    facts = json.loads(soundsearch("bench", "clotho", clotho, *QUICK, *options).stdout)
    assert facts["windows"].endswith("mean embedding") and facts["prompt"] == "oh, {}"
    assert facts["bootstrap"]["seed"] == 3


# ---- again


def test_a_second_run_embeds_nothing(
    soundsearch: Run, clotho: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = soundsearch("bench", "clotho", clotho, *QUICK).stdout
    assert cache.exists()
    monkeypatch.setattr(Encoder, "embed_features", None)
    monkeypatch.setattr(Encoder, "embed_text", None)
    assert soundsearch("bench", "clotho", clotho, *QUICK).stdout == first


def test_no_cache_neither_reads_nor_writes(soundsearch: Run, clotho: Path, cache: Path) -> None:
    first = soundsearch("bench", "clotho", clotho, *QUICK, "--no-cache").stdout
    assert not cache.exists()
    cache.parent.mkdir()
    cache.write_text("no database at all")
    assert soundsearch("bench", "clotho", clotho, *QUICK, "--no-cache").stdout == first
    assert cache.read_text() == "no database at all"


# ---- compare and table


def test_compare(soundsearch: Run, tmp_path: Path, clotho: Path) -> None:
    write_tiny_bundle(tmp_path / "models" / "other", name="other", shift=1)
    both = ("--model", "tiny", "--model", "other", "--bootstrap", 20)
    soundsearch("bench", "clotho", clotho, *both, "--json", "r.json")
    result = soundsearch("bench", "compare", "r.other.json", "r.tiny.json", "--bootstrap", 100)
    assert "A: other 1" in result.stdout and "B: tiny 1" in result.stdout
    assert "+100.0" in result.stdout
    facts = json.loads(
        soundsearch("bench", "compare", "r.other.json", "r.tiny.json", "--json").stdout
    )
    (found,) = [
        each
        for each in facts["differences"]
        if (each["direction"], each["measure"]) == ("text-to-audio", "R@1")
    ]
    assert (found["first"], found["second"], found["difference"]) == (0.0, 1.0, 1.0)
    assert facts["bootstrap"]["samples"] == 2000 and facts["schema"] == 1


def test_compare_refuses_what_does_not_compare(
    soundsearch: Run, clotho: Path, tmp_path: Path
) -> None:
    soundsearch("bench", "clotho", clotho, *QUICK, "--json", "a.json")
    soundsearch("bench", "clotho", clotho, *QUICK, "--json", "b.json", "--protocol", "dcase")
    said = line(soundsearch("bench", "compare", "a.json", "b.json", code=1))
    assert "literature and dcase" in said
    assert "nowhere.json" in line(soundsearch("bench", "compare", "a.json", "nowhere.json", code=1))
    (tmp_path / "a.ranks.csv").unlink()
    assert ".ranks.csv" in line(soundsearch("bench", "compare", "a.json", "a.json", code=1))


def test_the_table_of_published_numbers(soundsearch: Run, clotho: Path) -> None:
    result = soundsearch("bench", "table")
    for name in ("clotho", "audiocaps", "esc-50", "urbansound8k"):
        assert f"{name}: published numbers, percent" in result.stdout
    soundsearch("bench", "clotho", clotho, *QUICK, "--json", "r.json")
    result = soundsearch("bench", "table", "r.json", "--markdown", "t.md")
    assert "> tiny 1" in result.stdout and "esc-50" not in result.stdout
    assert "> tiny 1" in Path("t.md").read_text()


def test_the_table_knows_esc50_and_urbansound8k_by_our_names(
    soundsearch: Run,
    tmp_path: Path,
    small_is_whole: None,  # noqa: F811
) -> None:
    for command, make in (("esc50", made.esc50), ("urbansound8k", made.urbansound8k)):
        soundsearch("bench", command, make(tmp_path / command), *QUICK, "--json", "r.json")
        assert "> tiny 1" in soundsearch("bench", "table", "r.json").stdout


def test_nothing_is_published_on_ones_own(soundsearch: Run, tmp_path: Path) -> None:
    rows = [["file", "label"], *([f"{word}.wav", word] for word in WORDS[:2])]
    for word in WORDS[:2]:
        made.clip(tmp_path / f"{word}.wav", word)
    made.table(tmp_path / "mine.csv", rows)
    soundsearch("bench", "manifest", "mine.csv", *QUICK, "--json", "r.json")
    result = soundsearch("bench", "table", "r.json")
    assert (result.stdout, result.stderr) == ("", "no numbers are published on manifest\n")


# ---- real recordings


@pytest.mark.data
def test_the_starter_on_real_classes_in_the_layout_of_esc50(
    soundsearch: Run, tmp_path: Path, data_folder: Path
) -> None:
    with open(data_folder / "esc10.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == "4"][::4]
    (tmp_path / "esc" / "audio").mkdir(parents=True)
    labels = sorted({row["label"] for row in rows})
    table: list[list[object]] = [["filename", "fold", "target", "category"]]
    for row in rows:
        source = data_folder / row["file"]
        (tmp_path / "esc" / "audio" / source.name).symlink_to(source)
        table.append([source.name, 4, labels.index(row["label"]), row["label"]])
    made.table(tmp_path / "esc" / "meta" / "esc50.csv", table)
    options = ("--allow-missing", "--json", "-", "--bootstrap", 0)
    facts = json.loads(soundsearch("bench", "esc50", "esc", *options).stdout)
    assert facts["model"]["name"] == "starter" and facts["counts"]["clips"] == len(rows) == 20
    accuracy = facts["directions"][0]["numbers"]["accuracy"]["value"]
    assert len(labels) == 10 and accuracy > 0.6


@pytest.mark.data
def test_the_starter_on_real_sounds_and_their_captions(soundsearch: Run, data_folder: Path) -> None:
    with open(data_folder / "sounds.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "valid"][::25]
    table = [["file", "caption"], *([data_folder / row["file"], row["caption"]] for row in rows)]
    made.table(Path("real.csv"), table)
    options = ("--merge-identical-captions", "--json", "-", "--bootstrap", 0)
    facts = json.loads(soundsearch("bench", "manifest", "real.csv", *options).stdout)
    n_clips = facts["counts"]["clips"]
    assert n_clips == len(rows) > 30
    found = facts["directions"][0]["numbers"]["R@5"]["value"]
    assert found > 3 * 5 / n_clips  # three times what chance would find


# ---- mistakes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--prompt", "the sound of"), "a prompt holds {} once"),
        (("--protocol", "best"), "--protocol"),
        (("--clip-score", "median"), "--clip-score"),
        (("--protocol", "vip-ant", "--clip-score", "best"), "one embedding for each clip"),
        (("--split", "test"), "--split"),
        (("--bootstrap", "-1"), "--bootstrap"),
        (("-j", "0"), "--jobs"),
        (("--model", "tiny"), "two encoders are called tiny"),
    ],
)
def test_wrong_options_are_usage_errors(
    soundsearch: Run, clotho: Path, options: tuple[str, ...], said: str
) -> None:
    result = soundsearch("bench", "clotho", clotho, *QUICK, *options, code=2)
    assert result.stdout == "" and said in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("clotho", "nowhere"), "nowhere: no such folder; expected the root of clotho"),
        (("esc50", "."), ".: no meta/esc50.csv here; expected the root of esc50"),
        (("manifest", "no.csv"), "no.csv: cannot be read (No such file or directory)"),
        (("manifest", "no.csv", "--model", "nobody"), "no encoder named 'nobody'; there is: "),
        (("table", "no.json"), "no.json"),
    ],
)
def test_what_is_not_there(soundsearch: Run, arguments: tuple[str, ...], said: str) -> None:
    assert said in line(soundsearch("bench", *arguments, code=1))


def test_a_result_that_cannot_be_written(soundsearch: Run, clotho: Path) -> None:
    Path("file").write_text("")
    for option in ("--json", "--ranks", "--markdown", "--plots"):
        result = soundsearch("bench", "clotho", clotho, *QUICK, option, "file/below.x", code=1)
        (only,) = result.stderr.splitlines()
        assert only.startswith("error: cannot write file/below.x")


def test_every_command_has_an_example_and_says_what_its_options_are(soundsearch: Run) -> None:
    for command in app_commands():
        text = soundsearch("bench", command, "--help").stdout
        assert f"Example: soundsearch bench {command}" in text


def app_commands() -> list[str]:
    return [
        command.name or command.callback.__name__
        for command in bench.app.registered_commands
        if command.callback
    ]


def test_markdown_that_the_disk_refuses_leaves_the_old_file(
    tmp_path: Path, soundsearch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tables" / "table.md"
    path.parent.mkdir()
    path.write_text("old")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    result = soundsearch("bench", "table", "--markdown", path, code=1)
    assert "No space left" in result.stderr and str(path) in result.stderr
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]
