"""`soundsearch models build`: published weights become encoders that are found by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import SoundsearchError
from tests.conftest import Run
from tests.sounds import noise, write


@pytest.fixture
def small_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CLIP of a few thousand weights in the place of ViT-B/32."""
    from tests.trainer.tiny_clip import write_tiny_clip
    from trainer.convert import vip_ant

    monkeypatch.setattr(vip_ant, "CLIP", write_tiny_clip(tmp_path / "clip"))


def test_a_built_encoder_is_found_by_its_name_and_indexes(
    soundsearch: Run, small_clip: None, tmp_path: Path
) -> None:
    from tests.trainer.convert.made_checkpoint import tower_of, write_checkpoint

    file = write_checkpoint(tmp_path / "00004140.pth", tower_of().state_dict())
    given = ("--checkpoint", file, "--calibrate", "none")
    built = soundsearch("models", "build", "vip-ant", *given)
    assert Path(built.stdout.strip()) == tmp_path / "models" / "vip-ant"
    assert "vip-ant" in soundsearch("models", "list").stdout.split()
    for i in range(3):
        write(tmp_path / "sounds" / f"{i}.wav", noise(1.0 + i, 16000, seed=i), 16000)
    soundsearch("index", tmp_path / "sounds", "--model", "vip-ant")
    hits = json.loads(soundsearch("query", "a dog", "--json").stdout)
    assert len(hits["hits"]) == 3
    again = soundsearch("models", "build", "vip-ant", "--checkpoint", file, code=1)
    assert "there is an encoder already; replace it with --force" in again.stderr
    assert len(again.stderr.splitlines()) == 1


def test_another_variant_gets_another_name(
    soundsearch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.convert import clap, vip_ant

    asked: list[tuple[Path, object]] = []

    def build(out: Path, what: object, **_: object) -> EncoderBundle:
        asked.append((out, what))
        raise SoundsearchError("enough")

    monkeypatch.setattr(vip_ant, "build_vip_ant", build)
    monkeypatch.setattr(clap, "build_clap", build)
    for arguments in (
        ["vip-ant"],
        ["vip-ant", "--variant", "esc50"],
        ["vip-ant", "--variant", "esc50", "--out", "here"],
        ["clap"],
        ["clap", "--from", "laion/Larger_CLAP_music"],
    ):
        soundsearch("models", "build", *arguments, code=1)
    own = tmp_path / "models"
    assert asked == [
        (own / "vip-ant", "at-clotho"),
        (own / "vip-ant-esc50", "esc50"),
        (Path("here"), "esc50"),
        (own / "clap", "laion/clap-htsat-unfused"),
        (own / "larger_clap_music", "laion/Larger_CLAP_music"),
    ]
    soundsearch("models", "build", "vip-ant", "--variant", "none-such", code=2)


def test_what_is_no_bundle_is_not_written_over_even_by_force(
    soundsearch: Run, tmp_path: Path
) -> None:
    (tmp_path / "models" / "clap").mkdir(parents=True)
    (tmp_path / "models" / "clap" / "notes.txt").write_text("mine")
    result = soundsearch(
        "models",
        "build",
        "clap",
        "--from",
        tmp_path,
        "--force",
        "--out",
        tmp_path / "models" / "clap",
        code=1,
    )
    assert "not an encoder; choose another place" in result.stderr
    assert (tmp_path / "models" / "clap" / "notes.txt").read_text() == "mine"
