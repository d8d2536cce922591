"""The tagger: asked over the whole of a sound, and refused in one line where it is not there."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from soundsearch.errors import SoundsearchError
from tests.sounds import noise, tone
from trainer.starter.tagger import CLASSES, MODEL, N_SAMPLES, Tagger


def test_no_list_of_classes_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SoundsearchError, match=r"yamnet_class_map\.csv: cannot be read"):
        Tagger(tmp_path)


def test_a_file_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    (tmp_path / CLASSES).parent.mkdir()
    (tmp_path / CLASSES).write_text("index,mid,display_name\n0,/m/1,Speech\n")
    (tmp_path / MODEL).write_bytes(b"no model at all")
    with pytest.raises(SoundsearchError, match="not a model that LiteRT can open") as caught:
        Tagger(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.data
def test_yamnet_tells_a_tone_from_noise_and_hears_all_of_a_sound(data_folder: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    tagger = Tagger(data_folder)
    assert len(tagger.names) == 521
    dial, beep = tagger.names.index("Dial tone"), tagger.names.index("Beep, bleep")
    noisy = tagger.names.index("White noise")
    tonal = tagger.scores(tone(440, 1.0, tagger.sample_rate))
    hiss = tagger.scores(0.3 * noise(1.0, tagger.sample_rate))
    assert tonal[dial] > 0.9 and hiss[dial] < 0.01
    assert hiss[noisy] > 0.3 and tonal[noisy] < 0.01
    assert tagger.scores(tone(1000, 1.0, tagger.sample_rate))[beep] > 0.5
    both = np.concatenate(
        (tone(440, 2.0, tagger.sample_rate), 0.3 * noise(2.0, tagger.sample_rate))
    )
    assert 0.3 < tagger.scores(both)[dial] < 0.7
    short = tone(1000, 0.2, tagger.sample_rate)
    np.testing.assert_array_equal(tagger.scores(short), tagger.scores(np.resize(short, N_SAMPLES)))
    copy = pickle.loads(pickle.dumps(tagger))
    np.testing.assert_array_equal(copy.scores(both), tagger.scores(both))
    assert copy.fingerprint == tagger.fingerprint
