from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from soundsearch.bench.class_texts import prompted
from soundsearch.bench.datasets import (
    ClassificationSet,
    DataSet,
    DataSetError,
    read_clotho,
    read_esc50,
    read_manifest,
    read_urbansound8k,
)
from soundsearch.bench.protocols import PROTOCOLS
from soundsearch.bench.results import BenchmarkResult
from soundsearch.bench.run import Settings, run_benchmark
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import BenchmarkError
from soundsearch.files import sha256_of
from tests import made_benchmarks as made
from tests.made_benchmarks import small_is_whole  # noqa: F401
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ, WORDS, write_tiny_bundle

pytestmark = pytest.mark.usefixtures("small_is_whole")


@pytest.fixture
def encoder(tiny: EncoderBundle) -> Encoder:
    return Encoder(tiny, "cpu")


def measured(
    encoder: Encoder,
    data: DataSet,
    protocol: str = "literature",
    *,
    cache: Path | None = None,
    **options: Any,
) -> BenchmarkResult:
    settings = Settings(protocol=PROTOCOLS[protocol], **{"bootstrap": 50, **options})
    with EmbeddingCache(cache, encoder) as kept:
        return run_benchmark(encoder, data, settings, kept)


def number(result: BenchmarkResult, direction: str, name: str) -> float:
    found = result.direction(direction)
    assert found is not None
    return found.numbers[name].value


def swapped_captions() -> list[list[str]]:
    """Captions of which those of hum and hiss are swapped."""
    said = made.captions()
    said[1], said[7] = said[7], said[1]
    return said


# ---- retrieval


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_right_captions_are_all_found(encoder: Encoder, tmp_path: Path, protocol: str) -> None:
    result = measured(encoder, read_clotho(made.clotho(tmp_path)), protocol)
    first = "hit_rate@1" if protocol == "mteb-v2" else "R@1"
    assert number(result, "text-to-audio", first) == 1
    assert number(result, "text-to-audio", "mAP@10") == 1
    assert (result.n_clips, result.n_texts) == (8, 40)
    assert [each.n_queries for each in result.directions] == [40, 8]
    run = result.run
    assert (run.benchmark, run.split, run.model, run.model_version) == (
        *("clotho", "evaluation"),
        *("tiny", "1"),
    )
    assert run.fingerprint == encoder.bundle.fingerprint
    assert (run.n_listed, run.n_skipped) == (8, 0)


def test_wrong_captions_are_not(encoder: Encoder, tmp_path: Path) -> None:
    data = read_clotho(made.clotho(tmp_path, said=swapped_captions()))
    result = measured(encoder, data)
    assert number(result, "text-to-audio", "R@1") == 6 / 8
    assert number(result, "audio-to-text", "R@1") == 6 / 8
    to_audio = result.direction("text-to-audio")
    assert to_audio is not None and to_audio.queries is not None
    lost = {
        query
        for query, rank in zip(
            to_audio.queries.queries, to_audio.queries.ranks.expected.best, strict=True
        )
        if rank > 1
    }
    assert lost == {f"Some {word}, far.wav#{i}" for word in ("hum", "hiss") for i in range(5)}


def test_the_prompt_stands_around_every_caption(encoder: Encoder, tmp_path: Path) -> None:
    data = read_clotho(made.clotho(tmp_path))
    plain = measured(encoder, data)
    result = measured(encoder, data, prompts=("hum hum hum {}",))
    assert (plain.run.prompt, result.run.prompt) == ("", "hum hum hum {}")
    assert number(plain, "text-to-audio", "R@1") == 1
    assert number(result, "text-to-audio", "R@1") == 1 / 8  # all texts now name the hum


def test_best_window_mean_and_one_embedding(encoder: Encoder, tmp_path: Path) -> None:
    """A long hum with a short hiss at its end: the best window hears both."""
    long_hum = np.concatenate([tone(392.0, 4.0), tone(3116.0, 1.0)])
    write(tmp_path / "both.wav", long_hum)
    made.clip(tmp_path / "squeak.wav", "squeak")
    weak_hiss = tone(3116.0, 2.0) + 2 * tone(1342.0, 2.0)
    write(tmp_path / "weak.wav", (weak_hiss / 3).astype(np.float32))
    rows = [
        ["file", "caption"],
        ["both.wav", "hiss"],
        ["squeak.wav", "squeak"],
        ["weak.wav", "beep"],
    ]
    data = read_manifest(made.table(tmp_path / "mine.csv", rows))
    results = {
        "best": measured(encoder, data),
        "mean": measured(encoder, data, clip_score="mean"),
        "one": measured(encoder, data, "vip-ant"),
    }
    found = {way: number(result, "text-to-audio", "R@1") for way, result in results.items()}
    assert found == {"best": 1.0, "mean": 2 / 3, "one": 2 / 3}
    windows = "windows of 1 s every 0.5 s"
    assert {way: result.run.windows for way, result in results.items()} == {
        "best": f"{windows}, best window",
        "mean": f"{windows}, mean embedding",
        "one": f"{windows}, mean embedding",
    }


def test_a_bundle_whose_clips_are_their_centres(tiny: EncoderBundle, tmp_path: Path) -> None:
    audio = dataclasses.replace(tiny.audio, clip="centre")
    encoder = Encoder(dataclasses.replace(tiny, audio=audio), "cpu")
    for name, words in {"a": ("hum", "hiss", "hum"), "b": ("hiss", "hum", "hiss")}.items():
        parts = [tone(BAND_HZ[WORDS.index(word)], 1.5) for word in words]
        write(tmp_path / f"{name}.wav", np.concatenate(parts))
    rows = [["file", "caption"], ["a.wav", "hiss"], ["b.wav", "hum"]]
    data = read_manifest(made.table(tmp_path / "mine.csv", rows))
    result = measured(encoder, data, "vip-ant")
    assert number(result, "text-to-audio", "R@1") == 1  # of the mean it would be 0
    assert result.run.windows == "one stretch of 1 s at the centre"
    assert number(measured(Encoder(tiny, "cpu"), data, "vip-ant"), "text-to-audio", "R@1") == 0
    assert measured(encoder, data).run.windows.endswith("best window")


def test_the_vip_ant_protocol(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []
    embed_text = Encoder.embed_text

    def told(self: Encoder, texts: list[str], *, normalise: bool = True) -> Any:
        asked.extend((text, normalise) for text in texts)
        return embed_text(self, texts, normalise=normalise)

    monkeypatch.setattr(Encoder, "embed_text", told)
    result = measured(encoder, read_clotho(made.clotho(tmp_path / "c")), "vip-ant")
    assert asked[0] == ("the sound of a rumble", True)
    assert result.run.prompt == "the sound of {}"
    asked.clear()
    result = measured(encoder, read_esc50(made.esc50(tmp_path / "e")), "vip-ant")
    assert asked == [(f"the sound of {word} noise", False) for word in WORDS]
    assert result.run.prompt == "the sound of {}" and result.protocol == "vip-ant"
    asked.clear()
    measured(encoder, read_esc50(made.esc50(tmp_path / "e")))
    assert asked == [(f"{word} noise", True) for word in WORDS]


def test_lengths_of_class_texts_count_under_vip_ant_alone(encoder: Encoder, tmp_path: Path) -> None:
    """A name that says its word many times is a longer vector."""
    made.esc50(tmp_path)
    mixed = 0.5 * tone(BAND_HZ[1]) + 0.05 * tone(BAND_HZ[7])
    write(tmp_path / "audio" / "1-100001-A-1.wav", mixed.astype(np.float32))
    path = tmp_path / "meta" / "esc50.csv"
    path.write_text(path.read_text().replace("hiss_noise", "_".join(["hiss"] * 14)))
    plain, vip = (
        measured(encoder, read_esc50(tmp_path), protocol, prompts=("{}",))
        for protocol in ("literature", "vip-ant")
    )
    assert number(plain, "zero-shot", "accuracy") == 1
    assert number(vip, "zero-shot", "accuracy") == 15 / 16


def test_identical_captions_can_be_merged(encoder: Encoder, tmp_path: Path) -> None:
    for i in (0, 1):
        made.clip(tmp_path / f"{i}.wav", "hum", 1 + 0.5 * i)
    made.clip(tmp_path / "2.wav", "hiss")
    rows = [["file", "caption"], ["0.wav", "a hum"], ["1.wav", "a hum"], ["2.wav", "a hiss"]]
    data = read_manifest(made.table(tmp_path / "mine.csv", rows))
    apart, merged = measured(encoder, data), measured(encoder, data, merge_identical=True)
    assert (apart.n_texts, merged.n_texts) == (3, 2)
    assert number(apart, "text-to-audio", "R@1") < 1  # one of the two hums is before the other
    assert number(apart, "audio-to-text", "mean rank") > 1  # two captions tie
    assert number(merged, "text-to-audio", "R@1") == number(merged, "audio-to-text", "R@1") == 1


# ---- classification


@pytest.mark.parametrize("read", [read_esc50, read_urbansound8k])
def test_classes_are_told_apart(encoder: Encoder, tmp_path: Path, read: Any) -> None:
    make = made.esc50 if read is read_esc50 else made.urbansound8k
    result = measured(encoder, read(make(tmp_path)))
    assert number(result, "zero-shot", "accuracy") == 1
    assert (result.n_clips, result.n_texts) == ((16, 8) if read is read_esc50 else (20, 8))
    assert len(result.folds) == (2 if read is read_esc50 else 10)


def test_wrong_labels_are_not(encoder: Encoder, tmp_path: Path) -> None:
    made.esc50(tmp_path)
    made.clip(tmp_path / "audio" / "1-100001-A-1.wav", "hiss", 1.0)
    result = measured(encoder, read_esc50(tmp_path))
    assert number(result, "zero-shot", "accuracy") == 15 / 16
    assert dict(result.folds) == {"1": 7 / 8, "2": 1.0}
    (hum,) = [each for each in result.classes if each["accuracy"] < 1]
    assert (hum["name"], hum["mistaken_for"]) == ("hum_noise", "hiss_noise")


def test_the_prompt_of_the_bundle_is_taken(tiny: EncoderBundle, tmp_path: Path) -> None:
    text = dataclasses.replace(tiny.text, prompt="this is {} again")
    encoder = Encoder(dataclasses.replace(tiny, text=text), "cpu")
    data = read_esc50(made.esc50(tmp_path))
    assert measured(encoder, data).run.prompt == "this is {} again"
    assert measured(encoder, data, "vip-ant").run.prompt == "the sound of {}"
    assert measured(encoder, data, prompts=("x {}",)).run.prompt == "x {}"
    clotho = read_clotho(made.clotho(tmp_path / "c"))
    assert measured(encoder, clotho).run.prompt == ""  # captions are sentences


def test_class_names_become_words() -> None:
    assert prompted(("sea_waves", "dog", " car__horn "), ["a {}!"]) == [
        ("a sea waves!",),
        ("a dog!",),
        ("a car horn!",),
    ]
    assert prompted(("{}", "%s"), ["the {}", "{}"]) == [("the {}", "{}"), ("the %s", "%s")]
    with pytest.raises(BenchmarkError, match="class '_' holds no word that a prompt could take"):
        prompted(("dog", "_"), ["{}"])
    with pytest.raises(BenchmarkError, match="'sea_waves' and 'sea waves' both read 'sea waves'"):
        prompted(("sea_waves", "sea waves"), ["{}"])


@pytest.mark.parametrize("prompt", ["", "the sound", "{} and {}", "{0}"])
def test_a_prompt_that_takes_no_label(prompt: str) -> None:
    with pytest.raises(BenchmarkError) as caught:
        Settings(protocol=PROTOCOLS["literature"], prompts=(prompt,))
    assert str(caught.value) == (
        f"a prompt holds {{}} once, where the text goes, as in 'the sound of {{}}'; not {prompt!r}"
    )


def test_a_way_to_score_that_the_protocol_has_not() -> None:
    with pytest.raises(BenchmarkError, match="protocol vip-ant has one embedding for each clip"):
        Settings(protocol=PROTOCOLS["vip-ant"], clip_score="best")


# ---- the same again


@pytest.mark.parametrize("protocol", ["literature", "vip-ant"])
@pytest.mark.parametrize("kind", ["captions", "labels"])
def test_the_same_numbers_every_time(
    tiny: EncoderBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    protocol: str,
) -> None:
    """Twice, cold and warm, with other batches and jobs, and by another encoder object."""
    rng = np.random.default_rng(0)
    rows: list[list[object]] = []
    for i in range(30):  # mixtures, so that scores lie close together
        parts = rng.uniform(0, 1, 8) ** 3
        sound = sum(p * tone(hz, 2.5) for p, hz in zip(parts, BAND_HZ, strict=True))
        write(tmp_path / f"{i}.wav", (0.2 * np.asarray(sound)).astype(np.float32))
        said = [" ".join(rng.choice(WORDS, 1 + int(rng.integers(8)))) for _ in range(3)]
        rows += [[f"{i}.wav", f"{j} {text}"] for j, text in enumerate(said)]
    if kind == "captions":
        table = [["file", "caption"], *rows]
    else:
        table = [["file", "label"], *([f"{i}.wav", WORDS[int(rng.integers(8))]] for i in range(30))]
    data = read_manifest(made.table(tmp_path / "mine.csv", table))
    cache = tmp_path / "cache.db"

    def again(**options: Any) -> dict[str, Any]:
        return measured(Encoder(tiny, "cpu"), data, protocol, **options).to_json()

    expected = again()
    numbers = expected["directions"][0]["numbers"]
    found = numbers["accuracy" if kind == "labels" else "R@1"]["value"]
    assert 0 < found < 1
    assert again() == expected
    assert again(cache=cache) == expected
    assert again(cache=cache) == expected
    assert again(jobs=5) == expected
    for size in (1, 3):
        monkeypatch.setattr("soundsearch.encoder.towers.BATCH_SIZE", size)
        other = again()
        for mine, theirs in zip(expected["directions"], other["directions"], strict=True):
            assert mine["numbers"] == theirs["numbers"]


# ---- what cannot be measured


def test_an_unusable_clip_is_named_and_refused(encoder: Encoder, tmp_path: Path) -> None:
    made.clotho(tmp_path)
    write(tmp_path / "evaluation" / "Some hum, far.wav", np.zeros(8000, np.float32))
    data = read_clotho(tmp_path)
    with pytest.raises(DataSetError) as caught:
        measured(encoder, data)
    assert str(caught.value) == (
        "clotho evaluation: 1 of 8 clips cannot be measured (the first is Some hum, far.wav: it is "
        "silent from beginning to end); get them, or measure what is there with --allow-missing"
    )


@pytest.mark.parametrize("way", ["literature", "vip-ant"])
def test_unusable_and_missing_clips_are_counted(
    encoder: Encoder, tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    made.clotho(tmp_path, said=swapped_captions())
    folder = tmp_path / "evaluation"
    (folder / "Some rumble, far.wav").unlink()
    (folder / "Some hum, far.wav").write_text("no sound")
    write(folder / "Some drone, far.wav", np.zeros(8000, np.float32))
    with caplog.at_level(logging.WARNING):
        result = measured(encoder, read_clotho(tmp_path), way, allow_missing=True)
    assert (result.run.n_listed, result.run.n_skipped) == (8, 3)
    assert (result.n_clips, result.n_texts) == (5, 25)
    assert number(result, "text-to-audio", "R@1") == 4 / 5  # hiss has the captions of hum
    assert caplog.messages == [
        f"skipped Some rumble, far.wav: not in {folder}",
        "skipped Some hum, far.wav: neither libsndfile nor FFmpeg knows this format",
        "skipped Some drone, far.wav: it is silent from beginning to end",
        "clotho evaluation: measured over 5 of 8 clips",
    ]


def test_labels_stay_with_their_clips_when_some_are_skipped(
    encoder: Encoder, tmp_path: Path
) -> None:
    made.urbansound8k(tmp_path)
    write(tmp_path / "audio" / "fold3" / "1000-2-0-0.wav", np.zeros(8000, np.float32))
    (tmp_path / "audio" / "fold1" / "1000-0-0-0.wav").unlink()
    result = measured(encoder, read_urbansound8k(tmp_path), allow_missing=True)
    assert (result.n_clips, result.run.n_skipped) == (18, 2)
    assert number(result, "zero-shot", "accuracy") == 1


def test_nothing_that_could_be_measured(encoder: Encoder, tmp_path: Path) -> None:
    made.clotho(tmp_path, words=WORDS[:2])
    for path in (tmp_path / "evaluation").iterdir():
        path.write_text("no sound")
    with pytest.raises(DataSetError, match="2 of 2 clips cannot be measured"):
        measured(encoder, read_clotho(tmp_path), allow_missing=True)


def test_a_label_that_cannot_be_asked_for_is_told_before_embedding(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.esc50(tmp_path)
    path = tmp_path / "meta" / "esc50.csv"
    path.write_text(path.read_text().replace("hum_noise", "__"))
    monkeypatch.setattr(Encoder, "embed_file", None)
    with pytest.raises(BenchmarkError, match="class '__' holds no word"):
        measured(encoder, read_esc50(tmp_path))


def bundle_saying_always_the_same(folder: Path) -> EncoderBundle:
    """A bundle whose text tower has lost its weights: all words are one vector."""
    bundle = write_tiny_bundle(folder, name="lost")
    model = onnx.load(str(folder / "text.onnx"))
    (table,) = [each for each in model.graph.initializer if each.name == "table"]
    same = np.tile(np.linspace(0.1, 0.8, 8, dtype=np.float32), (10, 1))
    table.CopyFrom(numpy_helper.from_array(same, "table"))
    onnx.save(model, str(folder / "text.onnx"))
    files = {**bundle.files, "text.onnx": sha256_of(folder / "text.onnx")}
    dataclasses.replace(bundle, files=files).write()
    return EncoderBundle.read(folder)


@pytest.mark.parametrize("protocol", ["literature", "vip-ant"])
@pytest.mark.parametrize("kind", ["captions", "labels"])
def test_an_encoder_with_a_dead_text_tower(tmp_path: Path, kind: str, protocol: str) -> None:
    encoder = Encoder(bundle_saying_always_the_same(tmp_path / "lost"), "cpu")
    data: DataSet
    data = (
        read_clotho(made.clotho(tmp_path))
        if kind == "captions"
        else read_esc50(made.esc50(tmp_path))
    )
    n_texts = len(data.classes) if isinstance(data, ClassificationSet) else 40
    with pytest.raises(BenchmarkError) as caught:
        measured(encoder, data, protocol)
    assert str(caught.value).startswith(
        f"encoder lost: its text tower gives the same embedding for all {n_texts} texts;"
    )


def test_an_encoder_with_a_dead_audio_tower(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = np.full((1, 8), 8**-0.5, np.float32)
    monkeypatch.setattr(Encoder, "embed_file", lambda *_, **options: ([(0.0, 1.0)], one))
    with pytest.raises(BenchmarkError, match="encoder tiny: its audio tower gives the same"):
        measured(encoder, read_clotho(made.clotho(tmp_path)))


def test_one_text_for_all_is_no_dead_tower(encoder: Encoder, tmp_path: Path) -> None:
    made.clip(tmp_path / "a.wav", "hum")
    made.clip(tmp_path / "b.wav", "hiss")
    rows = [["file", "caption"], ["a.wav", "a hum"], ["b.wav", "a hum"]]
    result = measured(encoder, read_manifest(made.table(tmp_path / "mine.csv", rows)))
    assert number(result, "text-to-audio", "R@1") == 1 / 2
