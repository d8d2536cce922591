from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from soundsearch.encoder.bundle import Curve, EncoderBundle, RelevanceConfig
from soundsearch.encoder.calibration import Calibration, read_background, standardise
from soundsearch.errors import BundleError
from soundsearch.files import sha256_of
from tests.calibrated import CURVES, calibrate, listed, with_background

#: Coarse, so that equal cosines and backgrounds that are all alike occur.
numbers = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0])


def vectors(n: int, dim: int = 3) -> st.SearchStrategy[NDArray[np.float32]]:
    return arrays.arrays(np.float32, (n, dim), elements=numbers)


def _z(query: NDArray[np.float32], cosine: float, background: NDArray[np.float32]) -> float:
    met = [sum(float(q) * float(b) for q, b in zip(query, row, strict=True)) for row in background]
    mean = sum(met) / len(met)
    std = math.sqrt(sum((x - mean) ** 2 for x in met) / len(met))
    return (cosine - mean) / max(std, 1e-6)


def _by_hand(
    query: NDArray[np.float32], cosine: float, background: NDArray[np.float32], curve: Curve
) -> float:
    z = _z(query, cosine, background)
    return 1 / (1 + math.exp(min(700.0, -(curve.slope * z + curve.offset))))


@given(
    queries=vectors(4),
    background=vectors(5),
    cosines=arrays.arrays(np.float64, (4, 3), elements=numbers),
    kind=st.sampled_from(["text", "audio"]),
)
def test_relevance_is_the_formula_for_each_query_alone(
    queries: NDArray[np.float32],
    background: NDArray[np.float32],
    cosines: NDArray[np.float64],
    kind: str,
) -> None:
    calibration = Calibration(background, CURVES)
    curve = CURVES.text if kind == "text" else CURVES.audio

    found = calibration.relevance(kind, queries, cosines)  # type: ignore[arg-type]

    assert found.shape == cosines.shape
    for query, row, told in zip(queries, cosines, found, strict=True):
        expected = [_by_hand(query, cosine, background, curve) for cosine in row]
        assert told == pytest.approx(expected, abs=1e-5)
        alone = calibration.relevance(kind, query, row)  # type: ignore[arg-type]
        assert alone == pytest.approx(told, abs=1e-9)


@given(background=vectors(6), query=vectors(1), slope=st.sampled_from([0.1, 1.0, 50.0]))
def test_a_higher_cosine_is_never_less_relevant(
    background: NDArray[np.float32], query: NDArray[np.float32], slope: float
) -> None:
    curve = Curve(slope=slope, offset=-3.0)
    calibration = Calibration(background, RelevanceConfig(text=curve, audio=curve))
    found = calibration.relevance("text", query[0], np.linspace(-1, 1, 41))
    assert (np.diff(found) >= 0).all()
    assert (found >= 0).all() and (found <= 1).all()


def test_a_query_that_meets_the_same_everywhere_has_finite_numbers() -> None:
    background = np.tile(np.float32([0.6, 0.8]), (4, 1))
    z = standardise(np.float32([1, 0]), np.array([0.1, np.float32(0.6), 0.9]), background)
    assert np.isfinite(z).all() and z[0] < -1e5 and abs(z[1]) < 1 and z[2] > 1e5


@given(
    query=vectors(1),
    nearest=vectors(1),
    background=vectors(5),
    texts=vectors(4),
    cosines=arrays.arrays(np.float64, (3,), elements=numbers),
)
def test_hits_of_words_are_compared_with_ordinary_texts_too(
    query: NDArray[np.float32],
    nearest: NDArray[np.float32],
    background: NDArray[np.float32],
    texts: NDArray[np.float32],
    cosines: NDArray[np.float64],
) -> None:
    curves = dataclasses.replace(CURVES, search=Curve(slope=0.5, offset=-1.0))
    calibration = Calibration(background, curves, texts)

    found = calibration.relevance_of_hits("text", query[0], cosines, nearest[0])

    own = float(query[0] @ nearest[0])
    for cosine, score in zip(cosines, found, strict=True):
        z = _z(query[0], cosine, background) + _z(nearest[0], own, texts)
        expected = 1 / (1 + math.exp(max(-700.0, min(700.0, -(0.5 * z - 1.0)))))
        assert score == pytest.approx(expected, abs=1e-5)
    for kind, curves_of in (("audio", curves), ("text", CURVES)):  # neither has such a curve
        plain = Calibration(background, curves_of, texts)
        np.testing.assert_array_equal(
            plain.relevance_of_hits(kind, query[0], cosines, nearest[0]),  # type: ignore[arg-type]
            plain.relevance(kind, query[0], cosines),  # type: ignore[arg-type]
        )


def test_a_curve_of_searches_needs_its_texts(tiny: EncoderBundle) -> None:
    searching = dataclasses.replace(CURVES, search=Curve(slope=1.0, offset=0.0))
    with pytest.raises(ValueError, match=r"files lacks background_texts\.npy"):
        calibrate(tiny, searching)
    np.save(tiny.folder / "background_texts.npy", np.ones((3, 7), np.float16))
    files = {**tiny.files, "background_texts.npy": sha256_of(tiny.folder / "background_texts.npy")}
    bundle = calibrate(dataclasses.replace(tiny, files=files), searching)
    assert EncoderBundle.read(tiny.folder).relevance == searching
    with pytest.raises(BundleError, match=r"background_texts\.npy: expected .* of 8 numbers"):
        Calibration.of(bundle)


def test_a_bundle_without_calibration_has_none(tiny: EncoderBundle) -> None:
    assert Calibration.of(tiny) is None


def test_the_background_comes_back_as_float32(tiny: EncoderBundle) -> None:
    written = np.random.default_rng(1).random((5, 8)).astype(np.float16)
    calibration = Calibration.of(with_background(tiny, written))
    assert calibration is not None and calibration.curves == CURVES
    assert calibration.background.dtype == np.float32
    np.testing.assert_array_equal(calibration.background, written)


# ---- faults of background.npy


@pytest.mark.parametrize(
    ("background", "message"),
    [
        (np.ones((4, 7)), "expected 2 or more embeddings of 8 numbers, found shape (4, 7)"),
        (np.ones((1, 8)), "expected 2 or more embeddings of 8 numbers, found shape (1, 8)"),
        (np.ones(8), "expected 2 or more embeddings of 8 numbers, found shape (8,)"),
        (np.float64(1), "found shape ()"),
        (np.full((4, 8), np.nan), "expected finite floating-point numbers, found NaN or infinity"),
        (np.full((4, 8), np.inf), "expected finite floating-point numbers, found NaN or infinity"),
        (np.ones((4, 8), np.int8), "expected finite floating-point numbers, found int8"),
        (np.full((4, 8), None), "not a NumPy array"),  # pickled: it is not even looked at
    ],
)
def test_a_background_with_a_fault(tiny: EncoderBundle, background: object, message: str) -> None:
    bundle = with_background(tiny, background)
    with pytest.raises(BundleError) as caught:
        read_background(bundle)
    line = str(caught.value)
    assert line.startswith(str(tiny.folder / "background.npy")) and "\n" not in line
    assert message in line and line.endswith("; restore the bundle")


def _zipped() -> bytes:
    file = io.BytesIO()
    np.savez(file, np.ones((4, 8)))
    return file.getvalue()


def _cut_short() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones((4, 8)))
    return file.getvalue()[:-9]


@pytest.mark.parametrize("content", [lambda: b"", lambda: b"no array", _zipped, _cut_short])
def test_a_background_that_is_no_array(tiny: EncoderBundle, content: Callable[[], bytes]) -> None:
    (tiny.folder / "background.npy").write_bytes(content())
    with pytest.raises(BundleError, match=r"background\.npy: not a NumPy array \("):
        read_background(listed(tiny))


def test_a_damaged_or_lost_background(tiny: EncoderBundle) -> None:
    bundle = calibrate(tiny)
    path: Path = bundle.folder / "background.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"background\.npy: damaged"):
        Calibration.of(bundle)
    path.unlink()
    with pytest.raises(BundleError, match=r"background\.npy: the encoder tiny lacks this file"):
        Calibration.of(bundle)
