"""The whole recipe on made sounds, and the bundle that ships."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from recipes.starter.constants import StarterConfig
from recipes.starter.measure import MEASURED, _benchmark, measure
from recipes.starter.recipe import NETWORK, make_starter
from recipes.starter.run_folder import Run, fingerprint_of
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.registry import SHIPPED
from soundsearch.encoder.towers import Encoder
from tests.recipes.conftest import taken_for_published

#: What the shipped encoder must reach on the validation split.
FLOOR = {
    ("captions", "text-to-audio R@1"): 0.28,
    ("captions", "text-to-audio R@10"): 0.64,
    ("labels of ESC-10", "zero-shot accuracy"): 0.95,
    ("words for a recording", "head word in the first 5 captions"): 0.6,
    ("two sounds at once", "above both sounds alone"): 0.43,
}


Make = Callable[..., EncoderBundle]


@pytest.fixture(scope="module")
def make(made_data: Path, tiny_teacher: Path) -> Make:
    """Runs the recipe: `make(run folder, out, config, repeats=())`."""

    def run(
        folder: Path, out: Path, config: StarterConfig, repeats: Sequence[EncoderBundle] = ()
    ) -> EncoderBundle:
        with taken_for_published(made_data / NETWORK):
            return make_starter(made_data, folder, out, config, tiny_teacher, repeats=repeats)

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make: Make, tiny_config: StarterConfig) -> Path:
    """The folder of a run of the recipe, with the bundle in `out`."""
    folder = tmp_path_factory.mktemp("made")
    make(folder / "run", folder / "out", tiny_config)
    return folder


def test_the_recipe_leaves_a_bundle_that_searches(made: Path, made_data: Path) -> None:
    bundle = EncoderBundle.read(made / "out")
    assert sorted(path.name for path in (made / "out").iterdir()) == sorted(
        [*bundle.files, "bundle.json"]
    )
    for name in bundle.files:
        bundle.file(name)
    encoder = Encoder(bundle)
    _, audio = encoder.embed_file(made_data / "sounds" / "hiss valid.wav")
    text = encoder.embed_text(["hiss"])
    assert audio.shape == (5, 16) and text.shape == (1, 16)
    np.testing.assert_allclose(np.linalg.norm(audio, axis=1), 1.0, atol=1e-5)


def test_results_stand_in_the_bundle_with_their_command(made: Path, made_data: Path) -> None:
    bundle = EncoderBundle.read(made / "out")
    encoder = Encoder(bundle)
    with EmbeddingCache(None, encoder) as cache:
        again = measure(encoder, made_data, cache)
    assert {title: bundle.results[title] for title in again} == again
    captions = again["captions"]
    assert captions["command"].startswith(
        "soundsearch bench manifest DATA/sounds.csv --split valid"
    )
    assert captions["recordings"] == 4
    assert 0 <= captions["text-to-audio R@1"] <= captions["text-to-audio R@10"] == 1


def test_the_card_names_sources_licences_and_numbers(made: Path) -> None:
    card = (made / "out" / "model_card.md").read_text(encoding="utf-8")
    recall = EncoderBundle.read(made / "out").results["captions"]["text-to-audio R@1"]
    for part in (
        "| made | CC0 | 4 |",
        "| more | CC0 | 1 |",
        "| esc | not stated | 2 |",
        "learnt the labels of",
        f"| {recall} |",
        "AudioCaps",
        "CC-BY-SA 4.0",
        "## Limits",
    ):
        assert part in card
    settings = EncoderBundle.read(made / "out").file("training.json")
    assert json.loads(settings.read_text(encoding="utf-8"))["distil"]["loop"]["steps"] > 0


def test_the_card_shows_another_run_beside_this_one(
    made: Path, make: Make, tiny_config: StarterConfig
) -> None:
    other = EncoderBundle.read(made / "out")
    other = dataclasses.replace(other, results={"captions": {"text-to-audio R@1": 0.123}})
    bundle = make(made / "run", made / "beside", tiny_config, [other])
    recall = bundle.results["captions"]["text-to-audio R@1"]
    card = (made / "beside" / "model_card.md").read_text(encoding="utf-8")
    assert f"| text-to-audio R@1 | {recall} | 0.123 |" in card and "is noise" in card
    assert "is noise" not in (made / "out" / "model_card.md").read_text(encoding="utf-8")


def test_a_second_run_skips_what_is_done_and_a_changed_constant_what_is_not(
    made: Path, make: Make, tiny_config: StarterConfig
) -> None:
    run = made / "run"

    def stamps() -> dict[str, int]:
        return {path.parent.name: path.stat().st_mtime_ns for path in run.glob("*/done.json")}

    before = stamps()
    assert set(before) >= {"decode", "teach", "distil", "material", "learn-0"}
    make(run, made / "again", tiny_config)
    assert stamps() == before
    assert (
        EncoderBundle.read(made / "again").fingerprint
        == EncoderBundle.read(made / "out").fingerprint
    )
    distil = tiny_config.distil
    longer = dataclasses.replace(
        tiny_config,
        distil=dataclasses.replace(distil, loop=dataclasses.replace(distil.loop, steps=5)),
    )
    make(run, made / "longer", longer)
    changed = {name for name, stamp in stamps().items() if stamp != before.get(name)}
    assert {"distil", "learn-0"} <= changed and not changed & {"decode", "teach", "material"}
    # What the first constants gave was set aside, and comes back with them.
    make(run, made / "again", tiny_config)
    assert {name: stamp for name, stamp in stamps().items() if name in before} == before


def test_another_seed_learns_beside_the_first_from_the_same_material(
    made: Path, make: Make, tiny_config: StarterConfig
) -> None:
    other = make(made / "run", made / "other", dataclasses.replace(tiny_config, seed=1))
    first = EncoderBundle.read(made / "out")
    assert other.files["audio.onnx"] != first.files["audio.onnx"]
    assert other.files["text.onnx"] == first.files["text.onnx"]
    assert {path.name for path in (made / "run").glob("learn-*") if path.is_dir()} >= {
        "learn-0",
        "learn-1",
    }


def test_an_unfinished_stage_keeps_what_it_wrote(tmp_path: Path) -> None:
    run, seen = Run(tmp_path), []

    def work(folder: Path) -> None:
        seen.append((folder / "half").exists())
        (folder / "half").touch()
        if len(seen) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.stage("stage", "facts", work)
    run.stage("stage", "other facts", work)
    folder, _ = run.stage("stage", "facts", work)
    assert seen == [False, False, True] and folder == tmp_path / "stage"
    run.stage("stage", "facts", work)
    assert len(seen) == 3
    assert len([path for path in tmp_path.iterdir() if (path / "done.json").exists()]) == 2


def test_every_constant_enters_the_fingerprint(tiny_config: StarterConfig) -> None:
    changed = dataclasses.replace(tiny_config, longest_s=7.0)
    prints = {
        fingerprint_of(config)
        for config in (tiny_config, changed, dataclasses.replace(tiny_config, seed=1))
    }
    assert len(prints) == 3
    assert fingerprint_of(tiny_config) == fingerprint_of(dataclasses.replace(tiny_config))


def test_the_shipped_bundle_is_whole_and_small() -> None:
    bundle = EncoderBundle.read(SHIPPED / "starter")
    for name in bundle.files:
        bundle.file(name)
    assert {path.name for path in bundle.folder.iterdir()} == {*bundle.files, "bundle.json"}
    assert sum(path.stat().st_size for path in bundle.folder.iterdir()) <= 30e6
    facts = json.loads((bundle.folder / "bundle.json").read_text(encoding="utf-8"))
    assert facts["licence"] == "Apache-2.0"


@pytest.mark.data
def test_the_shipped_bundle_tells_the_labels_of_esc10(data_folder: Path) -> None:
    bundle = EncoderBundle.read(SHIPPED / "starter")
    encoder = Encoder(bundle)
    title, manifest, ask, more = MEASURED[1]
    with EmbeddingCache(None, encoder) as cache:
        found = _benchmark(encoder, data_folder / manifest, ask, more, cache)
    value = found["zero-shot accuracy"]
    assert value >= FLOOR[title, "zero-shot accuracy"]
    assert value == pytest.approx(bundle.results[title]["zero-shot accuracy"], abs=0.01)


@pytest.mark.slow
@pytest.mark.data
def test_the_shipped_bundle_reaches_its_floor_and_says_what_it_reaches(data_folder: Path) -> None:
    bundle = EncoderBundle.read(SHIPPED / "starter")
    encoder = Encoder(bundle)
    with EmbeddingCache(None, encoder) as cache:
        found = measure(encoder, data_folder, cache)
    for (title, name), least in FLOOR.items():
        value = found[title][name]
        assert value >= least, f"{name}: {value:.3f} is under {least}"
        assert value == pytest.approx(bundle.results[title][name], abs=0.01)
