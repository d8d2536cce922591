"""The numbers of a bundle, held against what is known of made sounds and against `describe`."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from recipes.starter import measure as module
from recipes.starter.measure import Found, drawn_pairs, loudest_windows, measure
from soundsearch.audio.windows import Window
from soundsearch.encoder.bundle import EncoderBundle, TextConfig
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import BenchmarkError
from soundsearch.search.describe import describe
from soundsearch.vocabulary import load_vocabulary
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ, WORDS
from trainer.english import head_word, singular, words_of

Array = NDArray[np.float32]

#: The band of each recording, and its caption: the last two are wrong.
RECORDINGS = (
    *((word, word) for word in WORDS),
    ("rumble", "hum, far away"),
    ("rumble", "hiss"),
    ("drone", "a gong"),
)


def measured(encoder: Encoder, data: Path) -> dict[str, Found]:
    with EmbeddingCache(None, encoder) as cache:
        return measure(encoder, data, cache)


def write_data(
    folder: Path, recordings: Sequence[tuple[Array, str]], labels: Sequence[str] = ()
) -> Path:
    """sounds.csv with these sounds and captions as validation split, and esc10.csv with tones."""
    columns = ("file", "caption", "tags", "split", "source", "licence")
    rows = []
    for i, (waveform, caption) in enumerate(recordings):
        write(folder / f"{i}.wav", waveform)
        rows.append([f"{i}.wav", caption, "", "valid", "made", "CC0"])
    with open(folder / "sounds.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    rows = [[f"{i}.wav", word, word, "valid", "made", "CC0"] for i, word in enumerate(labels)]
    with open(folder / "esc10.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "label", *columns[1:2], *columns[3:]), *rows])
    return folder


def tone_of(word: str, seconds: float = 1.3) -> Array:
    return tone(BAND_HZ[WORDS.index(word)], seconds)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    return write_data(folder, [(tone_of(band), caption) for band, caption in RECORDINGS], WORDS)


def test_words_for_a_recording_are_those_that_describe_gives(
    data: Path, tiny: EncoderBundle
) -> None:
    # With three words before it, no more than the first word of a line is read.
    text = TextConfig(max_tokens=4, prompt="the sound of {}")
    encoder = Encoder(dataclasses.replace(tiny, text=text))
    found = measured(encoder, data)["words for a recording"]

    captions = sorted({caption for _, caption in RECORDINGS})
    lines = load_vocabulary()
    by_caption, by_line = [], []
    for i, (_, caption) in enumerate(RECORDINGS):
        head, path = head_word(caption), data / f"{i}.wav"
        first = describe(encoder, path, captions, top_k=5)
        by_caption.append(head in [head_word(label.text) for label in first])
        if any(head in map(singular, words_of(line)) for line in lines):
            first = describe(encoder, path, lines, top_k=5, as_labels=True)
            by_line.append(any(head in map(singular, words_of(label.text)) for label in first))
    assert found["recordings"] == len(RECORDINGS)
    assert found["recordings whose head word the vocabulary has"] == len(by_line) > 0
    assert 0 < np.mean(by_caption) < 1 and 0 < np.mean(by_line) < 1
    assert found["head word in the first 5 captions"] == round(float(np.mean(by_caption)), 4)
    assert found["head word in the first 5 lines of the vocabulary"] == round(
        float(np.mean(by_line)), 4
    )


def test_two_sounds_at_once_are_found_where_both_are_heard(
    tmp_path: Path, tiny: EncoderBundle
) -> None:
    far_apart = [(tone_of("rumble"), "rumble"), (tone_of("hiss"), "hiss")]
    found = measured(Encoder(tiny), write_data(tmp_path / "right", far_apart, WORDS[:2]))
    assert found["two sounds at once"]["mixtures"] == 200
    assert found["two sounds at once"]["above both sounds alone"] == 1

    far_apart[0] = (tone_of("beep"), "rumble")  # more of what nobody asks for makes it no better
    found = measured(Encoder(tiny), write_data(tmp_path / "wrong", far_apart, WORDS[:2]))
    assert found["two sounds at once"]["above both sounds alone"] == 0


def test_mixtures_are_drawn_alike_each_time_from_captions_without_a_shared_word() -> None:
    captions = ["a dog barking", "dogs in the rain", "a cat purring", "rain", "the cat"]
    pairs = drawn_pairs(captions)
    assert pairs == drawn_pairs(captions)
    assert set(pairs) == {
        (a, b)
        for a in range(5)
        for b in range(5)
        if {a, b} not in ({0, 1}, {1, 3}, {2, 4}) and a != b
    }
    with pytest.raises(BenchmarkError, match="no two of the 2 captions"):
        drawn_pairs(["a dog", "some dogs"])


def test_a_recording_is_its_loudest_window_and_silence_is_left_out(
    tmp_path: Path, tiny: EncoderBundle
) -> None:
    loud_end = np.concatenate([tone(400, 2.0, level=0.01), tone(1000, 1.0)])
    silence = np.zeros(8000, np.float32)
    data = write_data(tmp_path / "data", [(silence, "nothing"), (loud_end, "a note")])
    clips = module.read_sounds(data)
    captions, windows = loudest_windows(Encoder(tiny), clips)
    assert captions == ["a note"]
    np.testing.assert_allclose(windows[0], loud_end[-8000:], atol=1e-4)


class LevelEncoder(Encoder):
    """Hears nothing but loudness: its embedding turns by one radian for each unit of level."""

    def features_of(self, windows: Sequence[Window], sample_rate: int) -> Array:
        return np.stack([np.full((1, 1), np.abs(w.waveform).max()) for w in windows])

    def embed_features(self, features: Array) -> Array:
        level = features.reshape(-1)
        return np.stack([np.cos(level), np.sin(level)], axis=1).astype(np.float32)


def test_loudness_is_told_as_the_cosine_with_the_same_sound_softer_and_louder(
    tiny: EncoderBundle,
) -> None:
    windows = [tone(440, level=level) for level in (0.3, 0.4)]
    found = module._loudness(LevelEncoder(tiny), windows)
    for name, factor in (("cosine at -20 dB", 0.1), ("cosine at +6 dB", 10**0.3)):
        expected = np.mean([np.cos(level - level * factor) for level in (0.3, 0.4)])
        assert found[name] == pytest.approx(expected, abs=1e-3)
    assert found["recordings"] == 2


def test_short_sounds_are_asked_for_among_all_of_them(data: Path, tiny: EncoderBundle) -> None:
    encoder = Encoder(tiny)
    assert "captions of sounds under 1.5 s" in measured(encoder, data)
    long = [(tone_of(word, 2.0), word) for word in WORDS[:2]]
    # The short recording of the last word sounds like another one, the long one of it is right.
    short = [(tone_of(WORDS[2], 0.4), WORDS[2]), (tone_of(WORDS[3], 0.4), WORDS[0])]
    folder = write_data(data.parent / "both", [*long, *short], WORDS[:2])
    found = measured(encoder, folder)["captions of sounds under 1.5 s"]
    assert (found["recordings"], found["queries"]) == (4, 2)
    assert found["text-to-audio R@1"] == 0.5 and found["text-to-audio R@10"] == 1.0
    only_long = write_data(data.parent / "long", long, WORDS[:2])
    assert "captions of sounds under 1.5 s" not in measured(encoder, only_long)


def test_captions_of_more_are_asked_where_there_are_some(data: Path, tiny: EncoderBundle) -> None:
    encoder = Encoder(tiny)
    assert "captions of more.csv" not in measured(encoder, data)
    columns = ("file", "caption", "tags", "split", "source", "licence")
    rows = [(f"{i}.wav", caption, "", "valid", "made", "CC0") for i, caption in enumerate(WORDS)]
    rows[-1] = (rows[-1][0], "", *rows[-1][2:])
    with open(data / "more.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    found = measured(encoder, data)["captions of more.csv"]
    assert found["recordings"] == found["queries"] == len(WORDS) - 1
    assert found["text-to-audio R@1"] == 1.0


def test_the_command_that_results_name_prints_them(
    data: Path,
    tiny: EncoderBundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["measure", "tiny", str(data)])
    module.main()
    printed = json.loads(capsys.readouterr().out)
    assert printed == measured(Encoder(tiny), data)
    for title in ("words for a recording", "two sounds at once", "loudness"):
        assert printed[title]["command"] == "python -m recipes.starter.measure BUNDLE DATA"
