"""`train pivot`, `train captions`, `train scaling` as they are typed."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.trainer.convert.made_checkpoint import SETTINGS, tower_of, write_checkpoint
from tests.trainer.made_mobilenet import published_like
from tests.trainer.made_shards import TINY, made_shards
from trainer.front_ends import EFFICIENTAT
from trainer.presets import default_of
from trainer.runs import read_config
from trainer.towers.mobilenet import BEGUN

PIVOT, CAPTIONS = default_of("paper-va"), default_of("paper-at")

SMALL = ("--epochs", "2", "--warmup-epochs", "0")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_shards(tmp_path_factory.mktemp("shards")).folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The tiny towers and front end as a file."""
    plain = dataclasses.asdict(TINY)
    kept = {key: plain[key] for key in ("vit", "front_end", "init", "batch_size", "precision")}
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(kept), encoding="utf-8")
    return path


def test_the_stages_follow_each_other(
    shards: Path, config: Path, tmp_path: Path, soundsearch: Run
) -> None:
    done = soundsearch(
        *("train", "pivot", shards, "--run", "pivot", "--config", config, *SMALL),
        *("--optimiser", "adamw", "--loss", "mean", "--chunk", "4", "--valid", shards),
        *("--check-every", "1", "--keep-epochs", "all", "--seed", "5"),
    )
    assert done.stdout == "pivot\n"
    assert "step 6/6" in done.stderr
    assert "valid_images_from_audio_recall_at_1" in done.stderr
    assert [path.name for path in sorted(Path("pivot/epochs").iterdir())] == [
        "0001.safetensors",
        "0002.safetensors",
    ]
    soundsearch("train", "pick", "pivot", "--by", "valid_images_from_audio_recall_at_1")
    used = read_config(Path("pivot"))
    assert (used.optimiser, used.contrast.reduction, used.contrast.chunk) == ("adamw", "mean", 4)
    assert (used.epochs, used.seed, used.vit) == (2.0, 5, TINY.vit)

    soundsearch(
        *("train", "captions", shards, "--init", "pivot", "--run", "few", "--count", "8"),
        *("--batch-size", "4", "--precision", "fp32", "--three-way", *SMALL),
    )
    few = read_config(Path("few"))
    assert (few.stage, few.texts, few.n_clips, few.init) == ("captions", "gold", 8, "pivot")
    assert (few.vit, few.front_end) == (TINY.vit, TINY.front_end)  # of the run it begins from
    assert few.contrast == dataclasses.replace(CAPTIONS.contrast, three_way=True)

    drawn = soundsearch(
        *("train", "scaling", shards, "--init", "pivot", "--valid", shards, "--out", "curve"),
        *("--counts", "0,4", "--batch-size", "4"),
    )
    few = read_config(Path("curve/4-captions-seed-0"))  # as `train captions --count 4`
    assert (few.epochs, few.warmup_epochs) == (CAPTIONS.epochs, CAPTIONS.warmup_epochs)
    assert drawn.stdout == "curve/scaling.csv\ncurve/scaling.png\n"
    assert len(Path("curve/scaling.csv").read_text().splitlines()) == 3


def test_weights_of_efficientat_bring_their_tower_and_front_end(
    shards: Path, tmp_path: Path, soundsearch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = published_like(tmp_path / "mn04.safetensors", monkeypatch)
    Path("head.json").write_text('{"mobilenet": {"hidden": 16, "fixed_blocks": 15}}')
    soundsearch(
        *("train", "captions", shards, "--init", weights, "--run", "run", "--config", "head.json"),
        *("--count", "6", "--batch-size", "6", "--epochs", "1", "--warmup-epochs", "0"),
        *("--optimiser", "adamw", "--device", "cpu"),
    )
    used = read_config(Path("run"))
    assert (used.tower, used.front_end) == ("mobilenet", EFFICIENTAT)
    assert used.mobilenet == dataclasses.replace(BEGUN, hidden=16, fixed_blocks=15)
    assert used.mobilenet.hold_statistics


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tower", "compact"], "init clip is for the vit tower"),
        (["--tower", "mobilenet"], "or from a .safetensors file"),
        (["--init", "none.safetensors", "--batch-size", "6"], "none.safetensors: cannot be read"),
        (["--init", "other.safetensors", "--batch-size", "6"], "other.safetensors: its SHA-256 is"),
        (["--batch-size", "12", "--precision", "fp16", "--device", "cpu"], "fp16 needs a GPU"),
        (["--batch-size", "12", "--precision", "tf32", "--device", "cpu"], "tf32 needs a GPU"),
        (
            ["--tower", "compact", "--init", "random", "--batch-size", "6", "--chunk", "3"],
            "chunk is 3, but this tower has batch normalisation",
        ),
        (
            ["--front-end", "clap"],
            "front_end: must be one of vip-ant, starter, efficientat, vip-ant-4s, vip-ant-5s, vip-ant-18s, not 'clap'",
        ),
        (["--init", "nowhere", "--batch-size", "6"], "nowhere: not a run folder"),
        (
            ["--preset", "paper-va", "--batch-size", "6"],
            "--preset paper-va fixes batch_size at 432 (configs/running/bimodal.yaml), and "
            "--batch-size has 6; leave out one of the two",
        ),
        (["--preset", "paper-va", "--loss", "mean"], "contrast.reduction at sum"),
        (["--preset", "paper-va", "--loss", "mean"], "and --loss has mean"),
        (["--preset", "paper-va", "--front-end", "vip-ant-5s"], "--front-end has vip-ant-5s"),
        (["--preset", "paper-va", "--init", "random"], "--init has random"),
        (["--preset", "paper-va", "--config", "small.json"], "small.json has 6"),
        (["--preset", "paper-va", "--precision", "fp32"], "18 clips have vectors, fewer than"),
        (["--encoder", "x"], "no vectors of images by x"),
        (["--config", "none.json"], "none.json: cannot be read"),
        (["--bench", "esc50=nowhere"], "nowhere"),
        (["--bench", "fsd50k=here"], "must be one of clotho"),
    ],
)
def test_what_cannot_be_is_one_line(
    shards: Path, arguments: list[str], message: str, soundsearch: Run
) -> None:
    Path("small.json").write_text('{"batch_size": 6}')
    Path("other.safetensors").write_bytes(b"other weights")
    failed = soundsearch("train", "pivot", shards, "--run", "run", *arguments, code=1)
    assert failed.stderr.startswith("error: ")
    assert message in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert not Path("run").exists()  # so the same folder can be used when it is put right


@pytest.mark.parametrize(
    "arguments",
    [
        ["pivot", "shards"],
        ["pivot", "shards", "--run", "r", "--batch-size", "1"],
        ["pivot", "shards", "--run", "r", "--precision", "int4"],
        ["pivot", "shards", "--run", "r", "--bench", "esc50"],
        ["pivot", "shards", "--run", "r", "--keep-epochs", "some"],
        ["pivot", "shards", "--run", "r", "--keep-epochs", "-1"],
        ["pivot", "shards", "--run", "r", "--check-every", "0"],
        ["captions", "shards", "--run", "r"],
        ["captions", "shards", "--run", "r", "--init", "clip", "--preset", "paper-va"],
        ["pivot", "shards", "--run", "r", "--preset", "paper"],
        [
            *("scaling", "s", "--init", "i", "--valid", "v", "--out", "o"),
            *("--preset", "paper-at", "--steps", "2"),
        ],
        ["scaling", "s", "--init", "i", "--valid", "v", "--out", "o", "--counts", "ten"],
        [
            "scaling",
            "s",
            "--init",
            "i",
            "--valid",
            "v",
            "--out",
            "o",
            "--steps",
            "2",
            "--epochs",
            "1",
        ],
    ],
)
def test_wrong_usage_is_told_as_such(arguments: list[str], soundsearch: Run) -> None:
    soundsearch("train", *arguments, code=2)


def test_a_changed_option_is_refused_with_the_difference(
    shards: Path, config: Path, soundsearch: Run
) -> None:
    begin = ("train", "pivot", shards, "--run", "run", "--config", config, *SMALL)
    soundsearch(*begin, "--optimiser", "adamw")
    failed = soundsearch(*begin, code=1)
    assert "optimiser was 'adamw', is 'lars'" in failed.stderr
    # a run's own config.json is a config file
    again = soundsearch("train", "pivot", shards, "--run", "run", "--config", "run/config.json")
    assert again.stdout == "run\n"


def test_a_preset_and_a_run_that_contradict_each_other_are_both_named(
    shards: Path, config: Path, soundsearch: Run
) -> None:
    soundsearch("train", "pivot", shards, "--run", "run", "--config", config, *SMALL)
    begin = ("train", "captions", shards, "--run", "at", "--init", "run", "--preset", "paper-at")
    failed = soundsearch(*begin, code=1)
    assert "--preset paper-at fixes front_end at vip-ant" in failed.stderr
    assert "and run has tiny" in failed.stderr
    failed = soundsearch("train", "captions", shards, "--run", "at", code=2)
    assert "--init" in failed.stderr


def test_a_stage_goes_on_from_the_front_end_of_the_authors_checkpoint(
    shards: Path, tmp_path: Path, soundsearch: Run
) -> None:
    audio = {"max_len": 40, "num_mel_bins": 16, "norms": [-6.0, 5.0]}
    model = {"pre_encoder": {"stride": [5, 4]}}
    settings = {**SETTINGS, "running": {"audio": audio}, "model": {"audio": model}}
    vit = dataclasses.replace(TINY.vit, n_heads=1, n_frames=40)
    write_checkpoint(tmp_path / "va.pth", tower_of(vit).state_dict(), settings=settings)
    small = (*SMALL, "--batch-size", "6", "--precision", "fp32", "--run", "at")
    begin = ("train", "captions", shards, "--init", tmp_path / "va.pth", *small)
    soundsearch(*begin)
    used = read_config(Path("at"))
    assert (used.vit, used.front_end.features.mean) == (vit, -6.0)
    failed = soundsearch(*begin, "--run", "other", "--front-end", "vip-ant", code=1)
    assert "trained with another front end" in failed.stderr and "--front-end" in failed.stderr


def test_the_help_states_the_defaults(soundsearch: Run) -> None:
    """Each "[default: ...]" of an option without a value of its own is that of the stages."""
    page = " ".join(soundsearch("train", "pivot", "--help").stdout.split())
    for option, pivot, captions in (
        ("--batch-size", PIVOT.batch_size, CAPTIONS.batch_size),
        ("--epochs", PIVOT.epochs, CAPTIONS.epochs),
    ):
        assert f"[default: {pivot:g}; for captions {captions:g}]" in page.split(f" {option} <")[1]
    for name, expected in (
        ("warmup-epochs", f"{PIVOT.warmup_epochs:g}"),
        ("seed", f"{PIVOT.seed}"),
        ("front-end", PIVOT.front_end.name),
        ("tower", PIVOT.tower),
        ("optimiser", f"{PIVOT.optimiser}, as the paper"),
        ("loss", PIVOT.contrast.reduction),
        ("duplicates", PIVOT.contrast.duplicates),
        ("init", PIVOT.init),
    ):
        stated = page.split(f" --{name} <")[1].split("[default: ")[1]
        assert stated.startswith(f"{expected}]")
    assert PIVOT.schedule_epochs is PIVOT.clip_norm is PIVOT.contrast.largest_logit_scale is None
    same = ("warmup_epochs", "seed", "front_end", "tower", "optimiser", "precision", "contrast")
    assert [getattr(PIVOT, name) for name in same] == [getattr(CAPTIONS, name) for name in same]


def test_under_torchrun_one_process_speaks(shards: Path, config: Path, tmp_path: Path) -> None:
    arguments = ("train", "pivot", str(shards), "--run", "two", "--config", str(config), *SMALL)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = subprocess.run(
        [sys.executable, *torchrun, "-m", "soundsearch", "--", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "two\n"
    assert done.stderr.count("18 clips") == 1
    assert read_config(Path("two")).batch_size == 6
