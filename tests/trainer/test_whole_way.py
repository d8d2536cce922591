"""From sounds and pictures to an encoder that finds them, through the commands alone."""

from __future__ import annotations

import json
from pathlib import Path

from soundsearch.encoder.bundle import EncoderBundle
from tests.conftest import Run
from tests.sounds import noise, tone, write
from tests.trainer.tiny_clip import jpeg, write_tiny_clip

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
