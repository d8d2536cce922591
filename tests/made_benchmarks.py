"""Public benchmark data sets in small: their layouts to the letter, tones for recordings.

Clip i is a tone in the band of the tiny encoder's word i, so that what it should score is known.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from soundsearch.bench.datasets import assemble
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ, WORDS

#: Seconds of a clip: two windows of the tiny encoder.
SECONDS = 1.5
#: Five ways to say a word.
SAYINGS = ("a {}", "the {} of it", "{}, and nothing else", '"{}"; softly', "it is a {} again")
#: Classes of AudioSet by id, one for each word.
CLASS_IDS = {f"/m/{i:05}": word.capitalize() for i, word in enumerate(WORDS)}
SEGMENTS_HEAD = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=20371, num_segs=20371, num_unique_labels=527, num_positive_labels=51804
# YTID, start_seconds, end_seconds, positive_labels
"""
#: A caption of every clip, for each word.
Captions = Sequence[Sequence[str]]


def captions(words: Iterable[str] = WORDS) -> list[list[str]]:
    """Five captions for each word."""
    return [[saying.format(word) for saying in SAYINGS] for word in words]


def clip(path: Path, word: str, seconds: float = SECONDS) -> Path:
    """A tone in the band of this word; the ending decides the format."""
    return write(path, tone(BAND_HZ[WORDS.index(word)], seconds))


def table(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    """A CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def clotho(
    root: Path,
    split: str = "evaluation",
    *,
    words: Sequence[str] = WORDS,
    said: Captions | None = None,
    folder: str | None = None,
) -> Path:
    """Clotho: root/clotho_captions_SPLIT.csv and root/SPLIT/*.wav (or another folder)."""
    names = [f"Some {word}, far.wav" for word in words]
    for name, word in zip(names, words, strict=True):
        clip(root / (folder or split) / name, word)
    head = ["file_name", *(f"caption_{i}" for i in range(1, 6))]
    rows = [[name, *five] for name, five in zip(names, said or captions(words), strict=True)]
    table(root / f"clotho_captions_{split}.csv", [head, *rows])
    return root


def audiocaps(
    root: Path,
    split: str = "test",
    *,
    name: Callable[[str, int, int], str] = lambda youtube_id, start, first_id: f"{youtube_id}.wav",
    folder: str = "audio",
) -> Path:
    """AudioCaps: root/SPLIT.csv, a row for each caption, and root/audio/.

    name: of a recording, from its YouTube id, its start and the audiocap_id of its first caption.
    """
    rows: list[list[object]] = []
    for i, (word, five) in enumerate(zip(WORDS, captions(), strict=True)):
        youtube_id, start = f"-{word:_>9}Y", 10 * i
        clip(root / folder / name(youtube_id, start, 1000 + 5 * i), word)
        rows += [[1000 + 5 * i + j, youtube_id, start, text] for j, text in enumerate(five)]
    rows = [rows[i] for i in sorted(range(len(rows)), key=lambda i: (i % 5, i))]  # not clip by clip
    table(root / f"{split}.csv", [["audiocap_id", "youtube_id", "start_time", "caption"], *rows])
    return root


def esc50(root: Path) -> Path:
    """ESC-50: root/meta/esc50.csv and root/audio/, two clips of each class in folds 1 and 2."""
    rows: list[list[object]] = [
        ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    ]
    for i, word in enumerate(WORDS):
        for fold in (1, 2):
            name = f"{fold}-{100_000 + i}-A-{i}.wav"
            clip(root / "audio" / name, word, 1.0)
            rows.append([name, fold, i, f"{word}_noise", "True", 100_000 + i, "A"])
    table(root / "meta" / "esc50.csv", rows)
    return root


def urbansound8k(root: Path) -> Path:
    """UrbanSound8K: root/metadata/UrbanSound8K.csv and root/audio/fold1 to fold10."""
    head = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]
    rows: list[list[object]] = [head]
    for i in range(20):
        fold, word = i % 10 + 1, WORDS[i % len(WORDS)]
        name = f"{1000 + i // 10}-{i % 8}-0-0.wav"
        clip(root / "audio" / f"fold{fold}" / name, word, 1.0)
        rows.append([name, 1000 + i // 10, 0.0, 1.0, 1, fold, i % len(WORDS), f"{word}_sound"])
    table(root / "metadata" / "UrbanSound8K.csv", rows)
    return root


def audioset(root: Path, *, split: str = "eval", stem: str = "{id}", first: str = "-") -> Path:
    """AudioSet: root/SPLIT_segments.csv and root/audio/, a clip of each word and of its class.

    The rumble's class has one more clip, the hiss. stem: of a recording. first: of the YouTube ids.
    """
    rows = []
    for i, (key, word) in enumerate(zip(CLASS_IDS, WORDS, strict=True)):
        ytid, start = f"{first}{word:_>9}Y", 10 * (i + 1)
        clip(root / "audio" / f"{stem.format(id=ytid, start=start, end=start + 10)}.wav", word)
        labels = f"{key},/m/00000" if word == "hiss" else key
        rows.append(f'{ytid}, {start}.000, {start + 10}.000, "{labels}"\n')
    (root / f"{split}_segments.csv").write_text(SEGMENTS_HEAD + "".join(rows))
    return root


@pytest.fixture
def classes_of_the_tiny_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of the tiny encoder are the classes of AudioSet, and one that nothing is of."""
    names = {**CLASS_IDS, "/m/99999": "Nobody, nothing"}
    monkeypatch.setattr("soundsearch.bench.datasets.audioset.class_names", lambda: names)


@pytest.fixture
def small_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes that were published are forgotten: a small data set passes for a whole one."""
    monkeypatch.setattr(assemble, "PUBLISHED_CLIPS", {})
