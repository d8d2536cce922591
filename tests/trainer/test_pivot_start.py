"""What the starter's first weights may learn from: examples/pivot_start.py."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from examples.pivot_start import choose
from soundsearch.errors import SoundsearchError

#: File, concept, caption, split in sounds.csv; None is not in it.
PAIRED = (
    ("rain.wav", "rain", "rain falling", "train"),
    ("drizzle.wav", "rain", "drizzle", "valid"),
    ("bee.wav", "bee", "bee buzzing", "train"),
    ("swarm.wav", "bee", "a swarm of bees", "valid"),
    ("harp.wav", "harp", "harp playing", "valid"),
    ("drum.wav", "drum", "drum roll", None),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    sounds = [
        (f"sounds/{file}", caption, "", split, "made", "CC0")
        for file, _, caption, split in PAIRED
        if split
    ]
    unpaired = ("sounds/wind.wav", "wind", "", "train", "made", "CC0")
    write(
        tmp_path / "sounds.csv",
        ("file", "caption", "tags", "split", "source", "licence"),
        [*sounds, unpaired],
    )
    write(
        tmp_path / "pairs" / "pairs.csv",
        ("image", "audio", "image_caption", "audio_caption", "concept"),
        [
            (f"pairs/images/{concept}-{n}.jpg", f"sounds/{file}", concept, caption, concept)
            for file, concept, caption, _ in PAIRED
            for n in range(2)
        ],
    )
    return tmp_path


def write(path: Path, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def test_only_paired_recordings_of_the_training_split_are_trained_on(data: Path) -> None:
    training, asked = choose(data)

    assert {recording.path for recording in training} == {
        data / "sounds" / "rain.wav",
        data / "sounds" / "bee.wav",
    }
    # the harp is of the validation split too, but nothing could have been learnt of harps
    assert {recording.path.name for recording in asked} == {"drizzle.wav", "swarm.wav"}
    assert all(len(recording.pictures) == 2 for recording in training)


def test_a_folder_without_pairs_is_refused_in_one_line(data: Path) -> None:
    (data / "pairs" / "pairs.csv").unlink()

    with pytest.raises(SoundsearchError, match=r"pairs\.csv: cannot be read"):
        choose(data)
