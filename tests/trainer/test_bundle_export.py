"""Runs to bundles: what search then hears is what training made, and the card says how."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from soundsearch.cli.train.export import export
from soundsearch.encoder.bundle import (
    BACKGROUND,
    Curve,
    EncoderBundle,
    RelevanceConfig,
    TextConfig,
)
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import SoundsearchError
from soundsearch.files import sha256_of
from tests.sounds import noise, tone, write
from tests.trainer.authors import as_the_authors
from tests.trainer.tiny_clip import DIM, write_tiny_clip
from trainer.bundle_export import (
    ExportError,
    _sections,
    example_features,
    export_run,
    new_bundle,
    refuse_collapsed_texts,
)
from trainer.calibration_set import CalibrationSet
from trainer.epochs import WEIGHTS
from trainer.front_ends import STARTER, VIP_ANT, extract_features
from trainer.runs import LOG, StageConfig, build_tower, read_run, write_config
from trainer.towers.clip_model import load_clip
from trainer.towers.compact import AudioTowerConfig
from trainer.towers.unit import embed_unit
from trainer.towers.vit import VitConfig, vit_from_authors

TEXTS = ["a dog barks", "thunder", "two people talk at length while a train passes"]
COMPACT = AudioTowerConfig(widths=(4, 8), depths=(1, 1), pooled=8)
VIT = VitConfig(width=64, n_layers=2, n_heads=2)


def write_run(folder: Path, config: StageConfig) -> Path:
    """A finished run as `soundsearch train pivot` leaves it, of random weights."""
    clip = load_clip(write_tiny_clip(folder.parent / "clip"))
    data = {
        "shards": "0123456789abcdef",
        "n_clips": 1234,
        "kind": "images",
        "encoder": clip.encoder,
        "model": clip.choice.model,
        "pretrained": clip.choice.pretrained,
        "fingerprint": clip.fingerprint,
        "dim": clip.dim,
    }
    write_config(folder, config, data)
    torch.manual_seed(0)
    tower = build_tower(config, DIM)
    weights = {f"tower.{name}": value.contiguous() for name, value in tower.state_dict().items()}
    save_file(weights | {"log_scale": torch.tensor(2.66)}, folder / WEIGHTS)
    records = [{"step": 10 * i, "loss": 9.0 - i, "rate": 0.1, "seconds": 1.0} for i in (1, 2, 3)]
    records[1] |= {"valid_r1": 0.25}
    (folder / LOG).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = StageConfig(stage="pivot", vit=VIT, init="random")
    return write_run(tmp_path_factory.mktemp("runs") / "pivot", config)


@pytest.fixture(scope="module")
def bundle(run: Path) -> EncoderBundle:
    return export_run(run, run.parent / "bundle", name="mine", licence="CC0")


@pytest.fixture(scope="module")
def command() -> typer.Typer:
    """`train export` by itself."""
    app = typer.Typer()
    app.command()(export)
    return app


@pytest.fixture(scope="module")
def exported(run: Path, command: typer.Typer) -> Result:
    """With --int8 and without calibration, through the command line."""
    options = [str(run), str(run.parent / "small"), "--int8", "--calibrate", "none"]
    return CliRunner().invoke(command, options)


@pytest.fixture(scope="module")
def small(run: Path, exported: Result) -> EncoderBundle:
    assert exported.exit_code == 0, exported.output
    return EncoderBundle.read(run.parent / "small")


def wavs(folder: Path) -> list[Path]:
    sounds = [noise(2.0, 16000), tone(500, 11.0, 16000), tone(90, 0.5, 16000) + noise(0.5, 16000)]
    return [write(folder / f"{i}.wav", sound, 16000, "FLOAT") for i, sound in enumerate(sounds)]


def test_the_bundle_embeds_as_the_trained_tower_and_its_clip_do(
    run: Path, bundle: EncoderBundle, tmp_path: Path
) -> None:
    encoder, trained = Encoder(bundle, "cpu", 1), read_run(run)
    clip = load_clip(trained.clip_model)
    for path in wavs(tmp_path):
        import soundfile

        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        features = extract_features(samples.T, rate, trained.config.front_end, None)
        with torch.no_grad():
            wanted = embed_unit(trained.tower(torch.from_numpy(features)[None]))[0].numpy()
        np.testing.assert_allclose(encoder.embed_clip(path), wanted, atol=3e-3)
    texts = clip.embed_texts(TEXTS)
    found = encoder.embed_text(TEXTS, normalise=False)
    np.testing.assert_allclose(found, texts, atol=5e-3 * np.linalg.norm(texts, axis=1).max())
    assert bundle.features == VIP_ANT.features and bundle.audio == VIP_ANT.audio
    assert bundle.text == TextConfig(max_tokens=77, prompt="the sound of {}")


@pytest.mark.parametrize("seconds", [4, 18])
def test_a_run_is_exported_for_clips_of_another_length(
    run: Path, tmp_path: Path, command: typer.Typer, seconds: int
) -> None:
    """Positions are a slice from row 6 on for shorter clips, and interpolated for longer ones."""
    made = CliRunner().invoke(command, [str(run), str(tmp_path / "b"), "--clip-s", str(seconds)])
    assert made.exit_code == 0, made.output
    bundle = EncoderBundle.read(tmp_path / "b")
    assert (bundle.features.n_frames, bundle.audio.window_s) == (100 * seconds, seconds + 0.05)
    assert f"--clip-s {seconds}" in bundle.results["export"]["command"]
    trained = read_run(run)
    config = dataclasses.replace(VIT, n_frames=100 * seconds, dim=DIM)
    tower = vit_from_authors(trained.tower.state_dict(), config)
    sound = tone(500, 20.0, 16000)
    path = write(tmp_path / "clip.wav", sound, 16000, "FLOAT")
    features = torch.from_numpy(as_the_authors(sound[None], 16000, 100 * seconds))
    with torch.no_grad():
        wanted = embed_unit(tower(features[None]))[0].numpy()
    np.testing.assert_allclose(Encoder(bundle, "cpu", 1).embed_clip(path), wanted, atol=3e-3)


def test_a_length_that_cannot_be_is_one_line(run: Path, tmp_path: Path) -> None:
    for seconds, message in ((9.5, "no clips of 9.5 s .*row 6"), (0.2, "no clips of 0.2 s .*32")):
        with pytest.raises(ExportError, match=message):
            export_run(run, tmp_path / "out", clip_s=seconds)
    small = StageConfig(
        stage="pivot", tower="compact", compact=COMPACT, front_end=STARTER, init="random"
    )
    compact = write_run(tmp_path / "runs" / "compact", small)
    with pytest.raises(ExportError, match="tower compact with front end starter has one length"):
        export_run(compact, tmp_path / "out", clip_s=4.0)


def test_the_card_is_made_of_what_was_used_and_measured(bundle: EncoderBundle) -> None:
    assert (bundle.name, bundle.licence, bundle.dim) == ("mine", "CC0", DIM)
    assert bundle.results["training"]["valid_r1"] == 0.25
    assert bundle.results["export"]["audio_difference"] < 5e-3
    assert bundle.results["export"]["command"] == "soundsearch train export RUN BUNDLE"
    card = bundle.file("model_card.md").read_text(encoding="utf-8")
    for part in (
        "# mine 1",
        "Licence of these weights: CC0",
        "1234 clips",
        "| step | loss | valid r1 |",
        "| 20 | 7.0 | 0.25 |",
        "[training.json](training.json)",
        "tiny-clip-0",
        "audio difference",
    ):
        assert part in card
    assert '"n_layers": 2' in bundle.file("training.json").read_text(encoding="utf-8")


def test_int8_is_smaller_and_its_cosine_is_measured(
    bundle: EncoderBundle, small: EncoderBundle, tmp_path: Path
) -> None:
    measured = small.results["export"]
    assert 0.9 < measured["int8_cosine_worst"] <= measured["int8_cosine_mean"] < 1
    assert "--int8" in measured["command"]
    exact, coarse = Encoder(bundle, "cpu", 1), Encoder(small, "cpu", 1)
    sizes = [b.file("audio.onnx").stat().st_size for b in (small, bundle)]
    assert sizes[0] < 0.9 * sizes[1]
    for path in wavs(tmp_path):
        cosine = float(exact.embed_clip(path) @ coarse.embed_clip(path))
        assert measured["int8_cosine_worst"] - 0.05 < cosine < 1
    features = example_features(small.audio, small.features)
    alone = np.concatenate([coarse.embed_features(row[None]) for row in features])
    np.testing.assert_allclose(coarse.embed_features(features), alone, atol=1e-6)
    np.testing.assert_array_equal(exact.embed_text(TEXTS), coarse.embed_text(TEXTS))


def test_a_compact_tower_of_the_starter_front_end_is_exported_too(tmp_path: Path) -> None:
    config = StageConfig(
        stage="pivot", tower="compact", compact=COMPACT, init="random", front_end=STARTER
    )
    folder = write_run(tmp_path / "runs" / "compact", config)
    made = export_run(folder, tmp_path / "out")
    assert made.name == "out" and made.features == STARTER.features
    features = example_features(made.audio, made.features)
    with torch.no_grad():
        wanted = embed_unit(read_run(folder).tower(torch.from_numpy(features))).numpy()
    np.testing.assert_allclose(Encoder(made, "cpu", 1).embed_features(features), wanted, atol=5e-3)


def test_the_card_says_that_a_tower_began_from_audiosets_labels(run: Path, tmp_path: Path) -> None:
    plain = _sections(read_run(run))["What it learnt from"]
    assert "AudioSet" not in plain
    config = json.loads((run / "config.json").read_text())
    config["data"]["began_from"] = "EfficientAT mn04_as (MIT licence)"
    begun = tmp_path / "begun"
    shutil.copytree(run, begun)
    (begun / "config.json").write_text(json.dumps(config))
    card = _sections(read_run(begun))["What it learnt from"]
    assert "EfficientAT mn04_as (MIT licence)" in card and "labels of AudioSet" in card


def test_another_clip_than_the_one_of_training_is_refused(run: Path, tmp_path: Path) -> None:
    other = write_tiny_clip(tmp_path, seed=1)
    config = json.loads((run / "config.json").read_text())
    config["data"]["pretrained"] = other.pretrained
    changed = tmp_path / "run"
    changed.mkdir()
    (changed / "config.json").write_text(json.dumps(config))
    (changed / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes())
    with pytest.raises(
        ExportError, match=r"trained against a CLIP of fingerprint \w{12}, .* here has"
    ):
        export_run(changed, tmp_path / "out")


def test_examples_are_windows_of_different_sounds() -> None:
    found = example_features(STARTER.audio, STARTER.features)
    assert found.shape == (9, 64, 298)
    assert np.isfinite(found).all()
    flat = found.reshape(len(found), -1)
    assert np.corrcoef(flat)[~np.eye(len(found), dtype=bool)].max() < 0.99


def test_a_tower_that_hears_no_words_is_named() -> None:
    rows = np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)
    refuse_collapsed_texts(rows)
    refuse_collapsed_texts(np.stack([rows[0], rows[0] * 3, rows[1]]))  # two alike are no proof
    with pytest.raises(
        ExportError, match=r"text tower is collapsed: 5 texts .* (1\.0|0\.999)\d* or more"
    ):
        refuse_collapsed_texts(rows[:1] + 0.001 * rows)


class TestNewBundle:
    """What takes the place of what, and when."""

    def test_a_failure_leaves_everything_as_it_was(self, tiny: EncoderBundle) -> None:
        before = sorted(tiny.folder.parent.rglob("*"))

        def fails() -> None:
            with new_bundle(tiny.folder, force=True) as made:
                (made / "half").write_text("...")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fails()
        assert sorted(tiny.folder.parent.rglob("*")) == before
        assert EncoderBundle.read(tiny.folder) == tiny

    def test_the_new_takes_the_place_of_the_old(self, tiny: EncoderBundle) -> None:
        with new_bundle(tiny.folder, force=True) as made:
            (made / "bundle.json").write_text("new")
        assert [path.name for path in tiny.folder.iterdir()] == ["bundle.json"]
        assert list(tiny.folder.parent.iterdir()) == [tiny.folder]

    def test_nothing_unfinished_can_be_named(self, tmp_path: Path) -> None:
        from soundsearch.encoder.registry import bundle_folders

        with new_bundle(tmp_path / "models" / "mine") as made:
            (made / "bundle.json").write_text("half")
            assert [f for f in bundle_folders() if tmp_path in f.parents] == []
        assert (tmp_path / "models" / "mine" / "bundle.json").read_text() == "half"

    def test_a_place_that_cannot_be_written_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with (
            pytest.raises(ExportError, match=r"mine: cannot be written \("),
            new_bundle(tmp_path / "file" / "mine"),
        ):
            pass

    def test_a_broken_link_counts_as_something(self, tmp_path: Path) -> None:
        (tmp_path / "mine").symlink_to(tmp_path / "nowhere")
        with (
            pytest.raises(ExportError, match="not an encoder; choose another place"),
            new_bundle(tmp_path / "mine", force=True),
        ):
            pass


def test_the_command_writes_the_bundle_and_tells_the_figures(
    run: Path, exported: Result, command: typer.Typer
) -> None:
    assert exported.stdout.strip() == str(run.parent / "small")
    assert "int8 cosine mean: 0.9" in exported.stderr
    assert "audio difference: 0.0" in exported.stderr
    again = CliRunner().invoke(command, [str(run), str(run.parent / "small")])
    assert isinstance(again.exception, SoundsearchError)
    assert "--force" in str(again.exception)


def test_calibration_goes_into_the_bundle_and_its_card(
    run: Path, command: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random towers tell nothing, so curves are given in place of fitted ones."""
    write(tmp_path / "a.wav", tone(300, 1.0, 16000), 16000)
    manifest = tmp_path / "mine.csv"
    manifest.write_text("file,caption\na.wav,a hum\n")
    curve = Curve(slope=1.0, offset=-3.0)
    asked: list[CalibrationSet] = []

    def calibrate_on(
        bundle: EncoderBundle, chosen: CalibrationSet, progress: object
    ) -> tuple[EncoderBundle, dict[str, object]]:
        asked.append(chosen)
        (bundle.folder / BACKGROUND).write_bytes(b"windows")
        files = {**bundle.files, BACKGROUND: sha256_of(bundle.folder / BACKGROUND)}
        relevance = RelevanceConfig(text=curve, audio=curve)
        facts = {"about": f"on {chosen.name}", "recordings": 1}
        return dataclasses.replace(bundle, relevance=relevance, files=files), facts

    monkeypatch.setattr("trainer.bundle_export.calibrate_on", calibrate_on)
    out = tmp_path / "calibrated"
    done = CliRunner().invoke(command, [str(run), str(out), "--calibrate", str(manifest)])
    assert done.exit_code == 0, done.output
    made = EncoderBundle.read(out)
    assert made.relevance == RelevanceConfig(text=curve, audio=curve) and BACKGROUND in made.files
    assert made.results["scores from 0 to 1"]["about"] == "on mine.csv"
    assert "scores from 0 to 1 (on mine.csv)" in made.file("model_card.md").read_text()
    CliRunner().invoke(command, [str(run), str(out), "--force"])
    assert [chosen.name for chosen in asked] == ["mine.csv", "the demo's recordings"]


def test_towers_that_tell_nothing_stay_without_calibration(
    run: Path, command: typer.Typer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ["file,caption"]
    for i in range(3):
        write(tmp_path / f"{i}.wav", noise(1.0, 16000, seed=i), 16000)
        rows.append(f"{i}.wav,a hum")
    (tmp_path / "same.csv").write_text("\n".join(rows) + "\n")  # every hit is right
    out = tmp_path / "plain"
    options = [str(run), str(out), "--calibrate", str(tmp_path / "same.csv")]
    done = CliRunner().invoke(command, options)
    assert done.exit_code == 0, done.output
    assert "plain: stays without calibration" in caplog.text
    made = EncoderBundle.read(out)
    assert made.relevance is None and BACKGROUND not in made.files
    assert "scores from 0 to 1" not in made.results


def test_a_manifest_that_cannot_calibrate_is_refused_before_anything_is_written(
    run: Path, command: typer.Typer, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text("file,label\na.wav,hum\n")
    out = tmp_path / "never"
    done = CliRunner().invoke(
        command, [str(run), str(out), "--calibrate", str(tmp_path / "bad.csv")]
    )
    assert isinstance(done.exception, SoundsearchError)
    assert "bad.csv" in str(done.exception) and "caption" in str(done.exception)
    assert not out.exists()
