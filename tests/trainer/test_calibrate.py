from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.encoder.bundle import (
    BACKGROUND,
    BACKGROUND_TEXTS,
    Curve,
    EncoderBundle,
    RelevanceConfig,
)
from soundsearch.encoder.calibration import Calibration
from soundsearch.encoder.embed_clips import ClipEmbeddings
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import SoundsearchError
from tests import sounds
from tests.tiny_encoder import BAND_HZ, WORDS
from trainer import calibrate as module
from trainer.calibrate import (
    Answers,
    Library,
    ask,
    ask_vocabulary,
    calibrate,
    calibrate_on,
    draw_background,
    fit_curve,
    fit_search_curve,
    make_library,
    separation,
)
from trainer.calibration_set import CalibrationSet, Captioned, demo_set, read_calibration_set
from trainer.data.lines import ManifestError

Array = NDArray[np.float32]


@pytest.fixture
def clips(tmp_path: Path) -> list[Captioned]:
    """A second of a tone and one of another, three windows each; and a file that is no sound."""
    (tmp_path / "broken.wav").write_text("no sound")
    made = [Captioned(tmp_path / "broken.wav", "hum")]
    for i, word in enumerate(WORDS):
        both = np.concatenate([sounds.tone(BAND_HZ[i]), sounds.tone(1.08 * BAND_HZ[i])])
        made.append(Captioned(sounds.write(tmp_path / f"{word}.wav", both), word))
    return made


def made_library(encoder: Encoder, clips: list[Captioned]) -> Library:
    return make_library(encoder, clips, EmbeddingCache(None, encoder))


def one_window_each(vectors: Array) -> ClipEmbeddings:
    return ClipEmbeddings.of([vector[None] for vector in vectors])


# ---- embedding


def test_recordings_become_a_library(tiny: EncoderBundle, clips: list[Captioned]) -> None:
    encoder = Encoder(tiny, "cpu")
    library = made_library(encoder, clips)
    assert library.captions.tolist() == list(WORDS)
    assert library.embeddings.first.tolist() == list(range(0, 25, 3))
    np.testing.assert_array_equal(
        library.embeddings.vectors[6:9], encoder.embed_file(clips[3].path)[1]
    )
    with pytest.raises(SoundsearchError, match="none of 1 recordings can be embedded"):
        made_library(encoder, clips[:1])


def test_a_background_is_windows_of_recordings(tiny: EncoderBundle, clips: list[Captioned]) -> None:
    encoder = Encoder(tiny, "cpu")
    cache = EmbeddingCache(None, encoder)
    paths = [clip.path for clip in clips]
    windows = made_library(encoder, clips).embeddings.vectors.astype(np.float16)

    def places(drawn: NDArray[np.float16]) -> list[int]:
        return [int(np.flatnonzero((windows == row).all(axis=1))[0]) for row in drawn]

    one_each = draw_background(encoder, paths, cache, seed=3, n=9)
    assert one_each.dtype == np.float16
    assert sorted(place // 3 for place in places(one_each)) == list(range(8))
    assert len({place % 3 for place in places(one_each)}) > 1  # not always the first window
    again = draw_background(encoder, paths, cache, seed=3, n=9)
    np.testing.assert_array_equal(one_each, again)
    other = draw_background(encoder, paths, cache, seed=4, n=9)
    assert places(one_each) != places(other)
    # Of few recordings all windows are taken, each once.
    assert sorted(places(draw_background(encoder, paths, cache))) == list(range(24))
    assert len(draw_background(encoder, paths[1:], cache, n=5)) == 5
    with pytest.raises(SoundsearchError, match="2 recordings or more, 1 of 2 can be used"):
        draw_background(encoder, paths[:2], cache)


# ---- asking


#: The embedding of a text that a test says nothing of.
ELSEWHERE = np.float32([0, 0, 0, 0, 0, 0, 0, 1])


class _ByWord(Encoder):
    """Texts as given, without a tower."""

    def __init__(self, bundle: EncoderBundle, vectors: dict[str, Array]) -> None:
        super().__init__(bundle, "cpu")
        self._vectors = vectors

    def embed_text(self, texts, *, normalise=True):  # type: ignore[no-untyped-def]
        return np.stack([self._vectors.get(text, ELSEWHERE) for text in texts])


def test_captions_and_recordings_ask(tiny: EncoderBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three recordings, the first of two windows; two of them are called the same."""
    monkeypatch.setattr(module, "LEAST_SHARED", 2)
    library = Library(
        np.array(["b", "a", "b"]),
        ClipEmbeddings(
            np.float32([[1, 0], [0, 1], [0.6, 0.8], [0.8, 0.6]]), np.array([0, 2, 3, 4])
        ),
    )
    encoder = _ByWord(tiny, {"a": np.float32([1, 0]), "b": np.float32([0, 1])})

    text, audio = ask(encoder, library)

    assert (text.kind, audio.kind) == ("text", "audio")
    np.testing.assert_allclose(text.cosines, [[1, 0.6, 0.8], [1, 0.8, 0.6]], rtol=1e-6)
    assert text.right.tolist() == [[False, True, False], [True, False, True]]
    half = 0.5**0.5
    np.testing.assert_allclose(audio.queries, [[half, half], [0.8, 0.6]], rtol=1e-6)
    np.testing.assert_allclose(
        audio.cosines, [[-np.inf, 1.4 * half, 1.4 * half], [0.8, 0.96, -np.inf]], rtol=1e-6
    )
    assert audio.right.tolist() == [[False, False, True], [True, False, False]]


def test_where_few_share_a_caption_a_part_of_a_recording_asks_for_another(
    tiny: EncoderBundle,
) -> None:
    """Of five windows the first two ask for the last two, the middle one is left out."""
    vectors = [[1, 0], [0.6, 0.8], [0, 1], [0, 1], [0.8, 0.6]]
    library = Library(
        np.array(["a", "b"]), ClipEmbeddings(np.float32([[0, 1], *vectors]), np.array([0, 1, 6]))
    )
    encoder = _ByWord(tiny, dict.fromkeys("ab", np.float32([1, 0])))

    _, audio = ask(encoder, library)

    sound = np.float32([1.6, 0.8]) / np.hypot(1.6, 0.8)
    np.testing.assert_allclose(audio.queries, [sound], rtol=1e-6)
    np.testing.assert_allclose(audio.cosines, [[sound[1], sound @ [0.8, 0.6]]], rtol=1e-6)
    assert audio.right.tolist() == [[False, True]]
    z, is_right = module._best_hits(audio, np.array([[0.5, 2.0]]))
    assert (z.tolist(), is_right.tolist()) == ([2.0, 0.5], [True, False])


def test_words_ask_a_library_that_may_lack_what_they_name(tiny: EncoderBundle) -> None:
    library = Library(
        np.array(["dogs bark", "a door closes"]),
        ClipEmbeddings(np.float32([[1, 0], [0, 1], [0.6, 0.8]]), np.array([0, 1, 3])),
    )
    vectors = {
        "barking dog": np.float32([0.8, 0.6]),  # the second recording's second window is nearest
        "door closing": np.float32([0.6, 0.8]),
        "thunder": np.float32([1, 0]),
        "dog growling": np.float32([1, 0]),  # a caption has one of its words: it asks nothing
    }
    calibration = Calibration(
        np.float32([[1, 0], [0, 1], [0.6, 0.8]]),
        RelevanceConfig(text=Curve(slope=1, offset=0), audio=Curve(slope=1, offset=0)),
        np.float32([[0, 1], [1, 0]]),
    )

    answers = ask_vocabulary(_ByWord(tiny, vectors), library, list(vectors))

    assert answers.exists.tolist() == [True, True, False]
    assert answers.is_right.tolist() == [False, True, False]
    assert answers.nearest.tolist() == np.float32([[0.6, 0.8], [0.6, 0.8], [1, 0]]).tolist()
    expected = [
        float(calibration.two_sided(query, np.array([query @ near]), near)[0])
        for query, near in zip(answers.queries, answers.nearest, strict=True)
    ]
    assert answers.z(calibration).tolist() == pytest.approx(expected, rel=1e-6)


# ---- fitting


def test_right_hits_wrong_ones_and_those_without_an_answer_weigh_alike() -> None:
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(m, 1, n) for m, n in ((4, 2_000), (2, 30_000), (2, 8_000))])
    kind = np.repeat([0, 1, 2], [2_000, 30_000, 8_000])
    answers = Answers(np.empty(0), np.empty(0), kind == 0, kind != 2)
    curve = fit_search_curve(answers, z)
    assert curve is not None  # of two such bells, the lower twice as high, 2 z - 6 - ln 2
    assert curve.slope == pytest.approx(2, rel=0.1)
    assert curve.offset == pytest.approx(-6 - np.log(2), rel=0.1)
    for lacking in range(3):
        some = kind != lacking
        fewer = Answers(np.empty(0), np.empty(0), kind[some] == 0, kind[some] != 2)
        assert fit_search_curve(fewer, z[some]) is None


@given(st.lists(st.tuples(st.floats(-6, 6), st.booleans()), min_size=2, max_size=40))
def test_a_curve_balances_right_and_wrong(pairs: list[tuple[float, bool]]) -> None:
    z = np.array([x for x, _ in pairs]).round(3)
    is_right = np.array([y for _, y in pairs])

    curve = fit_curve(z, is_right)

    if curve is None:
        lower = is_right.all() or not is_right.any() or z.std() == 0
        assert lower or z[is_right].mean() <= z[~is_right].mean() + 1e-3 * z.std()
        return
    told = 1 / (1 + np.exp(-np.clip(curve.slope * z + curve.offset, -700, 700)))
    surplus = 0.5 * (told[is_right] - 1).mean() + 0.5 * told[~is_right].mean()
    moment = (
        0.5 * ((told[is_right] - 1) * z[is_right]).mean()
        + 0.5 * (told[~is_right] * z[~is_right]).mean()
    )
    # At the best curve both vanish, but for the ridge and for rounding.
    assert abs(surplus) < 0.02 and abs(moment - surplus * z.mean()) < 0.05 * max(1.0, z.std())


def test_half_lies_where_right_and_wrong_are_equally_likely() -> None:
    rng = np.random.default_rng(0)
    right, wrong = rng.normal(4, 1, 20_000), rng.normal(2, 1, 80_000)
    is_right = np.arange(100_000) < 20_000
    curve = fit_curve(np.concatenate([right, wrong]), is_right)
    assert curve is not None  # of two such bells the log odds are 2 z - 6
    assert curve.slope == pytest.approx(2, rel=0.03)
    assert curve.offset == pytest.approx(-6, rel=0.03)


def test_what_does_not_tell_right_from_wrong_has_no_curve() -> None:
    z = np.array([1.0, 2, 3, 4])
    assert fit_curve(z, np.array([True, True, False, False])) is None
    assert fit_curve(z, np.ones(4, bool)) is None
    assert fit_curve(z, np.zeros(4, bool)) is None
    assert fit_curve(np.ones(4), np.array([True, False, True, False])) is None
    separable = fit_curve(z, np.array([False, False, True, True]))
    assert separable is not None and np.isfinite([separable.slope, separable.offset]).all()


# ---- the whole


def _library(n_odd: int) -> tuple[dict[str, Array], Library]:
    """Twelve captions with two recordings each; those of the first n_odd resemble nothing."""
    rng = np.random.default_rng(1)
    vectors = {}
    rows = []
    for i in range(12):
        vector = rng.normal(size=8)
        vectors[f"caption {i:02}"] = (vector / np.linalg.norm(vector)).astype(np.float32)
        for _ in range(2):
            noise = rng.normal(size=8)
            rows.append(noise if i < n_odd else vector + 0.1 * noise)
    embeddings = np.stack(rows)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    captions = np.repeat(sorted(vectors), 2)
    return vectors, Library(captions, one_window_each(embeddings.astype(np.float32)))


def _background() -> NDArray[np.float16]:
    rows = np.random.default_rng(2).normal(size=(200, 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def test_a_bundle_is_calibrated(tiny: EncoderBundle) -> None:
    assert len(_library(n_odd=5)[1].captions) >= module.LEAST_SHARED
    vectors, library = _library(n_odd=5)
    encoder = _ByWord(tiny, vectors)
    assert separation(encoder, library) == {}

    bundle = calibrate(encoder, library, _background())

    assert bundle == EncoderBundle.read(tiny.folder) and bundle.relevance is not None
    assert bundle.fingerprint == tiny.fingerprint
    assert dataclasses.replace(bundle, relevance=None, files=tiny.files) == tiny
    calibration = Calibration.of(bundle)
    assert calibration is not None
    np.testing.assert_array_equal(calibration.background, _background())

    told = separation(_ByWord(bundle, vectors), library)

    assert set(told) == {
        f"{kind}: {name}"
        for kind in ("text", "audio")
        for name in (
            "best hit scores 0.5 or more",
            "the same, right recordings taken out",
            "best hit is right where it scores 0.5 or more",
            "best hit is right where it scores less",
        )
    }
    for results in ask(encoder, library):
        scores = calibration.relevance(results.kind, results.queries, results.cosines)
        fits, right, alone = [], [], []
        for row, wanted in zip(scores, results.right, strict=True):
            fits.append(row.max() >= 0.5)
            right.append(wanted[row.argmax()])
            alone.append(max(row[~wanted]) >= 0.5)
        assert 0 < sum(fits) < len(fits)
        where = [r for r, f in zip(right, fits, strict=True) if f]
        elsewhere = [r for r, f in zip(right, fits, strict=True) if not f]
        expected = (fits, alone, where, elsewhere)
        found = [value for name, value in told.items() if name.startswith(results.kind)]
        assert found == pytest.approx([np.mean(x) for x in expected], abs=1e-4)
        assert np.mean(where) > 0.8 > 0.3 > np.mean(elsewhere)


def test_a_bundle_is_calibrated_for_words_that_name_nothing_there(
    tiny: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, library = _library(n_odd=5)
    rng = np.random.default_rng(3)
    strange = {name: v / np.linalg.norm(v) for name in "pqrs" for v in [rng.normal(size=8)]}
    vectors |= {name: v.astype(np.float32) for name, v in strange.items()}
    monkeypatch.setattr(module, "load_vocabulary", lambda: sorted(vectors))
    encoder = _ByWord(tiny, vectors)

    bundle = calibrate(encoder, library, _background())

    assert bundle == EncoderBundle.read(tiny.folder)
    calibration = Calibration.of(bundle)
    assert calibration is not None and calibration.curves.search is not None
    assert calibration.texts is not None and len(calibration.texts) == len(vectors)
    answers = ask_vocabulary(encoder, library, sorted(vectors))
    assert answers.exists.sum() == 12 and (~answers.exists).sum() == 4
    fits = calibration.curves.search.height(answers.z(calibration)) >= 0.5
    shares = separation(_ByWord(bundle, vectors), library)
    assert shares["search: best hit scores 0.5 or more"] == pytest.approx(
        fits[answers.exists].mean(), abs=1e-4
    )
    assert shares["search: best hit is right where it scores 0.5 or more"] == pytest.approx(
        answers.is_right[fits & answers.exists].mean(), abs=1e-4
    )


def test_a_bundle_that_cannot_tell_stays_as_it_is(
    tiny: EncoderBundle, caplog: pytest.LogCaptureFixture
) -> None:
    vectors, library = _library(n_odd=0)
    alone = dataclasses.replace(
        library, captions=np.array([f"caption {i % 12:02}" for i in range(24)])
    )
    unique = Library(library.captions[::2], one_window_each(library.embeddings.vectors[::2]))
    before = (tiny.folder / "bundle.json").read_bytes()
    for useless in (alone, unique):  # nothing is right; no two have one caption
        caplog.clear()
        assert calibrate(_ByWord(tiny, vectors), useless, _background()) == tiny
        assert "stays without calibration" in caplog.text
    assert (tiny.folder / "bundle.json").read_bytes() == before
    assert not (tiny.folder / BACKGROUND).exists()
    assert not (tiny.folder / BACKGROUND_TEXTS).exists()


def test_a_bundle_is_calibrated_on_files_and_says_on_which(
    tiny: EncoderBundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Tones under their bands' names, with a second of another one between."""
    rng = np.random.default_rng(0)
    recordings = []
    for i, word in enumerate([*WORDS, *WORDS[:4]]):
        other = BAND_HZ[int(rng.integers(len(WORDS)))]
        wrong = i >= len(WORDS)
        parts = [sounds.tone(BAND_HZ[(i + wrong) % 8], 2.0), sounds.tone(other, 1.0)]
        path = sounds.write(tmp_path / f"{i}.wav", np.concatenate([*parts, parts[0]]))
        recordings.append(Captioned(path, word))
    chosen = CalibrationSet("made tones", recordings, [one.path for one in recordings])

    bundle, numbers = calibrate_on(tiny, chosen)

    assert bundle == EncoderBundle.read(tiny.folder) and bundle.relevance is not None
    assert numbers["about"] == "on made tones" and numbers["recordings"] == len(recordings)
    assert 0 <= numbers["text: best hit scores 0.5 or more"] <= 1
    calibration = Calibration.of(bundle)
    assert calibration is not None
    assert len(calibration.background) == numbers["windows in the background"]


# ---- the recordings


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_split_parts_library_and_background(tmp_path: Path) -> None:
    rows = "a.wav,rain,train\nb.wav,wind,valid\nc.wav,,valid\nd.wav,hail,test\n"
    found = read_calibration_set(_write(tmp_path / "x.csv", "file,caption,split\n" + rows))
    assert [(one.path.name, one.caption) for one in found.library] == [
        ("b.wav", "wind"),
        ("d.wav", "hail"),
    ]
    assert [path.name for path in found.ordinary] == ["a.wav", "c.wav"]


def test_without_a_split_all_recordings_are_both(tmp_path: Path) -> None:
    found = read_calibration_set(
        _write(tmp_path / "x.csv", "file,caption\na.wav,rain\nb.wav,wind\nc.wav,\n")
    )
    assert [one.path.name for one in found.library] == ["a.wav", "b.wav"]
    assert [path.name for path in found.ordinary] == ["a.wav", "b.wav", "c.wav"]
    valid = read_calibration_set(
        _write(tmp_path / "y.csv", "file,caption,split\na.wav,rain,valid\nb.wav,wind,valid\n")
    )
    assert [path.name for path in valid.ordinary] == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("file\na.wav\n", ["x.csv", "caption"]),
        ("file,caption\na.wav,\n", ["x.csv", "captions of recordings are needed"]),
        ("file,caption,split\na.wav,rain,train\n", ["x.csv", "another split than train"]),
    ],
)
def test_a_manifest_that_cannot_calibrate_is_one_line(
    tmp_path: Path, text: str, facts: list[str]
) -> None:
    with pytest.raises(ManifestError) as caught:
        read_calibration_set(_write(tmp_path / "x.csv", text))
    assert all(fact in str(caught.value) for fact in facts) and "\n" not in str(caught.value)


def test_the_demo_is_there_with_descriptions() -> None:
    found = demo_set()
    assert len(found.library) == len(found.ordinary) > 40
    assert all(one.path.is_file() and one.caption for one in found.library)
    assert "a crow cawing" in [one.caption for one in found.library]
