from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.encoder import embed_clips as embed
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.embed_clips import (
    ClipEmbeddings,
    embed_clips,
    embed_texts,
    refuse_collapsed,
    score_texts,
)
from soundsearch.encoder.embedding_cache import EmbeddingCache, cache_file
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import BenchmarkError
from tests import made_benchmarks as made
from tests import program
from tests.far_dates import FUTURE_S, PAST_S, date, folder_that_takes
from tests.recorded import Recorded
from tests.sounds import tone, write
from tests.tiny_encoder import WORDS, write_tiny_bundle


@pytest.fixture
def encoder(tiny: EncoderBundle) -> Encoder:
    return Encoder(tiny, "cpu")


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """A clip for each word, of one to eight windows."""
    return [
        made.clip(tmp_path / "clips" / f"{word}.wav", word, 0.5 + 0.5 * i)
        for i, word in enumerate(WORDS)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "benchmarks.db"


def kept(encoder: Encoder, clips: list[Path], path: Path | None, **options: Any) -> ClipEmbeddings:
    """Embeddings of clips that are all fit."""
    with EmbeddingCache(path, encoder) as cache:
        found, lost = embed_clips(encoder, clips, cache, **options)
    assert found is not None and lost == {}
    return found


def same(one: ClipEmbeddings, two: ClipEmbeddings) -> bool:
    """To the last bit."""
    return (
        one.vectors.tobytes() == two.vectors.tobytes() and one.first.tolist() == two.first.tolist()
    )


class Counting:
    """Counts what goes through the encoder from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[str] = []
        self.texts: list[str] = []
        embed_file, embed_clip, embed_text = (
            Encoder.embed_file,
            Encoder.embed_clip,
            Encoder.embed_text,
        )

        def file(encoder: Encoder, path: Path, **options: Any) -> Any:
            self.files.append(path.stem)
            return embed_file(encoder, path, **options)

        def clip(encoder: Encoder, path: Path, **options: Any) -> Any:
            self.files.append(path.stem)
            return embed_clip(encoder, path, **options)

        def text(encoder: Encoder, texts: list[str], **options: Any) -> Any:
            self.texts += texts
            return embed_text(encoder, texts, **options)

        monkeypatch.setattr(Encoder, "embed_file", file)
        monkeypatch.setattr(Encoder, "embed_clip", clip)
        monkeypatch.setattr(Encoder, "embed_text", text)


# ---- clips


def test_windows_are_those_of_a_search(encoder: Encoder, clips: list[Path]) -> None:
    found = kept(encoder, clips, None)
    expected = [encoder.embed_file(clip)[1] for clip in clips]
    assert found.first.tolist() == np.cumsum([0, *map(len, expected)]).tolist()
    assert found.vectors.tobytes() == np.concatenate(expected).tobytes()
    assert len(found) == 8 and found.first[-1] > 16


def test_one_embedding_for_each_clip(encoder: Encoder, clips: list[Path]) -> None:
    found = kept(encoder, clips, None, one=True)
    assert found.first.tolist() == list(range(9))
    for vector, clip in zip(found.vectors, clips, strict=True):
        assert vector.tobytes() == encoder.embed_clip(clip).tobytes()


@pytest.mark.parametrize("jobs", [1, 3, 16])
def test_neither_jobs_nor_batches_change_anything(
    encoder: Encoder, clips: list[Path], jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = kept(encoder, clips, None)
    assert same(kept(encoder, clips, None, jobs=jobs), expected)
    backwards = kept(encoder, clips[::-1], None, jobs=jobs)
    assert backwards.vectors[backwards.first[7] :].tobytes() == expected.vectors[:1].tobytes()


def test_what_cannot_be_embedded_is_named(encoder: Encoder, clips: list[Path]) -> None:
    write(clips[1], np.zeros(8000, np.float32))
    clips[3].write_text("no sound")
    clips[5].unlink()
    clips[6].write_bytes(clips[6].read_bytes()[:-6000])  # no number over half a clip
    for one in False, True:
        with EmbeddingCache(None, encoder) as cache:
            found, lost = embed_clips(encoder, clips, cache, jobs=4, one=one)
        assert "could be decoded" in lost[6]
    with EmbeddingCache(None, encoder) as cache:
        found, lost = embed_clips(encoder, clips, cache, jobs=4)
    assert lost.pop(6).startswith("only ")
    assert lost == {
        1: "it is silent from beginning to end",
        3: "neither libsndfile nor FFmpeg knows this format",
        5: "the file is not there any more",
    }
    assert found is not None
    expected = [encoder.embed_file(clips[i])[1] for i in (0, 2, 4, 7)]
    assert found.vectors.tobytes() == np.concatenate(expected).tobytes()


def test_nothing_that_can_be_embedded(encoder: Encoder, tmp_path: Path) -> None:
    for path in (None, tmp_path / "cache.db"):
        with EmbeddingCache(path, encoder) as cache:
            found, lost = embed_clips(encoder, [tmp_path / "gone.wav"], cache)
        assert (found, list(lost)) == (None, [0])


def test_progress(encoder: Encoder, clips: list[Path], path: Path) -> None:
    for _ in "cold", "warm":
        progress = Recorded()
        kept(encoder, clips, path, progress=progress)
        assert progress.stage("clips").total == 8
        assert progress.stage("clips").advances == [1] * 8


def test_an_interrupt_comes_through(
    encoder: Encoder, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Encoder, "embed_file", interrupted)
    with EmbeddingCache(None, encoder) as cache, pytest.raises(KeyboardInterrupt):
        embed_clips(encoder, clips, cache)


# ---- the cache


def test_a_warm_cache_gives_the_same_and_asks_nothing(
    encoder: Encoder, clips: list[Path], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows, ones = kept(encoder, clips, path), kept(encoder, clips, path, one=True)
    asked = Counting(monkeypatch)
    assert same(kept(encoder, clips, path), windows)
    assert same(kept(encoder, clips, path, one=True), ones)
    assert asked.files == []
    assert not same(windows, ones)


def test_a_file_that_moved_is_known_by_its_bytes(
    encoder: Encoder, clips: list[Path], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = kept(encoder, clips, path)
    moved = [clip.rename(clip.with_stem(f"moved {clip.stem}")) for clip in clips]
    asked = Counting(monkeypatch)
    assert same(kept(encoder, moved, path), expected)
    assert asked.files == []


@pytest.mark.parametrize("keeps_time", [False, True])
def test_a_file_that_changed_is_read_again(
    encoder: Encoder,
    clips: list[Path],
    path: Path,
    keeps_time: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = kept(encoder, clips, path)
    facts = clips[0].stat()
    made.clip(clips[0], "hiss", 0.75 if keeps_time else 0.5)
    times = (facts.st_atime_ns, facts.st_mtime_ns + (not keeps_time))
    os.utime(clips[0], ns=times)
    asked = Counting(monkeypatch)
    after = kept(encoder, clips, path)
    assert asked.files == ["rumble"]
    assert before.vectors[0].argmax() == 0 and after.vectors[0].argmax() == 7


def test_encoders_do_not_share_embeddings(
    encoder: Encoder, clips: list[Path], path: Path, tmp_path: Path
) -> None:
    other = Encoder(write_tiny_bundle(tmp_path / "other", shift=1), "cpu")
    for each, band in (encoder, 1), (other, 2), (encoder, 1):
        with EmbeddingCache(path, each) as cache:
            assert embed_texts(each, ["hum"], cache).argmax() == band
    with EmbeddingCache(path, encoder) as cache:
        cache.put("text", b"digest", np.ones((1, 8), np.float32))
    for version in ("0", "1"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("soundsearch.__version__", version)
            with EmbeddingCache(path, encoder) as cache:
                assert cache.get("text", b"digest") is None


def test_what_was_put_comes_back_exactly(encoder: Encoder, path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    with EmbeddingCache(path, encoder) as cache:
        cache.put("windows", b"a", vectors)
        assert cache.get("clip", b"a") is None
    with EmbeddingCache(path, encoder) as cache:
        found = cache.get("windows", b"a")
    assert found is not None and found.dtype == np.float32 and found.flags.writeable
    assert found.tobytes() == vectors.tobytes() and found.shape == (5, 8)


def test_a_damaged_cache_is_made_again(
    encoder: Encoder, clips: list[Path], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_text("this is no database, however long one looks at it\n" * 50)
    expected = kept(encoder, clips, None)
    assert same(kept(encoder, clips, path), expected)
    assert len(caplog.messages) == 1 and "damaged" in caplog.messages[0]
    assert same(kept(encoder, clips, path), expected) and len(caplog.messages) == 1


def test_a_cut_row_is_computed_again(
    encoder: Encoder, clips: list[Path], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = kept(encoder, clips, path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE embeddings SET vectors = substr(vectors, 1, 17)")
    connection.close()
    asked = Counting(monkeypatch)
    assert same(kept(encoder, clips, path), expected)
    assert sorted(asked.files) == sorted(WORDS)


@pytest.mark.parametrize("where", ["folder is a file", "file is a folder"])
def test_without_a_place_to_write_it_goes_on(
    encoder: Encoder,
    clips: list[Path],
    path: Path,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    if where == "folder is a file":
        path.parent.write_text("")
    else:
        path.mkdir(parents=True)
    assert same(kept(encoder, clips, path), kept(encoder, clips, None))
    assert [m for m in caplog.messages if "going on without cached embeddings" in m]


def test_a_cache_that_fails_on_the_way_is_done_without(
    encoder: Encoder, clips: list[Path], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with EmbeddingCache(path, encoder) as cache:
        with sqlite3.connect(path) as other:
            other.execute("DROP TABLE embeddings")
        other.close()
        found, lost = embed_clips(encoder, clips, cache)
    assert found is not None and lost == {} and same(found, kept(encoder, clips, None))
    assert len(caplog.messages) == 1 and "no such table" in caplog.messages[0]


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOUNDSEARCH_CACHE", str(tmp_path / "here"))
    assert cache_file() == tmp_path / "here" / "benchmarks.db"
    monkeypatch.delenv("SOUNDSEARCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert cache_file() == tmp_path / "xdg" / "soundsearch" / "benchmarks.db"


KILLED = """
import os, signal, sys
from pathlib import Path
from soundsearch.encoder import embed_clips as embed
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.towers import Encoder
from soundsearch.progress import Silent

encoder = Encoder(EncoderBundle.read(Path(sys.argv[1])), "cpu")
cache = EmbeddingCache(Path(sys.argv[2]), encoder)

class Killing(Silent):
    n = 0
    def advance(self, n=1, n_bytes=0):
        self.n += 1
        if self.n == 3:
            os.kill(os.getpid(), signal.SIGKILL)

embed.embed_clips(encoder, [Path(clip) for clip in sys.argv[3:]], cache, progress=Killing())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_what_a_killed_run_had_finished_is_not_done_again(
    encoder: Encoder, clips: list[Path], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, encoder.bundle.folder, path, *clips],
        env=program.environment(),
        check=False,
        timeout=60,
    )
    assert done.returncode == -9
    asked = Counting(monkeypatch)
    found = kept(encoder, clips, path)
    assert len(asked.files) == 5
    monkeypatch.undo()
    assert same(found, kept(encoder, clips, None))


# ---- texts


def test_texts_one_by_one_and_each_once(
    encoder: Encoder, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a hum", "hiss", "a hum", "no word it knows", "\udcff hiss"]
    expected = np.concatenate([encoder.embed_text([text]) for text in texts])
    asked = Counting(monkeypatch)
    for path_or_none in (None, path, path):
        with EmbeddingCache(path_or_none, encoder) as cache:
            assert embed_texts(encoder, texts, cache).tobytes() == expected.tobytes()
    distinct = ["a hum", "hiss", "no word it knows", "\udcff hiss"]
    assert asked.texts == 2 * distinct


def test_raw_texts_keep_their_length(encoder: Encoder, path: Path) -> None:
    texts = ["hum", "hum hum hum"]
    with EmbeddingCache(path, encoder) as cache:
        unit = embed_texts(encoder, texts, cache)
        raw = embed_texts(encoder, texts, cache, normalise=False)
        again = embed_texts(encoder, texts, cache)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(raw[1], 3 * raw[0], rtol=1e-6)
    assert again.tobytes() == unit.tobytes()


@pytest.mark.parametrize(("what", "tower"), [("texts", "text"), ("clips", "audio")])
def test_a_tower_that_says_always_the_same(encoder: Encoder, what: str, tower: str) -> None:
    rng = np.random.default_rng(0)
    one = rng.standard_normal(8).astype(np.float32)
    lengths = rng.uniform(0.5, 2, (20, 1)).astype(np.float32)
    for vectors in (np.tile(one, (20, 1)), lengths * one, np.zeros((2, 8), np.float32)):
        with pytest.raises(BenchmarkError) as caught:
            refuse_collapsed(encoder, vectors, what)
        assert str(caught.value).startswith(
            f"encoder tiny: its {tower} tower gives the same embedding for all {len(vectors)} {what};"
        )
    other = np.tile(one, (20, 1))
    other[7, 3] += 0.01
    refuse_collapsed(encoder, other, what)
    refuse_collapsed(encoder, other[:1], what)


# ---- scores

DIM = 3


@st.composite
def spaces(draw: st.DrawFn) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_texts, n_clips = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    texts = rng.standard_normal((n_texts, DIM)).astype(np.float32)
    texts[-1] = texts[0]
    sizes = [draw(st.integers(1, 4)) for _ in range(n_clips)]
    return texts, [rng.standard_normal((size, DIM)).astype(np.float32) for size in sizes]


@given(spaces(), st.integers(1, 30))
def test_scores_against_a_double_loop(
    space: tuple[np.ndarray, list[np.ndarray]], at_a_time: int
) -> None:
    texts, clips = space
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "SCORES_AT_A_TIME", at_a_time)
        found = score_texts(texts, ClipEmbeddings.of(clips))
    expected = [[max(float(v @ text) for v in vectors) for vectors in clips] for text in texts]
    assert found.dtype == np.float32 and found.shape == (len(texts), len(clips))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found[0].tobytes() == found[-1].tobytes()  # equal texts tie, to the last bit


@given(spaces())
def test_the_mean_of_a_clip(space: tuple[np.ndarray, list[np.ndarray]]) -> None:
    _, clips = space
    found = ClipEmbeddings.of(clips).mean()
    assert found.first.tolist() == list(range(len(clips) + 1))
    for vector, vectors in zip(found.vectors, clips, strict=True):
        mean = vectors.mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_the_best_window_and_the_mean_differ(encoder: Encoder, tmp_path: Path) -> None:
    hum, hiss = tone(392.0, 1.0), tone(3116.0, 2.0)
    both = write(tmp_path / "both.wav", np.concatenate([hum, hiss]))
    clips = kept(encoder, [both], None)
    texts = encoder.embed_text(["hum", "hiss"])
    best, mean = score_texts(texts, clips), score_texts(texts, clips.mean())
    assert best.min() > 0.95 and 0.2 < mean[0, 0] < 0.8 < mean[1, 0] < best[1, 0]


def test_two_runs_can_share_a_cache(encoder: Encoder, clips: list[Path], path: Path) -> None:
    with EmbeddingCache(path, encoder) as one, EmbeddingCache(path, encoder) as two:
        for i, clip in enumerate(clips):
            embed_clips(encoder, [clip], (one, two)[i % 2])
        for cache in (one, two):
            assert all(cache.get("windows", cache.digest_of(clip)) is not None for clip in clips)


@pytest.mark.parametrize("seconds", [FUTURE_S, PAST_S])
def test_a_clip_dated_far_away_is_remembered(encoder: Encoder, path: Path, seconds: int) -> None:
    with folder_that_takes(seconds) as folder, EmbeddingCache(path, encoder) as cache:
        clip = write(folder / "a.wav", tone(100))
        date(clip, seconds)
        assert cache.digest_of(clip) == cache.digest_of(clip)
        with sqlite3.connect(path) as connection:
            assert connection.execute("SELECT count(*) FROM files").fetchone() == (1,)
        connection.close()
