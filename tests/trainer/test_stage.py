"""Both stages from shards to run folder: what they learn, and how they go on after a break."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from soundsearch.errors import ConfigError, SoundsearchError
from tests.trainer.made_mobilenet import published_like
from tests.trainer.made_shards import DIM, ENCODER, TINY, made_shards, store, vector_of
from trainer.contrast import ContrastConfig
from trainer.data.example import ShardError
from trainer.epochs import kept_epochs
from trainer.front_ends import EFFICIENTAT, FRONT_ENDS, VIP_ANT, with_frames
from trainer.loop import TrainingError
from trainer.presets import default_of, preset
from trainer.runs import read_run, read_weights
from trainer.stage import Machine, train_stage
from trainer.towers.mobilenet import (
    PUBLISHED_NAME,
    MobileNetConfig,
    MobileNetTower,
    begin_from_published,
)
from trainer.towers.vit import SpectrogramViT, VitConfig

ROOT = Path(__file__).parents[2]
#: For several processes: an optimiser that notices gradients of the wrong size.
SHARED = dataclasses.replace(
    TINY,
    optimiser="lars",
    learning_rate=5.0,
    flat_learning_rate=0.05,
    contrast=ContrastConfig(chunk=2),
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_shards(tmp_path_factory.mktemp("shards")).folder


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in log_of(folder)]


def test_the_pivot_stage_learns_which_sound_belongs_to_which_picture(
    shards: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(TINY, epochs=60.0, average=0.9)
    machine = Machine(valid=shards, check_every=20.0)
    run = train_stage(shards, tmp_path / "run", config, machine)
    last = log_of(run)[-1]
    # six pitches: a guess is right one time in six; words were never seen
    assert last["valid_images_from_audio_recall_at_1"] > 0.8
    assert last["valid_captions_to_audio_recall_at_1"] > 0.8
    assert losses(run)[-1] < 0.7 * losses(run)[0]
    assert 0 < last["waited_s"] < last["seconds"] + 1
    found = read_run(run)
    assert found.config.stage == "pivot"
    assert (found.clip_model.model, found.clip_model.pretrained, found.vectors.dim) == (
        "made",
        "by-hand",
        DIM,
    )
    assert found.config.front_end == TINY.front_end
    assert found.data["n_clips"] == 18
    with torch.no_grad():
        assert found.tower(torch.zeros(2, 16, 23)).shape == (2, DIM)
    assert not (run / "checkpoint.safetensors").exists()
    assert list((run / "tensorboard").iterdir())


def test_shuffled_pairs_teach_nothing(shards: Path, tmp_path: Path) -> None:
    """The control: the same data, the vectors handed to other clips."""
    data = made_shards(tmp_path / "shards", n_clips=36, examples_per_shard=12)
    generator = torch.Generator().manual_seed(0)
    for number, shard in enumerate(data.shards):
        pitches = torch.randint(6, (12,), generator=generator).tolist()
        store(shard, "images", [vector_of(p)[None] for p in pitches], data.digest(number))
    config = dataclasses.replace(TINY, epochs=30.0)
    run = train_stage(
        data.folder, tmp_path / "run", config, Machine(valid=shards, check_every=30.0)
    )
    assert log_of(run)[-1]["valid_images_from_audio_recall_at_1"] < 0.45


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights that stand for the published ones."""
    return published_like(tmp_path / "published.safetensors", monkeypatch)


#: Of the published features, three tenths of a second.
BEGUN = dataclasses.replace(
    TINY,
    tower="mobilenet",
    front_end=dataclasses.replace(
        EFFICIENTAT,
        audio=dataclasses.replace(EFFICIENTAT.audio, window_s=0.345, hop_s=0.2),
        features=dataclasses.replace(EFFICIENTAT.features, n_frames=32),
    ),
    mobilenet=MobileNetConfig(hidden=8, fixed_blocks=12, hold_statistics=True, body_rate=1e-6),
    epochs=1.0,
)


def test_a_stage_begins_from_published_weights_and_the_next_from_it(
    shards: Path, tmp_path: Path, published: Path
) -> None:
    config = dataclasses.replace(BEGUN, init=str(published))
    first = train_stage(shards, tmp_path / "first", config)
    run = read_run(first)
    assert isinstance(run.tower, MobileNetTower)
    begun = MobileNetTower(MobileNetConfig())
    begin_from_published(begun, published)
    found, learnt = begun.features.state_dict(), run.tower.features.state_dict()
    for name, value in found.items():
        fixed = int(name.partition(".")[0]) <= 12 or "running" in name
        torch.testing.assert_close(learnt[name], value, msg=name, rtol=0, atol=0 if fixed else 1e-7)
    assert any(
        (learnt[name] != value).any() for name, value in found.items()
    )  # at their small rate
    assert run.data["began_from"] == PUBLISHED_NAME
    second = train_stage(
        shards,
        tmp_path / "second",
        dataclasses.replace(BEGUN, stage="captions", texts="gold", init=str(first)),
    )
    assert read_run(second).data["began_from"] == PUBLISHED_NAME


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tower": "vit"}, "these weights are for the mobilenet tower"),
        ({"front_end": TINY.front_end}, "take --front-end efficientat"),
        ({"mobilenet": MobileNetConfig(width=0.1)}, r"weights of width 0\.4, this tower has 0\.1"),
    ],
)
def test_a_run_that_published_weights_do_not_fit_is_refused(
    shards: Path,
    tmp_path: Path,
    published: Path,
    changes: dict[str, object],
    message: str,
) -> None:
    config = dataclasses.replace(BEGUN, init=str(published), **changes)
    with pytest.raises(SoundsearchError, match=message) as refused:
        train_stage(shards, tmp_path / "run", config)
    assert str(published) in str(refused.value) and not (tmp_path / "run").exists()


def test_dropout_is_the_same_after_a_break(shards: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        TINY, tower="mobilenet", mobilenet=MobileNetConfig(width=0.1, hidden=8, dropout=0.5)
    )
    whole = train_stage(shards, tmp_path / "whole", config)

    def stop(step: int, record: Mapping[str, float]) -> None:
        if step == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_stage(shards, tmp_path / "broken", config, watch=stop)
    torch.rand(3)
    train_stage(shards, tmp_path / "broken", config)
    assert losses(tmp_path / "broken") == losses(whole)


@pytest.mark.parametrize("kill_after", [3, 7])
def test_a_killed_run_goes_on_to_the_same_losses(
    shards: Path, tmp_path: Path, kill_after: int
) -> None:
    whole = train_stage(shards, tmp_path / "whole", TINY)
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.trainer.made_shards import TINY\n"
        "from trainer.stage import train_stage\n"
        "watch = lambda step, record: time.sleep(0.3) if step == int(sys.argv[3]) else None\n"
        "train_stage(Path(sys.argv[1]), Path(sys.argv[2]), TINY, watch=watch)\n"
    )
    broken = tmp_path / "broken"
    command = [sys.executable, "-c", program, str(shards), str(broken), str(kill_after)]
    # as many threads as here: sums of another order differ in their last bits
    alike = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, cwd=ROOT, env=alike)
    deadline = time.monotonic() + 60
    while not (broken / "log.jsonl").exists() or len(log_of(broken)) < kill_after:
        assert child.poll() is None, "it ended too early to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (broken / "weights.safetensors").exists()
    train_stage(shards, broken, TINY)
    assert losses(broken) == losses(whole)
    for name, value in read_weights(whole).items():
        torch.testing.assert_close(read_weights(broken)[name], value, msg=name, rtol=0, atol=0)


def test_two_processes_train_and_measure_as_one(shards: Path, tmp_path: Path) -> None:
    machine = Machine(valid=shards, check_every=2.0, keep_epochs=2)
    alone = train_stage(shards, tmp_path / "alone", SHARED, machine)
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "import trainer.checks\n"
        "from tests.trainer.test_stage import SHARED\n"
        "from trainer.stage import train_stage\n"
        "from trainer.stage import Machine\n"
        "trainer.checks.BATCH_SIZE = 5\n"  # 18 clips: 10 for one process, 8 for the other
        "shards, run = map(Path, sys.argv[1:])\n"
        "machine = Machine(valid=shards, check_every=2.0, keep_epochs=2)\n"
        "train_stage(shards, run, SHARED, machine)\n"
    )
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *(str(program), str(shards), str(tmp_path / "two")),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(alone), abs=2e-4)
    measured = [
        [{k: v for k, v in r.items() if k.startswith("valid")} for r in log_of(run)]
        for run in (tmp_path / "two", alone)
    ]
    assert measured[0] == measured[1]
    assert [step for step, found in enumerate(measured[1], 1) if found] == [6, 12]
    assert kept_epochs(tmp_path / "two") == [3, 4]


def test_measuring_by_default_is_a_quarter_of_training_at_most(
    shards: Path, tmp_path: Path
) -> None:
    nine = dataclasses.replace(TINY, epochs=9.0, precision=None)
    run = train_stage(shards, tmp_path / "run", nine, Machine(valid=shards))  # 18 clips, 3 steps
    metric = "valid_images_from_audio_recall_at_1"
    assert [r["step"] for r in log_of(run) if metric in r] == [12, 24, 27]
    few = train_stage(shards, tmp_path / "few", nine, Machine(valid=shards, n_valid=4))
    assert [r["step"] for r in log_of(few) if metric in r] == list(range(3, 28, 3))
    # without a choice, what the device does best
    assert json.loads((run / "config.json").read_text())["precision"] == "fp32"


def test_chunks_and_workers_change_nothing(shards: Path, tmp_path: Path) -> None:
    one = train_stage(shards, tmp_path / "one", TINY)
    chunked = dataclasses.replace(TINY, contrast=ContrastConfig(chunk=2))
    other = train_stage(shards, tmp_path / "other", chunked, Machine(n_workers=2))
    assert losses(other) == pytest.approx(losses(one), abs=1e-4)


def test_other_settings_are_refused_with_the_difference(shards: Path, tmp_path: Path) -> None:
    train_stage(shards, tmp_path / "run", TINY)
    other = dataclasses.replace(TINY, batch_size=4, contrast=ContrastConfig(reduction="mean"))
    with pytest.raises(ConfigError) as caught:
        train_stage(shards, tmp_path / "run", other)
    assert "batch_size was 6, is 4" in str(caught.value)
    assert "contrast.reduction was 'sum', is 'mean'" in str(caught.value)
    may_change = dataclasses.replace(TINY, save_every=1, log_every=5)
    assert train_stage(shards, tmp_path / "run", may_change) == tmp_path / "run"


def test_other_clips_are_refused(shards: Path, tmp_path: Path) -> None:
    train_stage(shards, tmp_path / "run", TINY)
    more = made_shards(tmp_path / "more", n_clips=20)
    with pytest.raises(ConfigError, match=r"data\.n_clips was 18, is 20"):
        train_stage(more.folder, tmp_path / "run", TINY)


def test_captions_go_on_from_the_pivot(shards: Path, tmp_path: Path) -> None:
    pivot = train_stage(shards, tmp_path / "pivot", TINY)
    config = dataclasses.replace(
        TINY, stage="captions", texts="gold", init=str(pivot), epochs=1.0, learning_rate=1e-9
    )
    run = train_stage(shards, tmp_path / "captions", config)
    before, after = read_weights(pivot), read_weights(run)
    for name in before:
        if name.startswith("tower."):
            torch.testing.assert_close(after[name], before[name], msg=name)
    # the scale begins anew
    assert before["log_scale"].item() != pytest.approx(2.6593, abs=1e-4)
    assert after["log_scale"].item() == pytest.approx(2.6593, abs=1e-4)


def test_few_shots_are_drawn_with_the_seed(shards: Path, tmp_path: Path) -> None:
    few = dataclasses.replace(TINY, stage="captions", texts="gold", n_clips=8, epochs=2.0)
    run = train_stage(shards, tmp_path / "few", few)
    assert json.loads((run / "config.json").read_text())["data"]["n_clips"] == 8
    part = dataclasses.replace(few, n_clips=None, fraction=0.5)
    assert losses(train_stage(shards, tmp_path / "part", part)) != losses(run)
    config = json.loads((tmp_path / "part" / "config.json").read_text())
    assert config["data"]["n_clips"] == 9
    with pytest.raises(TrainingError, match="n_clips is 19, but only 18 clips have vectors"):
        train_stage(shards, tmp_path / "many", dataclasses.replace(few, n_clips=19))


def test_a_loss_that_turns_nan_stops_and_keeps_the_last_good_weights(
    shards: Path, tmp_path: Path
) -> None:
    wild = dataclasses.replace(TINY, learning_rate=1e30, save_every=1, warmup_epochs=0.0)
    with pytest.raises(TrainingError) as caught:
        train_stage(shards, tmp_path / "run", wild)
    assert "lower the learning rate" in str(caught.value)
    from safetensors.torch import load_file

    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    assert str(checkpoint) in str(caught.value)
    assert all(v.isfinite().all() for v in load_file(checkpoint).values())
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_a_damaged_checkpoint_is_one_line(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "checkpoint.safetensors").write_bytes(b"half of a file")
    with pytest.raises(
        TrainingError, match=r"checkpoint\.safetensors: not a checkpoint of this run"
    ):
        train_stage(shards, run, TINY)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 50}, "18 clips have vectors, fewer than a batch of 50"),
        ({"precision": "fp16"}, "precision fp16 needs a GPU"),
        ({"encoder": "other"}, f"no vectors of images by other; there are: {ENCODER}"),
        ({"init": "nowhere"}, "nowhere: not a finished run"),
    ],
)
def test_what_cannot_be_trained_is_said_at_once(
    shards: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises((TrainingError, ShardError), match=message):
        train_stage(shards, tmp_path / "run", dataclasses.replace(TINY, **settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 1}, "batch_size must be 2 or more"),
        ({"fraction": 0.0}, "fraction"),
        ({"n_clips": 5, "fraction": 0.5}, "excludes fraction"),
        ({"tower": "compact", "init": "clip"}, "init clip is for the vit tower"),
        ({"tower": "mobilenet", "init": "clip"}, "or from a .safetensors file"),
        ({"tower": "mobilenet", "mobilenet": MobileNetConfig(logits=True)}, "mobilenet.logits"),
        ({"texts": "gold"}, "texts belongs to the captions stage"),
        ({"schedule_epochs": 1.0}, "schedule_epochs"),
        ({"epochs": 0.0}, "epochs"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_read(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **settings)


def test_missing_shards_and_vectors_are_one_line(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="no such folder"):
        train_stage(tmp_path / "none", tmp_path / "run", TINY)
    bare = made_shards(tmp_path / "bare")
    for path in bare.folder.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(ShardError, match="run `soundsearch train embed-images"):
        train_stage(bare.folder, tmp_path / "run", TINY)
    golden = dataclasses.replace(TINY, stage="captions", texts="golden")
    with pytest.raises(ConfigError, match="texts must be one of gold, label, labels, random"):
        train_stage(shards, tmp_path / "run", golden)


def test_the_papers_numbers() -> None:
    """LARS, base rate batch / 256, ten epochs of warm-up, cosine to a thousandth at epoch 1,000."""
    paper = preset("paper-va")
    loop = paper.loop(1_715_367)
    assert (loop.optimiser, loop.momentum, loop.eta, loop.weight_decay) == ("lars", 0.9, 1e-3, 1e-6)
    assert loop.learning_rate == pytest.approx(0.3375)
    assert loop.flat_learning_rate == pytest.approx(0.0081)
    assert loop.steps == pytest.approx(83_391, abs=10)  # the last of the released checkpoints
    assert loop.warmup_steps == pytest.approx(39_710, abs=5)
    assert loop.schedule_steps == pytest.approx(3_971_000, abs=300)
    assert (loop.last_rate, loop.clip_norm, loop.precision) == (0.001, None, "fp16")
    assert paper.contrast == ContrastConfig(reduction="sum", logit_scale=1 / 0.07)
    captions = preset("paper-at").loop(44_160)
    assert captions.learning_rate == pytest.approx(0.05)
    assert captions.flat_learning_rate == pytest.approx(0.0012)
    assert captions.steps == captions.warmup_steps == 6_900
    # the default's rates follow the batch and the rate that are given, to the same numbers
    default = default_of("paper-va")
    assert default.loop(1_715_367).learning_rate == pytest.approx(0.3375)
    assert default.loop(1_715_367).flat_learning_rate == pytest.approx(0.0081)
    faster = dataclasses.replace(default, learning_rate=2.0).loop(1000)
    assert faster.flat_learning_rate == pytest.approx(0.048)  # in the same proportion


def test_a_stage_begins_with_the_authors_weights(shards: Path, tmp_path: Path) -> None:
    from tests.trainer.convert.made_checkpoint import SETTINGS, tower_of, write_checkpoint
    from trainer.convert.vip_ant import authors_settings

    audio = {"max_len": 40, "num_mel_bins": 16, "norms": [-6.0, 5.0]}
    model = {"pre_encoder": {"stride": [5, 4]}}
    settings = {**SETTINGS, "running": {"audio": audio}, "model": {"audio": model}}
    vit = dataclasses.replace(TINY.vit, n_heads=1, n_frames=40)
    theirs = tower_of(vit, seed=4)
    path = write_checkpoint(tmp_path / "00071478.pth", theirs.state_dict(), settings=settings)
    front_end, found = authors_settings(path)
    assert (found, front_end.features.n_frames, front_end.features.mean) == (vit, 40, -6.0)
    assert front_end.audio.window_s == pytest.approx(0.45)
    still = dataclasses.replace(
        TINY, init=str(path), front_end=front_end, vit=vit, learning_rate=1e-9, epochs=1.0
    )
    run = read_run(train_stage(shards, tmp_path / "run", still))
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(run.tower.state_dict()[name], value, msg=name)
    small = dataclasses.replace(still, vit=dataclasses.replace(vit, width=8))
    with pytest.raises(SoundsearchError):
        train_stage(shards, tmp_path / "small", small)
    compact = dataclasses.replace(still, tower="compact")
    with pytest.raises(TrainingError, match="the authors' weights are for the vit tower"):
        train_stage(shards, tmp_path / "compact", compact)
    norms = dataclasses.replace(front_end.features, mean=-4.0)
    other = dataclasses.replace(still, front_end=dataclasses.replace(front_end, features=norms))
    with pytest.raises(SoundsearchError, match=r"mean is -6\.0, this run's -4\.0"):
        train_stage(shards, tmp_path / "norms", other)
    # a run of another length has the front end, and positions of its own
    longer = with_frames(front_end, 45)
    train_stage(shards, tmp_path / "longer", dataclasses.replace(still, front_end=longer))


def test_weights_of_an_older_layout_are_one_line(shards: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    run = train_stage(shards, tmp_path / "run", dataclasses.replace(TINY, epochs=1.0))
    whole = load_file(run / "weights.safetensors")
    later = dataclasses.replace(TINY, stage="captions", texts="gold", init=str(run), epochs=1.0)
    older = {name.removeprefix("tower."): value for name, value in whole.items()}
    renamed = {name.replace("misc.", "positions."): value for name, value in whole.items()}
    for weights, message in (
        (older, r"weights\.safetensors: an older layout, .* expected tower\.\* and log_scale"),
        (renamed, "another layout than config.json says"),
    ):
        save_file(weights, run / "weights.safetensors")
        with pytest.raises(TrainingError, match=message) as caught:
            read_run(run)
        assert "\n" not in str(caught.value)
        with pytest.raises(SoundsearchError) as refused:
            train_stage(shards, tmp_path / "later", later)
        assert "\n" not in str(refused.value) and "weights.safetensors" in str(refused.value)


def test_a_run_that_an_older_version_began_goes_on(shards: Path, tmp_path: Path) -> None:
    run = train_stage(shards, tmp_path / "run", TINY)
    path = run / "config.json"
    plain = json.loads(path.read_text())
    del plain["average"], plain["contrast"]["duplicates"]  # settings that came later
    path.write_text(json.dumps(plain))
    assert train_stage(shards, run, TINY) == run
    with pytest.raises(ConfigError, match=r"average was 0\.0, is 0\.5"):
        train_stage(shards, run, dataclasses.replace(TINY, average=0.5))
    path.write_text(json.dumps({**plain, "batchsize": 3}))
    with pytest.raises(ConfigError, match=r"batchsize: unknown key.* begun by another version"):
        train_stage(shards, run, TINY)


@pytest.mark.parametrize(("name", "rows"), [("vip-ant-4s", 24), ("vip-ant-5s", 30)])
def test_stages_on_clips_of_4_and_5_seconds(
    shards: Path, tmp_path: Path, name: str, rows: int
) -> None:
    """Trained at that length, and gone on from weights of 10 s, whose rows from 6 on are taken."""
    vit = VitConfig(width=8, n_layers=1, n_heads=1, patch=32, dim=DIM)
    ten = dataclasses.replace(TINY, vit=vit, front_end=VIP_ANT, learning_rate=1e-9, epochs=1.0)
    begun = train_stage(shards, tmp_path / "ten", ten)
    short = dataclasses.replace(ten, front_end=FRONT_ENDS[name], init=str(begun))
    run = read_run(train_stage(shards, tmp_path / "short", short))
    assert isinstance(run.tower, SpectrogramViT)
    assert run.tower.config.grid == (rows, 5)
    assert run.config.front_end.audio.window_s == pytest.approx(float(name[-2]) + 0.05)
    table = read_weights(begun)["tower.misc.positional_embedding"]
    expected = torch.cat([table[:1], table[1 + 6 * 5 : 1 + (6 + rows) * 5]])
    torch.testing.assert_close(run.tower.misc.positional_embedding.detach(), expected)
