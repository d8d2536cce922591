"""`soundsearch train embed-images, embed-captions, curate`: what they print, and what they refuse."""

from __future__ import annotations

import csv
import io
import re
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from soundsearch.cli import progress
from soundsearch.cli.train import embed
from soundsearch.errors import SoundsearchError
from tests.sounds import tone
from tests.trainer.made_shards import flac
from tests.trainer.tiny_clip import jpeg, write_tiny_clip
from trainer.curate import CuratedCaptions, curated_path
from trainer.data.example import Example, ExampleFacts
from trainer.data.shard_folder import Shard
from trainer.data.shard_writer import write_shards
from trainer.data.vectors import ShardVectors, vectors_path
from trainer.towers.clip_model import ClipChoice, load_clip

app = typer.Typer()
for command in (embed.embed_images, embed.embed_captions, embed.curate):
    app.command()(command)

SHARD = Path("shards") / "shard-000000.tar"


@pytest.fixture
def choice() -> ClipChoice:
    """A folder of one shard, a tiny CLIP and a pool, all in the current folder."""
    facts = ExampleFacts("made.wav", 0.0, 0.1, 8000, (), ("rain on a roof",), ("rain", "roof"))
    sound = flac(tone(440, 0.1))
    clips = [
        Example(facts, sound, (jpeg(1), jpeg(2)[:-400])),
        Example(facts, sound, (jpeg(3),)),
    ]
    write_shards(clips, Path("shards"))
    Path("pool.txt").write_text("a dog\nrain\nan engine\nbirds\n")
    return write_tiny_clip(Path("clip"))


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def refused(*arguments: object) -> str:
    with pytest.raises(SoundsearchError) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pictures_texts_and_captions_end_to_end(choice: ClipChoice) -> None:
    clip = load_clip(choice)
    model = ("--model", choice.model, "--pretrained", choice.pretrained, "--device", "cpu")

    result = run("embed-images", "shards", *model, "--batch-size", 2)
    assert result.stdout == f"{clip.encoder}\n"
    left_out, summary = result.stderr.splitlines()
    assert f"{SHARD}: image 1 of example 000000-00000: cannot be decoded" in left_out
    assert summary == "1 shards done, 0 ready before, 2 clips, 2 frames, 1 frames left out"
    images = ShardVectors(vectors_path(SHARD, "images", clip.encoder), Shard(SHARD).digest)
    assert [len(images.of(i)) for i in range(2)] == [1, 1]

    result = run("embed-captions", "shards", *model)
    assert result.stdout == f"{clip.encoder}\n"
    assert result.stderr == "1 shards done, 0 ready before, 2 clips, 2 texts\n"
    labels = ("embed-captions", "shards", *model, "--texts", "labels-joined", "--prompt", "{}!")
    run(*labels)
    assert run(*labels).stderr == "0 shards done, 1 ready before, 0 clips, 0 texts\n"
    joined = ShardVectors(vectors_path(SHARD, "labels-joined", clip.encoder), None).of(1)
    np.testing.assert_allclose(joined, clip.embed_texts(["rain, roof!"]), atol=4e-3)

    result = run("curate", "shards", "--pool", "pool.txt", "--top-k", 2, "--manifest", "chosen.csv")
    assert result.stdout == "curated:pool\n"
    assert result.stderr == "1 shards done, 0 ready before, 2 clips, 4 captions\n"
    captions = ["a dog", "rain", "an engine", "birds"]
    found = CuratedCaptions(curated_path(SHARD, "pool"), None)
    with open("chosen.csv", newline="") as file:
        assert [row["caption"] for row in csv.DictReader(file)] == [
            captions[k] for i in range(2) for k in found.of(i)
        ]


def test_a_shard_that_fails_is_told_by_the_exit_code(choice: ClipChoice) -> None:
    whole = SHARD.read_bytes()
    SHARD.with_name("shard-000001.tar").write_bytes(whole[:1500])
    model = ("--model", choice.model, "--pretrained", choice.pretrained)
    result = run("embed-images", "shards", *model, code=1)
    assert "skipped shards/shard-000001.tar: the tar file is cut off" in result.stderr
    assert result.stderr.splitlines()[-1].endswith("1 shards failed")
    assert result.stdout.startswith("tiny-clip-")


def test_what_cannot_be_done_is_one_clear_line(choice: ClipChoice) -> None:
    model = ("--model", choice.model, "--pretrained", choice.pretrained)
    Path("empty").mkdir()
    assert "no shards" in refused("embed-images", "empty", *model)
    assert "no shards" in refused("embed-captions", "empty", *model)
    assert "no shards" in refused("curate", "empty", "--pool", "pool.txt", "--top-k", 1)
    assert "no CLIP model is called" in refused("embed-images", "shards", "--model", "ViT-X")
    assert "no such file" in refused("embed-images", "shards", "--pretrained", "gone.pt")
    assert "run `soundsearch train embed-images shards`" in refused(
        "curate", "shards", "--pool", "pool.txt", "--top-k", 1
    )
    assert "top-k is 10" in refused("curate", "shards", "--pool", "pool.txt")
    assert "cannot be read" in refused("curate", "shards", "--pool", "gone.txt")
    run("embed-images", "shards", *model)
    other = write_tiny_clip(Path("other"), seed=1)
    assert "give that model, or embed the images" in refused(
        *("curate", "shards", "--pool", "pool.txt", "--top-k", 1),
        *("--pretrained", other.pretrained),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed-images", "shards", "--batch-size", 0),
        ("embed-images", "shards", "--device", "tpu"),
        ("embed-captions", "shards", "--texts", "words"),
        ("embed-captions", "shards", "--texts", "labels", "--prompt", "the sound"),
        ("curate", "shards"),
        ("curate", "shards", "--pool", "pool.txt", "--top-k", 0),
    ],
)
def test_wrong_options_are_usage_errors(choice: ClipChoice, arguments: tuple[object, ...]) -> None:
    result = run(*arguments, code=2)
    assert "Usage" in result.stderr and result.stdout == ""


@pytest.mark.parametrize("command", ["embed-images", "embed-captions", "curate"])
def test_every_command_has_an_example_and_help_for_each_option(command: str) -> None:
    text = run(command, "--help").stdout
    assert f"Example: soundsearch train {command}" in " ".join(text.split())


def test_a_missing_extra_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "trainer"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install 'soundsearch[train]'" in refused("embed-images", "shards")
    assert "pip install 'soundsearch[train]'" in refused("curate", "shards", "--pool", "pool.txt")


def test_progress_on_a_terminal(choice: ClipChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(progress, "_terminal", lambda: console)
    result = run(
        "embed-images", "shards", "--model", choice.model, "--pretrained", choice.pretrained
    )
    assert re.search("shards: [01]/1 ", click.unstyle(console.file.getvalue()))  # type: ignore[attr-defined]
    assert result.stdout.startswith("tiny-clip-")
