"""From sounds and pictures to an encoder that finds them, through the commands alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from soundsearch.bench.datasets.audioset import COLUMNS
from soundsearch.encoder.bundle import EncoderBundle
from tests.conftest import Run
from tests.made_benchmarks import clotho, small_is_whole  # noqa: F401
from tests.sounds import noise, tone, write
from tests.tiny_encoder import WORDS
from tests.trainer.tiny_clip import jpeg, write_tiny_clip
from tests.videos import write_video

SMALL = {
    "vit": {"width": 32, "n_layers": 1, "n_heads": 2, "patch": 16, "stride": [32, 16]},
    "front_end": "starter",
    "init": "random",
    "optimiser": "adamw",
    "batch_size": 4,
    "learning_rate": 0.003,
}


def test_from_manifest_to_hits(tmp_path: Path, soundsearch: Run) -> None:
    sounds = {
        "a low hum": tone(110, 1.0, 16000),
        "a whistle": tone(2600, 1.0, 16000),
        "hiss": noise(1.0, 16000),
        "a beep": tone(900, 1.0, 16000),
    }
    rows = ["audio,image,caption"]
    for i, (caption, waveform) in enumerate(sounds.items()):
        write(tmp_path / f"sounds/{i}.wav", waveform, 16000)
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(i))
        rows.append(f"sounds/{i}.wav,{i}.jpg,{caption}")
    Path("pairs.csv").write_text("\n".join(rows) + "\n")
    Path("small.json").write_text(json.dumps(SMALL))
    clip = write_tiny_clip(tmp_path / "clip")
    model = ("--model", clip.model, "--pretrained", clip.pretrained)

    soundsearch("train", "shards", "pairs.csv", "shards")
    encoder = soundsearch("train", "embed-images", "shards", *model).stdout.strip()
    assert soundsearch("train", "embed-captions", "shards", *model).stdout.strip() == encoder
    stage = ("--config", "small.json", "--epochs", 40, "--warmup-epochs", 1)
    soundsearch("train", "pivot", "shards", "--run", "pivot", *stage, "--valid", "shards")
    few = ("--init", "pivot", "--run", "few", "--epochs", 20, "--warmup-epochs", 1)
    fast = ("--optimiser", "adamw", "--learning-rate", 0.003, "--batch-size", 4)
    soundsearch("train", "captions", "shards", *few, *fast)
    soundsearch("train", "export", "few", "models/mine", "--name", "mine")

    bundle = EncoderBundle.read(Path("models/mine"))
    assert bundle.dim == 16
    assert bundle.audio.sample_rate == 32000
    card = Path("models/mine/model_card.md").read_text()
    assert "gold" in card and encoder in card
    soundsearch("index", "sounds", "--model", "mine")
    first = [
        Path(json.loads(soundsearch("query", caption, "--json").stdout)["hits"][0]["path"]).name
        for caption in sounds
    ]
    n_right = sum(name == f"{i}.wav" for i, name in enumerate(first))
    assert n_right >= 2, first  # twenty steps of a tiny tower, from whatever weights it began
    asked = soundsearch("bench", "manifest", "captions.csv", "--model", "mine", code=1)
    assert "captions.csv" in asked.stderr
    lines = [f"sounds/{i}.wav,{caption}" for i, caption in enumerate(sounds)]
    Path("captions.csv").write_text("\n".join(["file,caption", *lines]) + "\n")
    soundsearch("bench", "manifest", "captions.csv", "--model", "mine", "--json", "out.json")
    assert "R@1" in Path("out.json").read_text()


def test_from_the_list_of_audioset_to_recall_on_clotho(
    tmp_path: Path,
    soundsearch: Run,
    small_is_whole: None,  # noqa: F811
) -> None:
    """The way of docs/training.md in small: AudioSet's and AudioCaps' own tables, Clotho's bench."""
    ids = [f"-video_{i:03}x" for i in range(4)]
    labels = ("/m/09x0r", "/m/0912c9", "/t/dd00088", "/m/04rlf")
    rows = ["# Segments csv created on the spot", "# num_ytids=5, num_segs=5", f"# {COLUMNS}"]
    captions = ["audiocap_id,youtube_id,start_time,caption"]
    for i, (ytid, label) in enumerate(zip(ids, labels, strict=True)):
        sound = np.stack([tone(300.0 * (i + 1), 2.0)])
        write_video(tmp_path / "videos" / f"{ytid}.mov", sound, seconds=2.0)
        write(tmp_path / "caps" / f"{ytid}.wav", sound[0])
        rows.append(f'{ytid}, 0.500, 1.500, "{label}"')
        captions.append(f"{i},{ytid},0,a caption of number {i}")
    rows.append('gone_______, 0.000, 10.000, "/m/09x0r"')
    Path("unbalanced.csv").write_text("\n".join(rows) + "\n")
    Path("audiocaps.csv").write_text("\n".join(captions) + "\n")
    Path("small.json").write_text(json.dumps(SMALL))
    clip = write_tiny_clip(tmp_path / "clip")
    model = ("--model", clip.model, "--pretrained", clip.pretrained)

    done = soundsearch("train", "extract", "videos", "shards", "--segments", "unbalanced.csv")
    assert "in all 4" in done.stderr and "problems: 1" in done.stderr
    soundsearch("train", "embed-images", "shards", *model)
    few = ("--config", "small.json", "--epochs", 3, "--warmup-epochs", 1)
    soundsearch("train", "pivot", "shards", "--run", "va", *few)

    soundsearch("train", "embed-captions", "shards", "--texts", "labels", *model)
    begin = ("--init", "va", *few)
    soundsearch("train", "captions", "shards", "--texts", "label", "--run", "labelled", *begin)

    soundsearch("train", "shards", "audiocaps.csv", "captioned", "--root", "caps")
    soundsearch("train", "embed-captions", "captioned", *model)
    soundsearch("train", "captions", "captioned", "--run", "at", *begin)
    soundsearch("train", "export", "at", "models/mine", "--name", "mine")
    clotho(tmp_path / "Clotho", words=WORDS[:3])
    asked = ("bench", "clotho", tmp_path / "Clotho", "--model", "mine")
    soundsearch(*asked, "--json", "out.json")
    assert "R@1" in Path("out.json").read_text()
