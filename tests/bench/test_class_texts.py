"""Several texts of a class: prompts, texts from a file, and what they make of its score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundsearch.bench.class_texts import ListedTexts, read_class_texts, score_classes
from soundsearch.bench.datasets import read_clotho, read_esc50
from soundsearch.bench.protocols import PROTOCOLS
from soundsearch.bench.result_files import read_result
from soundsearch.bench.run import Settings
from soundsearch.encoder.embed_clips import ClipEmbeddings
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import BenchmarkError
from tests import made_benchmarks as made
from tests.bench.test_run import encoder, measured, number  # noqa: F401
from tests.conftest import Run
from tests.made_benchmarks import small_is_whole  # noqa: F401
from tests.tiny_encoder import WORDS

pytestmark = pytest.mark.usefixtures("small_is_whole")


def listed(path: Path, texts_of: Any) -> Path:
    path.write_text(json.dumps({f"{word} noise": texts_of(word) for word in WORDS}))
    return path


@pytest.mark.parametrize("normalise", [True, False])
def test_the_best_text_of_all_decides_or_the_mean_of_embeddings(normalise: bool) -> None:
    rng = np.random.default_rng(0)
    counts = [4, 1, 3]
    texts = rng.normal(size=(8, 6)).astype(np.float32)
    sounds = rng.normal(size=(20, 6)).astype(np.float32)
    clips = ClipEmbeddings(sounds, np.arange(21))
    class_of = np.repeat(np.arange(3), counts)
    found = score_classes(texts, counts, clips, "best", normalise)
    # As the authors have it: the best of all texts, mapped to its class.
    np.testing.assert_array_equal(found.argmax(0), class_of[(sounds @ texts.T).argmax(1)])
    means = np.stack([texts[class_of == i].mean(0) for i in range(3)])
    if normalise:
        means /= np.linalg.norm(means, axis=1, keepdims=True)
    found = score_classes(texts, counts, clips, "mean", normalise)
    np.testing.assert_allclose(found, means @ sounds.T, atol=1e-5)


def test_the_way_of_scoring_reaches_the_numbers(
    encoder: Encoder,  # noqa: F811
    tmp_path: Path,
) -> None:
    """The barest text of every word belongs to the next class, two vaguer ones to its own."""
    data = read_esc50(made.esc50(tmp_path))
    texts = {
        f"{word} noise": (WORDS[i - 1], *(f"{word} {'so ' * n}" for n in (25, 26)))
        for i, word in enumerate(WORDS)
    }
    several = ListedTexts("x.json", texts)
    found = {
        way: measured(encoder, data, class_texts=several, class_score=way)
        for way in ("best", "mean")
    }
    accuracy = {way: number(result, "zero-shot", "accuracy") for way, result in found.items()}
    assert (accuracy["best"], accuracy["mean"]) == (0, 1)
    assert {way: result.run.class_texts for way, result in found.items()} == {
        "best": "best of 3",
        "mean": "mean of 3",
    }


def test_prompts_are_combined(encoder: Encoder, tmp_path: Path) -> None:  # noqa: F811
    data = read_esc50(made.esc50(tmp_path))
    prompts = ("{}", "a {} again")
    result = measured(encoder, data, prompts=prompts)
    assert number(result, "zero-shot", "accuracy") == 1
    assert (result.run.prompt, result.run.class_texts) == (" | ".join(prompts), "best of 2")
    assert measured(encoder, data).run.class_texts == ""


def test_the_protocol_of_vip_ant_takes_four_texts_of_a_sound(
    encoder: Encoder,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    embed_text = Encoder.embed_text

    def noted(self: Encoder, texts: list[str], **options: Any) -> Any:
        asked.extend(texts)
        return embed_text(self, texts, **options)

    monkeypatch.setattr(Encoder, "embed_text", noted)
    data = read_esc50(made.esc50(tmp_path))
    path = listed(
        tmp_path / "many.json",
        lambda word: [f"a photo of {word}", *(f"nothing {i} of {word}" for i in range(4))],
    )
    texts = read_class_texts(path)
    result = measured(encoder, data, "vip-ant", class_texts=texts)
    assert number(result, "zero-shot", "accuracy") == 1
    assert asked[:4] == [
        "the sound of rumble",
        *(f"nothing {i} of rumble" for i in range(3)),
    ]
    assert len(asked) == 4 * len(WORDS) and result.n_texts == len(WORDS)
    assert (result.run.prompt, result.run.class_texts) == ("many.json", "best of 4")
    asked.clear()
    measured(encoder, data, class_texts=texts)
    assert asked[0] == "a photo of rumble" and len(asked) == 5 * len(WORDS)


def test_classes_whose_texts_are_cut_are_counted_once(
    encoder: Encoder,  # noqa: F811
    tmp_path: Path,
) -> None:
    data = read_esc50(made.esc50(tmp_path))
    long = " ".join(60 * ["so"])
    result = measured(encoder, data, prompts=("{}", "{} " + long, long + " {}"))
    assert result.run.n_truncated == len(WORDS)


def test_typed(soundsearch: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOUNDSEARCH_CACHE", str(tmp_path / "cache"))
    made.esc50(tmp_path / "esc")
    quick = ("--model", "tiny", "--bootstrap", "20", "--device", "cpu")
    soundsearch(
        *("bench", "esc50", "esc", *quick, "--prompt", "a {}", "--prompt", "the {}"),
        *("--class-score", "mean", "--json", "two.json"),
    )
    run = read_result(Path("two.json")).run
    assert (run.prompt, run.class_texts) == ("a {} | the {}", "mean of 2")
    listed(tmp_path / "texts.json", lambda word: [f"a {word}", f"the {word}", word])
    result = soundsearch("bench", "esc50", "esc", *quick, "--class-texts", "texts.json")
    assert "prompt 'texts.json'; a class scores by the best of 3 texts" in result.stdout
    both = soundsearch(
        *("bench", "esc50", "esc", *quick, "--class-texts", "texts.json", "--prompt", "{}"), code=2
    )
    assert "texts.json" in both.stderr and "--prompt" in both.stderr
    (tmp_path / "texts.json").write_text("[]")
    wrong = soundsearch("bench", "esc50", "esc", *quick, "--class-texts", "texts.json", code=1)
    assert wrong.stderr.startswith("error: texts.json: expected a JSON object")


@pytest.mark.parametrize("content", [{"dog": []}, {"dog": "bark"}, {"dog": ["a", 1]}, {"d": [" "]}])
def test_a_file_that_lists_no_texts(tmp_path: Path, content: object) -> None:
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BenchmarkError, match="expected a list of one or more texts") as caught:
        read_class_texts(path)
    assert str(path) in str(caught.value)


def test_classes_that_a_file_cannot_tell_apart() -> None:
    texts = ListedTexts("texts.json", {"dog": ("bark", "woof"), "sea waves": ("waves", "bark")})
    assert texts.of(["dog"]) == [("bark", "woof")]
    with pytest.raises(BenchmarkError, match="no texts for class 'cow' \\(1 of 2"):
        texts.of(["dog", "cow"])
    with pytest.raises(BenchmarkError, match="'bark' stands for 'dog' and for 'sea waves'"):
        texts.of(["dog", "sea_waves"])


def test_captions_are_one_text_each(encoder: Encoder, tmp_path: Path) -> None:  # noqa: F811
    data = read_clotho(made.clotho(tmp_path))
    for more in ({"prompts": ("a {}", "{}")}, {"class_texts": ListedTexts("x.json", {})}):
        with pytest.raises(BenchmarkError, match="clotho evaluation has captions"):
            measured(encoder, data, **more)
    with pytest.raises(BenchmarkError, match="not 'no'"):
        Settings(protocol=PROTOCOLS["literature"], prompts=("the {}", "no"))
