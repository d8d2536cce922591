"""An index and the calibration of its encoder; its encoder as such is in test_health.py."""

from __future__ import annotations

import contextlib
from pathlib import Path

from soundsearch.encoder.bundle import Curve, EncoderBundle, RelevanceConfig
from soundsearch.encoder.calibration import Calibration
from soundsearch.store.pinned import create_index, pinned_bundle
from tests.calibrated import CURVES, calibrate

OTHER = RelevanceConfig(text=Curve(slope=9.0, offset=0.0), audio=Curve(slope=9.0, offset=0.0))


def test_the_copy_takes_the_background_along(tiny: EncoderBundle, tmp_path: Path) -> None:
    calibrated = calibrate(tiny)
    with contextlib.closing(create_index(tmp_path / "index", calibrated)) as store:
        calibrate(tiny, OTHER)
        bundle = pinned_bundle(store)
        assert bundle.folder == store.folder / "encoder"  # its own scores stay what they were
        calibration = Calibration.of(bundle)
    assert calibration is not None and calibration.curves == CURVES
    assert len(calibration.background) == 50


def test_an_index_answers_with_its_own_copy_whatever_is_installed(
    tiny: EncoderBundle, tmp_path: Path
) -> None:
    with contextlib.closing(create_index(tmp_path / "index", tiny)) as store:
        calibrate(tiny)  # a twin of another calibration
        assert pinned_bundle(store).folder == store.folder / "encoder"
        assert pinned_bundle(store, own_copy=False).relevance == CURVES


def test_a_copy_that_lost_its_background_gives_way_to_a_twin(
    tiny: EncoderBundle, tmp_path: Path
) -> None:
    calibrated = calibrate(tiny)
    with contextlib.closing(create_index(tmp_path / "index", calibrated)) as store:
        (store.folder / "encoder" / "background.npy").unlink()
        assert pinned_bundle(store).folder == tiny.folder
