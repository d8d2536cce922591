"""A background and curves for a bundle of the tests, so that its scores are relevance."""

from __future__ import annotations

import dataclasses

import numpy as np

from soundsearch.encoder.bundle import (
    BACKGROUND,
    BACKGROUND_TEXTS,
    Curve,
    EncoderBundle,
    RelevanceConfig,
)
from soundsearch.files import sha256_of

CURVES = RelevanceConfig(text=Curve(slope=2.0, offset=-4.0), audio=Curve(slope=1.5, offset=-1.0))


def calibrate(bundle: EncoderBundle, curves: RelevanceConfig = CURVES) -> EncoderBundle:
    """Write both into the bundle's folder: the same encoder, calibrated."""
    background = np.random.default_rng(0).dirichlet(np.ones(bundle.dim), 50)
    background /= np.linalg.norm(background, axis=1, keepdims=True)
    return with_background(bundle, background.astype(np.float16), curves)


def calibrate_searches(bundle: EncoderBundle, texts: object, search: Curve) -> EncoderBundle:
    """The same encoder, calibrated for searches, too. texts: (n, dim), ordinary ones."""
    np.save(bundle.folder / BACKGROUND_TEXTS, np.asarray(texts))
    files = {**bundle.files, BACKGROUND_TEXTS: sha256_of(bundle.folder / BACKGROUND_TEXTS)}
    curves = dataclasses.replace(CURVES, search=search)
    return calibrate(dataclasses.replace(bundle, files=files), curves)


def with_background(
    bundle: EncoderBundle, background: object, curves: RelevanceConfig = CURVES
) -> EncoderBundle:
    """The bundle with this array as its background, whatever it holds."""
    np.save(bundle.folder / BACKGROUND, np.asarray(background), allow_pickle=True)
    return listed(bundle, curves)


def listed(bundle: EncoderBundle, curves: RelevanceConfig = CURVES) -> EncoderBundle:
    """The bundle with the background.npy that lies in its folder among its files."""
    files = {**bundle.files, BACKGROUND: sha256_of(bundle.folder / BACKGROUND)}
    calibrated = dataclasses.replace(bundle, files=files, relevance=curves)
    calibrated.write()
    return calibrated
