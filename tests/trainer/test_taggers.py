"""Taggers: asked over the whole of a sound, and refused in one line where they do not fit."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.conftest import ROOT
from tests.sounds import noise, tone
from trainer.taggers import EFFICIENT_AT, RATE_ENTRY, TaggerError, open_tagger, tag

NAMES = "index,mid,display_name\n0,/m/1,Loud\n1,/m/2,Louder\n"


def write_model(
    path: Path, shape: Sequence[int | str], rate: int | None, *, output: str = "logits"
) -> Path:
    """A tagger of two classes: the mean of its input, and the mean of its squares.

    Of a waveform, (n, time); of log-mels, the mean over all but the first axis.
    """
    axes = list(range(1, len(shape))) or [0]
    parts = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("ReduceMean", ["x", "axes"], ["a"], keepdims=0),
        helper.make_node("ReduceMean", ["square", "axes"], ["b"], keepdims=0),
        helper.make_node("Unsqueeze", ["a", "last"], ["a1"]),
        helper.make_node("Unsqueeze", ["b", "last"], ["b1"]),
        helper.make_node("Concat", ["a1", "b1"], [output], axis=-1),
    ]
    graph = helper.make_graph(
        parts,
        "tagger",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [
            helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes),
            helper.make_tensor("last", TensorProto.INT64, [1], [-1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if rate is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = RATE_ENTRY, str(rate)
    onnx.save(model, path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the names of two classes, and a table that names none."""
    (tmp_path / "classes.csv").write_text(NAMES)
    (tmp_path / "other.csv").write_text("file,caption\na.wav,rain\n")
    return tmp_path


def test_a_tagger_of_waveforms_takes_all_of_a_sound(folder: Path) -> None:
    tagger = open_tagger(write_model(folder / "tagger.onnx", ["n", 800], 8000))
    assert tagger.names == ["Loud", "Louder"] and tagger.sample_rate == 8000
    sound = np.concatenate([np.ones(1000, np.float32), np.zeros(1000, np.float32)])
    assert tagger.logits(sound) == pytest.approx([0.5, 0.5], abs=0.05)
    short = np.float32([0.5, 0.5])
    assert tagger.logits(short) == pytest.approx([0.5, 0.25])  # repeated, not filled with zeros
    at_another_rate = tag(tagger, np.full(16000, 0.5, np.float32), 16000)
    assert at_another_rate == pytest.approx([0.5, 0.25], abs=0.01)
    copy = pickle.loads(pickle.dumps(tagger))
    np.testing.assert_array_equal(copy.logits(sound), tagger.logits(sound))
    assert copy.fingerprint == tagger.fingerprint


def test_a_tagger_may_take_one_waveform_of_any_length(folder: Path) -> None:
    tagger = open_tagger(write_model(folder / "tagger.onnx", ["time"], 8000))
    assert tagger.logits(np.float32([0, 1, 1, 0])) == pytest.approx([0.5, 0.5])


def test_scores_become_logits(folder: Path) -> None:
    path = write_model(folder / "tagger.onnx", ["n", "time"], 8000, output="scores")
    found = open_tagger(path).logits(np.full(100, 0.25, np.float32))
    assert found == pytest.approx([np.log(0.25 / 0.75), np.log(0.0625 / 0.9375)], abs=1e-4)
    silent = open_tagger(path).logits(np.zeros(100, np.float32))
    assert np.isfinite(silent).all() and (silent < -10).all()


def test_a_tagger_of_log_mels_gets_those_of_its_own_front_end(folder: Path) -> None:
    path = write_model(folder / "tagger.onnx", ["n", 1, 128, "frames"], None)
    tagger = open_tagger(path)
    assert tagger.sample_rate == 32000
    sound = noise(1.5, 32000)
    features = (EFFICIENT_AT.log_mel(sound, 32000) + 4.5) / 5
    assert features.shape == (128, 150)
    expected = [features.mean(), np.square(features).mean()]
    assert tagger.logits(sound) == pytest.approx(expected, rel=1e-4)
    short = sound[:9000]
    np.testing.assert_array_equal(tagger.logits(short), tagger.logits(np.resize(short, 32000)))


def test_the_classes_may_be_named_by_a_file(folder: Path, tmp_path: Path) -> None:
    (folder / "more.csv").write_text("label\nrain\nwind\n")
    path = write_model(folder / "tagger.onnx", ["n", "time"], 8000)
    assert open_tagger(path, folder / "more.csv").names == ["rain", "wind"]
    with pytest.raises(TaggerError) as caught:
        open_tagger(path)  # two tables name two classes
    assert "classes.csv" in str(caught.value) and "more.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "rate", "facts"),
    [
        (["n", "time"], None, ["does not say its sample rate", RATE_ENTRY]),
        (["n", 1, 64, "frames"], None, ["takes tensor(float) of shape", "64", "128"]),
        (["n", "time", 3], 8000, ["takes tensor(float) of shape", "(n, time)"]),
    ],
)
def test_a_teacher_whose_input_does_not_fit_is_one_line(
    folder: Path, shape: list[int | str], rate: int | None, facts: list[str]
) -> None:
    path = write_model(folder / "tagger.onnx", shape, rate)
    with pytest.raises(TaggerError) as caught:
        open_tagger(path)
    assert all(fact in str(caught.value) for fact in [str(path), *facts])
    assert "\n" not in str(caught.value)


def test_classes_that_do_not_fit_are_one_line(folder: Path) -> None:
    path = write_model(folder / "tagger.onnx", ["n", "time"], 8000)
    (folder / "three.csv").write_text("name\na\nb\nc\n")
    with pytest.raises(TaggerError, match=r"has 2 classes, .*three\.csv names 3"):
        open_tagger(path, folder / "three.csv")
    with pytest.raises(TaggerError, match=r"other\.csv: expected a column display_name"):
        open_tagger(path, folder / "other.csv")
    (folder / "classes.csv").unlink()
    with pytest.raises(TaggerError, match=r"names its 2 classes, found three\.csv \(3\)"):
        open_tagger(path)


def test_what_is_no_tagger_is_one_line(folder: Path) -> None:
    for name, fact in (
        ("tagger.pt", "expected a tagger as .tflite or .onnx"),
        ("gone.onnx", "no such file"),
        ("bad.onnx", "not a model of ONNX"),
        ("bad.tflite", "not a model that LiteRT can open"),
    ):
        if name.startswith("bad"):
            (folder / name).write_bytes(b"no model at all")
        with pytest.raises(TaggerError) as caught:
            open_tagger(folder / name)
        assert name in str(caught.value) and fact in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.data
def test_yamnet_tells_a_tone_from_noise_and_hears_all_of_a_sound(data_folder: Path) -> None:
    tagger = open_tagger(data_folder / "teachers" / "yamnet.tflite")
    assert len(tagger.names) == 521
    dial, beep = tagger.names.index("Dial tone"), tagger.names.index("Beep, bleep")
    noisy = tagger.names.index("White noise")
    tonal = tagger.logits(tone(440, 1.0, tagger.sample_rate))
    hiss = tagger.logits(0.3 * noise(1.0, tagger.sample_rate))
    assert tonal[dial] > 2 and hiss[dial] < -4
    assert hiss[noisy] > -1 and tonal[noisy] < -4
    assert tagger.logits(tone(1000, 1.0, tagger.sample_rate))[beep] > 0
    short = tone(1000, 0.2, tagger.sample_rate)
    np.testing.assert_array_equal(tagger.logits(short), tagger.logits(np.resize(short, 15600)))
    copy = pickle.loads(pickle.dumps(tagger))
    np.testing.assert_array_equal(copy.logits(short), tagger.logits(short))


@pytest.mark.data
def test_mn04_tells_a_dog_from_rain(data_folder: Path) -> None:
    tagger = open_tagger(data_folder / "teachers" / "mn04_as.onnx")
    assert len(tagger.names) == 527
    from soundsearch.audio.recording import AudioFile

    found = {}
    demo = ROOT / "soundsearch" / "demo" / "recordings"
    for name in ("Animals/puppy_bark", "Nature/ZOOM0007"):
        with AudioFile(demo / f"{name}.opus") as file:
            waveform = file.all_channels().mean(axis=0)
            logits = tag(tagger, waveform, file.sample_rate)
        found[name] = [tagger.names[i] for i in np.argsort(-logits)[:8]]
    assert {"Dog", "Bark"} & set(found["Animals/puppy_bark"])
    assert {"Rain", "Raindrop", "Rain on surface"} & set(found["Nature/ZOOM0007"])
