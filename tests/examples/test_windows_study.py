"""examples/windows_study.py: its numbers against the benchmark's own and against counting by hand."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import windows_study as windows
from recipes.starter.manifests import Recording
from soundsearch.bench.datasets import RetrievalSet
from soundsearch.bench.protocols import PROTOCOLS
from soundsearch.bench.run import Settings, run_benchmark
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.towers import Encoder
from tests.sounds import noise, tone, write
from tests.tiny_encoder import BAND_HZ, WORDS


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 5))
def test_recall_counts_what_is_right_in_its_length_among_all_that_is_wrong(
    seed: int, n_clips: int, n_texts: int
) -> None:
    rng = np.random.default_rng(seed)
    owner = rng.integers(n_texts, size=n_clips)
    right = np.arange(n_texts)[:, None] == owner
    asked = rng.random(n_clips) < 0.5
    scores = rng.permutation(n_texts * n_clips).reshape(n_texts, n_clips).astype(np.float32)
    found = []
    for text in range(n_texts):
        own = [scores[text, i] for i in range(n_clips) if owner[i] == text and asked[i]]
        wrong = [scores[text, i] for i in range(n_clips) if owner[i] != text]
        if own:
            found.append(sum(score > max(own) for score in wrong) < 2)
    with mock.patch.object(windows, "K", 2):
        share, n_queries = windows.recall(scores, right, asked)
    assert n_queries == len(found)
    assert np.isnan(share) if not found else share == pytest.approx(100 * np.mean(found))


def test_the_bundle_s_own_row_is_what_the_benchmark_says(
    tmp_path: Path, tiny: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "K", 1)
    clips = []
    for i in range(32):  # every other tone under another band's name, every fourth one long
        band, seconds = i % len(WORDS), (0.4, 1.7, 0.4, 10.2)[i % 4]
        name = WORDS[band if i % 2 else (band + i // 8) % len(WORDS)]
        waveform = tone(BAND_HZ[band], seconds) + noise(seconds, seed=i) * (i % 3)
        path = write(tmp_path / f"{i}.wav", waveform.astype(np.float32) / 2)
        clips.append(
            Recording(path=path, caption=name, tags=(), split="valid", source="made", licence="CC0")
        )
    encoder = Encoder(tiny)
    data = RetrievalSet(
        name="made",
        split="valid",
        names=tuple(str(i) for i in range(len(clips))),
        clips=tuple(clip.path for clip in clips),
        captions=tuple((clip.caption,) for clip in clips),
        n_expected=len(clips),
    )
    settings = Settings(protocol=PROTOCOLS["literature"], merge_identical=True)
    with EmbeddingCache(None, encoder) as cache:
        result = run_benchmark(encoder, data, settings, cache)
    to_audio = next(d for d in result.directions if d.name == "text-to-audio")
    head, queries, *rows = windows.study(encoder, clips)

    assert head.split()[-1] == "windows"
    assert [int(n) for n in queries.split()[1:]][-1] == len(WORDS)
    own = [row for row in rows if row.startswith("*")]
    assert len(rows) == 12 and len(own) == 2
    assert 0 < to_audio.numbers["R@1"].value < 1
    for row in own:
        assert float(row.split()[-2]) == pytest.approx(
            100 * to_audio.numbers["R@1"].value, abs=0.05
        )
    sparse, dense = (next(r for r in rows if f"every {hop} s, best" in r) for hop in ("1", "0.25"))
    assert int(sparse.split()[-1]) < int(own[0].split()[-1]) < int(dense.split()[-1])


def test_each_way_to_cut_changes_one_thing_of_the_bundle(tiny: EncoderBundle) -> None:
    told = [(audio.short, audio.hop_s) for _, audio in windows.ways(tiny.audio)]
    assert told[:3] == [("repeat", 0.5), ("repeat-whole", 0.5), ("zeros", 0.5)]
    assert told[3:] == [("repeat", 0.25), ("repeat", 0.5), ("repeat", 1.0)]
