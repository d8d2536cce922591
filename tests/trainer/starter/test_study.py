"""The study leaves whole families out, asks for them, and repeats nothing."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from examples.starter_study import study, usable
from tests.sounds import noise, tone, write
from tests.trainer.conftest import RATE
from trainer.data.manifests import Recording
from trainer.starter import audio_stage
from trainer.starter.batches import Batches
from trainer.starter.config import StarterConfig
from trainer.starter.recipe import Run, prepare
from trainer.starter.tagger import Teacher


@pytest.fixture
def with_families(made_data: Path, tmp_path: Path) -> Path:
    """The made data, with an owl and a cat in both splits."""
    data = tmp_path / "data"
    shutil.copytree(made_data, data)
    with open(data / "sounds.csv", "a", encoding="utf-8", newline="") as file:
        for caption, waveform in (
            ("an owl hooting", tone(300, 0.6, RATE)),
            ("cat meowing", noise(0.6, RATE)),
        ):
            for split in ("train", "valid"):
                name = f"sounds/{caption} {split}.wav"
                write(data / name, waveform, RATE)
                facts = [name, caption, "", "0.6", split, "made", "CC0", "nobody", "yes", "high"]
                csv.writer(file).writerow(facts)
    return data


def test_held_out_families_are_asked_for_and_never_learnt(
    with_families: Path,
    tmp_path: Path,
    tiny_config: StarterConfig,
    tiny_teacher: Path,
    made_tagger: Teacher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left_out: list[set[str]] = []
    only_heard: list[set[str]] = []

    class Watched(Batches):
        def __init__(self, clips: list[Recording], *arguments: object) -> None:
            super().__init__(clips, *arguments)  # type: ignore[arg-type]
            usable, unnamed = arguments[-2:]
            left_out.append({clip.caption for clip in clips if not usable(clip)})  # type: ignore[operator]
            only_heard.append({clip.caption for clip in clips if unnamed(clip)})  # type: ignore[operator]

    monkeypatch.setattr(audio_stage, "Batches", Watched)
    run = Run(tmp_path / "run")
    prepared = prepare(with_families, run, tiny_config, tiny_teacher, made_tagger, 0)
    found = study(run, "a name, with commas", prepared.material, prepared.key, tiny_config)
    assert left_out == [{"an owl hooting", "cat meowing"}]
    assert list(found) == ["a name, with commas", "a name, with commas, with the tag space"]
    for row in found.values():
        assert set(row) == {
            "valid_recall_at_1",
            "valid_recall_at_10",
            "valid_esc10",
            "valid_esc10_by_class",
            "valid_held_out",
            "valid_held_out_by_class",
        }
    # Nor does the tag space know what was said of them.
    everything, known = (
        prepared.material.tag_space(tiny_config, which).captions.T
        for which in (lambda clip: True, usable)
    )
    assert len(known) == len(everything) - 2
    again = study(run, "a name, with commas", prepared.material, prepared.key, tiny_config)
    assert again == found and len(left_out) == 1  # read, not trained again
    parts = prepared.material, prepared.key, tiny_config
    study(run, "heard", *parts, hear_families=True)
    assert left_out[1] == only_heard[1] == left_out[0] and not only_heard[0]
