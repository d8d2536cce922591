from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from soundsearch.audio.features import KaldiFbank, StftLogMel
from soundsearch.audio.windows import AudioConfig
from soundsearch.encoder import registry
from soundsearch.encoder.bundle import BACKGROUND, EncoderBundle, TextConfig
from soundsearch.errors import BundleError
from tests.calibrated import CURVES, calibrate
from tests.tiny_encoder import write_tiny_bundle

Facts = dict[str, Any]


def _edit(bundle: EncoderBundle, change: Callable[[Facts], Any]) -> None:
    path = bundle.folder / "bundle.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


# ---- reading and writing


@pytest.mark.parametrize(
    "features",
    [
        KaldiFbank(n_mels=128, n_frames=1000, f_min=20.0, mean=-4.9, std=5.7, window="povey"),
        StftLogMel(n_mels=64, n_frames=1001, f_min=50.0, f_max=14000.0, norm="none"),
    ],
)
def test_what_is_written_is_read(tiny: EncoderBundle, features: KaldiFbank | StftLogMel) -> None:
    written = dataclasses.replace(
        tiny,
        features=features,
        audio=AudioConfig(
            sample_rate=None,
            window_s=10.0,
            hop_s=2.5,
            short="keep",
            channels="first",
            clip="centre",
        ),
        text=TextConfig(max_tokens=77, prompt="the sound of {}"),
        description="Geräusche, 音",
        results={"R@1": {"value": 0.25, "command": "soundsearch train evaluate"}},
    )

    written.write()

    read = EncoderBundle.read(tiny.folder)
    assert read == written
    assert read.fingerprint == written.fingerprint
    assert sorted(path.name for path in tiny.folder.iterdir()) == [
        "audio.onnx",
        "bundle.json",
        "text.onnx",
        "tokenizer.json",
    ]


def test_calibration_is_written_and_read(tiny: EncoderBundle) -> None:
    assert tiny.relevance is None
    assert json.loads((tiny.folder / "bundle.json").read_text())["relevance"] is None

    calibrated = calibrate(tiny)

    assert EncoderBundle.read(tiny.folder) == calibrated != tiny
    facts = json.loads((tiny.folder / "bundle.json").read_text())
    assert facts["relevance"] == {
        "text": {"slope": 2.0, "offset": -4.0},
        "audio": {"slope": 1.5, "offset": -1.0},
        "search": None,
    }
    assert calibrated.file(BACKGROUND) == tiny.folder / "background.npy"


def test_no_calibration_may_be_spelt_out(tiny: EncoderBundle) -> None:
    _edit(tiny, _set("relevance", to=None))
    assert EncoderBundle.read(tiny.folder) == tiny


def test_a_folder_without_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=re.escape(f"{tmp_path}: no encoder bundle here")):
        EncoderBundle.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
        (b"[]", "expected a JSON object, found list"),
        (b"{}", "bundle format None, this version reads 1"),
        (b'{"format": 2}', "bundle format 2, this version reads 1"),
    ],
)
def test_a_file_that_is_no_bundle(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match=message) as caught:
        EncoderBundle.read(tmp_path)
    assert str(tmp_path / "bundle.json") in str(caught.value)


def test_a_bundle_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").mkdir()
    with pytest.raises(BundleError, match="cannot be read"):
        EncoderBundle.read(tmp_path)


def _set(*keys: str, to: object) -> Callable[[Facts], Any]:
    def change(facts: Facts) -> None:
        for key in keys[:-1]:
            facts = facts[key]
        facts[keys[-1]] = to

    return change


def _drop(*keys: str) -> Callable[[Facts], Any]:
    def change(facts: Facts) -> None:
        for key in keys[:-1]:
            facts = facts[key]
        del facts[keys[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("licenze", to="MIT"), "licenze: unknown key, did you mean licence?"),
        (_set("audio", "windows_s", to=1), "audio.windows_s: unknown key, did you mean window_s?"),
        (_set("features", "nmels", to=1), "features.nmels: unknown key, did you mean n_mels?"),
        (_set("text", "xyzzy", to=1), "text.xyzzy: unknown key"),
        (_drop("dim"), "dim: missing"),
        (_drop("audio", "hop_s"), "audio.hop_s: missing"),
        (_drop("text"), "text: missing"),
        (_drop("features"), "features.kind is None"),
        (_drop("features", "kind"), "features.kind is None"),
        (_set("features", "kind", to="mfcc"), "features.kind is 'mfcc', known are kaldi-fbank"),
        (_set("features", to=None), "bundle.json"),
        (_set("features", to=[]), "bundle.json"),
        (_set("audio", to=8000), "audio: expected an object, found 8000"),
        (_set("audio", "sample_rate", to=10), "sample_rate must be 1000 Hz or more"),
        (_set("audio", "window_s", to="3"), "audio.window_s: expected a number, found '3'"),
        (_set("audio", "hop_s", to=float("nan")), "audio.hop_s: expected a number, found nan"),
        (
            _set("audio", "sample_rate", to=True),
            "audio.sample_rate: expected a whole number or null, found True",
        ),
        (_set("audio", "sample_rate", to=8000.0), "expected a whole number or null, found 8000.0"),
        (
            _set("audio", "short", to=[]),
            "audio.short: expected repeat or repeat-whole or zeros or keep, found []",
        ),
        (
            _set("audio", "channels", to="left"),
            "audio.channels: expected mean or first, found 'left'",
        ),
        (_set("audio", "clip", to=1), "audio.clip: expected windows or centre, found 1"),
        (_set("features", "n_mels", to=8.5), "features.n_mels: expected a whole number, found 8.5"),
        (_set("features", "mean", to=None), "features.mean: expected a number, found None"),
        (_set("text", "prompt", to=3), "text.prompt: expected a text, found 3"),
        (_set("name", to=7), "name: expected a text, found 7"),
        (_set("results", to=[]), "results: expected an object, found []"),
        (_set("files", "text.onnx", to=1), "files.text.onnx: expected a text, found 1"),
        (_set("features", "std", to=0), "std must be above 0"),
        (_set("text", "max_tokens", to=0), "max_tokens must be 1 or more"),
        (_set("text", "prompt", to="a sound"), "prompt must hold {} once"),
        (_set("dim", to=0), "dim must be 1 or more"),
        (_set("dim", to="8"), "dim: expected a whole number, found '8'"),
        (_drop("files", "text.onnx"), "files lacks text.onnx"),
        (_set("files", to=None), "files: expected an object, found None"),
        (
            _set("files", "../audio.onnx", to="0" * 64),
            "files may only name files of the bundle's folder",
        ),
    ],
)
def test_a_bundle_with_a_fault(
    tiny: EncoderBundle, change: Callable[[Facts], Any], message: str
) -> None:
    _edit(tiny, change)
    with pytest.raises(BundleError, match=re.escape(message)) as caught:
        EncoderBundle.read(tiny.folder)
    assert str(tiny.folder / "bundle.json") in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("relevance", to=[]), "relevance: expected an object or null, found []"),
        (_set("relevance", "speech", to={}), "relevance.speech: unknown key"),
        (_set("relevance", "audios", to={"slope": 1, "offset": 0}), "did you mean audio?"),
        (_drop("relevance", "audio"), "relevance.audio: missing"),
        (_set("relevance", "text", to=1), "relevance.text: expected an object, found 1"),
        (_drop("relevance", "text", "offset"), "relevance.text.offset: missing"),
        (_set("relevance", "text", "slope", to=0), "slope must be above 0, not 0"),
        (_set("relevance", "text", "slope", to="1"), "text.slope: expected a number, found '1'"),
        (_drop("files", "background.npy"), "files lacks background.npy, which relevance needs"),
    ],
)
def test_a_calibration_with_a_fault(
    tiny: EncoderBundle, change: Callable[[Facts], Any], message: str
) -> None:
    _edit(calibrate(tiny), change)
    with pytest.raises(BundleError, match=re.escape(message)):
        EncoderBundle.read(tiny.folder)


# ---- the fingerprint


def test_calibration_leaves_the_fingerprint(tiny: EncoderBundle) -> None:
    calibrated = calibrate(tiny)
    assert calibrated.relevance == CURVES
    assert calibrated.fingerprint == tiny.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        _set("dim", to=16),
        _set("audio", "sample_rate", to=16000),
        _set("audio", "hop_s", to=0.25),
        _set("audio", "short", to="zeros"),
        _set("audio", "channels", to="first"),
        _set("audio", "clip", to="centre"),
        _set("features", "n_frames", to=97),
        _set("features", "mean", to=0.1),
        _set("features", "window", to="povey"),
        _set("text", "max_tokens", to=8),
        _set("files", "audio.onnx", to="0" * 64),
        _set("files", "text.onnx", to="0" * 64),
        _set("files", "tokenizer.json", to="0" * 64),
    ],
)
def test_what_decides_an_embedding_changes_the_fingerprint(
    tiny: EncoderBundle, change: Callable[[Facts], Any]
) -> None:
    _edit(tiny, change)
    assert EncoderBundle.read(tiny.folder).fingerprint != tiny.fingerprint


def test_the_fingerprint_of_the_shipped_encoder_stays() -> None:
    """Indexes store it: another one refuses them."""
    starter = EncoderBundle.read(registry.SHIPPED / "starter")
    assert starter.fingerprint == (
        "892249990d7b1aacbaed7b9e5a22521eed211bee1806cd4e1a9d62383772bae8"
    )


def test_every_setting_is_written_and_a_default_may_be_left_out(tiny: EncoderBundle) -> None:
    def written() -> Facts:
        facts: Facts = json.loads((tiny.folder / "bundle.json").read_text())
        return facts

    assert set(written()["audio"]) == {f.name for f in dataclasses.fields(AudioConfig)}
    assert written()["relevance"] is None
    _edit(tiny, lambda facts: (facts["audio"].pop("clip"), facts.pop("relevance")))
    read = EncoderBundle.read(tiny.folder)
    assert read == tiny and read.fingerprint == tiny.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        _set("name", to="other"),
        _set("version", to="2"),
        _set("description", to="other"),
        _set("licence", to="MIT"),
        _set("provenance", to="other"),
        _set("results", to={"R@1": 1.0}),
        _set("files", "model_card.md", to="0" * 64),
        lambda facts: facts.update(dict(reversed(facts.items()))),
    ],
)
def test_what_only_describes_leaves_the_fingerprint(
    tiny: EncoderBundle, change: Callable[[Facts], Any]
) -> None:
    _edit(tiny, change)
    assert EncoderBundle.read(tiny.folder).fingerprint == tiny.fingerprint


# ---- the files


def test_a_sound_file_is_found(tiny: EncoderBundle) -> None:
    assert tiny.file("audio.onnx") == tiny.folder / "audio.onnx"


@pytest.mark.parametrize("name", ["audio.onnx", "text.onnx", "tokenizer.json"])
def test_one_changed_byte_is_damage(tiny: EncoderBundle, name: str) -> None:
    path = tiny.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"{name}: damaged"):
        tiny.file(name)


def test_a_lost_file_is_named(tiny: EncoderBundle) -> None:
    (tiny.folder / "text.onnx").unlink()
    with pytest.raises(BundleError, match=r"text\.onnx: the encoder tiny lacks this file"):
        tiny.file("text.onnx")


# ---- names


def test_a_persons_own_bundle_goes_before_a_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "shipped")
    shipped = write_tiny_bundle(tmp_path / "shipped" / "tiny")
    assert registry.find_bundle("tiny").folder == shipped.folder

    own = write_tiny_bundle(tmp_path / "models" / "tiny", shift=1)

    assert registry.find_bundle("tiny").folder == own.folder
    assert list(registry.bundle_folders()) == [own.folder, shipped.folder]


def test_a_path_is_a_folder_and_not_a_name(tmp_path: Path, tiny: EncoderBundle) -> None:
    beside = write_tiny_bundle(tmp_path / "tiny", shift=1)  # the working folder is tmp_path
    assert registry.find_bundle("tiny") == tiny
    assert registry.find_bundle("./tiny") == beside
    assert registry.find_bundle(str(beside.folder)) == beside


def test_an_unknown_name_lists_the_known_ones(
    tmp_path: Path, tiny: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "shipped")
    (tmp_path / "models" / "empty").mkdir()
    with pytest.raises(BundleError, match=r"no encoder named 'tony'; there is: tiny \("):
        registry.find_bundle("tony")
    with pytest.raises(BundleError, match=r"^\.: no encoder bundle here"):
        registry.find_bundle(".")


def test_without_any_bundle_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(BundleError, match="there is: none"):
        registry.find_bundle("tiny")
