"""`soundsearch train extract` and `train shards`: what they print, and how they end."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from soundsearch.cli.train import data
from soundsearch.errors import SoundsearchError
from tests.sounds import noise, write
from tests.trainer.data.made_examples import picture
from tests.videos import cut_off, number_of, two_noises, write_video
from trainer.data.pack import Report
from trainer.data.shard_folder import ShardFolder

app = typer.Typer(rich_markup_mode=None)
app.command()(data.extract)
app.command()(data.shards)


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    write_video(folder / "good.mov", two_noises(5), seconds=5)
    write_video(folder / "half.mkv", two_noises(8), seconds=8)
    cut_off(folder / "half.mkv", 0.6)
    (folder / "bad\nname.mp4").write_text("no video")
    write_video(folder / "mute.mp4", None)
    return folder


def test_extract_says_what_it_did(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = invoke("extract", videos, out, "--example-s", 2, "--workers", 2)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
    lines = result.stderr.splitlines()
    assert lines[:3] == [
        "skipped bad\\nname.mp4: no video, or cut off before its index",
        "partly used half.mkv: it is cut off or damaged after 4.8 s of 8.0 s",
        "skipped mute.mp4: it has no sound track",
    ]
    table = [line.strip().split(maxsplit=2) for line in lines[3:-1] if line.strip(" ─")]
    assert table == [
        ["file", "clips", "reason"],
        ["bad\\nname.mp4", "0", "no video, or cut off before its index"],
        ["half.mkv", "2", "it is cut off or damaged after 4.8 s of 8.0 s"],
        ["mute.mp4", "0", "it has no sound track"],
    ]
    assert lines[-1] == "new examples: 5; in all 5 (sources: 4, shards: 1, problems: 3)"
    again = invoke("extract", videos, out, "--example-s", 2)
    assert again.stderr.splitlines()[-1] == (
        "nothing left to do; in all 5 (sources: 4, shards: 1, problems: 3)"
    )


def test_the_options_of_extract_arrive(videos: Path, tmp_path: Path) -> None:
    segments = tmp_path / "segments.csv"
    segments.write_text("file,begin_s,end_s\ngood.mov,1,2\ngood.mov,3,3.5\n")
    result = invoke(
        "extract",
        videos,
        tmp_path / "out",
        *("--segments", segments, "--example-s", 0.5, "--frames", 2, "--size", 24),
        *("--quality", 50, "--examples-per-shard", 1, "--workers", 1),
    )
    assert result.exit_code == 0, result.output
    folder = ShardFolder(tmp_path / "out")
    assert folder.counts.tolist() == [1, 1]
    frames = [folder.open(n).frames(0) for n in range(2)]
    assert [[number_of(frame) for frame in clip] for clip in frames] == [[10, 20], [30, 35]]
    with Image.open(io.BytesIO(frames[0][0])) as image:
        assert image.size == (32, 24)
        assert image.quantization[0][0] == 16  # as the standard has it at quality 50


@pytest.mark.parametrize(
    ("command", "function"),
    [
        ("extract", "trainer.data.cutting.extract"),
        ("shards", "trainer.data.manifest_examples.pack_manifest"),
    ],
)
def test_the_number_of_workers_arrives(
    monkeypatch: pytest.MonkeyPatch, command: str, function: str
) -> None:
    asked: list[int | None] = []

    def take(*_: object, n_workers: int | None, **__: object) -> Report:
        asked.append(n_workers)
        return Report(n_examples=1, n_shards=1, n_sources=1, n_problems=0, n_new=1)

    monkeypatch.setattr(function, take)
    invoke(command, "from", "to", "--workers", 3)
    invoke(command, "from", "to")
    assert asked == [3, None]


def test_another_run_in_the_same_folder_is_refused(videos: Path, tmp_path: Path) -> None:
    invoke("extract", videos, tmp_path / "out")
    result = invoke("extract", videos, tmp_path / "out", "--frames", 3)
    assert isinstance(result.exception, SoundsearchError)
    assert "n_frames was 4, is now 3" in str(result.exception)


def test_shards_of_a_manifest(tmp_path: Path) -> None:
    write(tmp_path / "files" / "rain.wav", noise(0.5))
    (tmp_path / "files" / "a.jpg").write_bytes(picture(1))
    manifest = tmp_path / "pairs.csv"
    manifest.write_text("audio,image\nrain.wav,a.jpg\nrain.wav,b.jpg\n")
    out = tmp_path / "out"
    result = invoke(
        "shards", manifest, out, "--root", tmp_path / "files", "--examples-per-shard", 1
    )
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
    assert result.stderr.splitlines()[0] == "skipped b.jpg: the file is not there any more"
    assert len(ShardFolder(out)) == 1


def test_a_long_table_of_failures_is_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MOST_ROWS", 2)
    write(tmp_path / "rain.wav", noise(0.5))
    rows = "".join(f"{i}.wav,rain\n" for i in range(5))
    (tmp_path / "x.csv").write_text(f"audio,caption\nrain.wav,rain\n{rows}")
    result = invoke("shards", tmp_path / "x.csv", tmp_path / "out")
    assert f"and 3 more in {tmp_path / 'out' / 'failures.csv'}" in result.stderr.splitlines()


@pytest.mark.parametrize("command", ["extract", "shards"])
def test_help_has_an_example(command: str) -> None:
    result = invoke(command, "--help")
    assert f"Example: soundsearch train {command} " in result.output
