"""Manifests to clips, and what a bad one says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from recipes.starter.manifests import (
    draw_weights,
    find_data,
    of_split,
    read_esc10,
    read_more,
    read_sounds,
)
from trainer.data.lines import ManifestError

SOUNDS = "file,caption,tags,split,source,licence\n"


def test_rows_become_clips(made_data: Path) -> None:
    clip = of_split(read_sounds(made_data), "valid")[0]
    assert clip.path == made_data / "sounds/low tone valid.wav"
    assert (clip.caption, clip.tags, clip.source, clip.licence) == (
        "low tone",
        ("tone",),
        "made",
        "CC0",
    )
    labelled = read_esc10(made_data)[0]
    assert (labelled.label, labelled.caption, labelled.licence) == (
        "low tone",
        "a low tone",
        "not stated",
    )


def test_a_recording_of_more_may_have_no_caption_and_says_its_quality(made_data: Path) -> None:
    hum, unnamed = read_more(made_data)
    assert (hum.caption, hum.quality, hum.split) == ("a hum", "medium", "valid")
    assert (unnamed.caption, unnamed.quality) == ("", "low")
    assert {one.quality for one in read_sounds(made_data)} == {"high"}


def test_without_more_there_is_no_more(tmp_path: Path) -> None:
    assert read_more(tmp_path) == []


def test_rarer_captions_and_smaller_sources_come_more_often(made_data: Path) -> None:
    one = read_sounds(made_data)[0]
    some = [
        dataclasses.replace(one, caption=caption, source=source)
        for caption, source in (("a", "big"), ("a", "big"), ("b", "big"), ("c", "small"))
    ]
    expected = [2**-0.5 / 3, 2**-0.5 / 3, 1 / 3, 1.0]
    np.testing.assert_allclose(draw_weights(some, -0.5, -1.0), expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "sounds.csv: cannot be read"),
        ("", "it is empty"),
        ("file,caption\n", "columns tags, split, source, licence are missing, found file, caption"),
        (SOUNDS, "holds no rows"),
        (SOUNDS + "a.wav,,,train,x,CC0\n", "line 2: caption is empty"),
        (
            SOUNDS + "a.wav,rain,,train,x,CC0\nb.wav,wind,,test,x,CC0\n",
            "line 3: split must be train or valid",
        ),
        (
            SOUNDS.replace("\n", ",caption_quality\n") + "a.wav,rain,,train,x,CC0,good\n",
            "line 2: caption_quality must be high or medium or low, not 'good'",
        ),
        (SOUNDS + "a.wav,rain\n", "line 2 has 2 cells, expected 6"),
        (b"\xff\xfe\x00", "not UTF-16"),
    ],
)
def test_a_bad_manifest_gives_one_clear_line(
    tmp_path: Path, text: str | bytes | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "sounds.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ManifestError) as caught:
        read_sounds(tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_data_folder_is_given_or_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("SOUNDSEARCH_DATA", str(tmp_path / "here"))
    assert find_data() == tmp_path / "here"
    assert find_data(tmp_path) == tmp_path
    monkeypatch.setenv("SOUNDSEARCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ManifestError, match="no data folder here"):
        find_data()
    monkeypatch.delenv("SOUNDSEARCH_DATA")
    with pytest.raises(ManifestError, match="SOUNDSEARCH_DATA"):
        find_data()


@pytest.mark.data
def test_the_real_manifests_are_read(data_folder: Path) -> None:
    sounds = read_sounds(data_folder)
    n_by_split = [len(of_split(sounds, split)) for split in ("train", "valid")]
    assert sum(n_by_split) == len(sounds) and n_by_split[0] > n_by_split[1] > 0
    assert all(clip.path.exists() for clip in sounds[::100])
    assert {clip.label for clip in read_esc10(data_folder)} >= {"dog bark", "rain"}
