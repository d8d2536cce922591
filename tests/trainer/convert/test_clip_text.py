"""CLIP's texts through ONNX and the tokenizers library: the same ids and vectors as open_clip's."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.encoder.bundle import TextConfig
from soundsearch.errors import SoundsearchError
from tests.trainer.tiny_clip import tiny_model
from trainer import onnx_export
from trainer.bundle_export import text_inputs
from trainer.convert.clip_text import ClipText, clip_tokenizer
from trainer.onnx_export import run_onnx, save_onnx, to_onnx

START, END = 49406, 49407
TEXTS = ["thunder", "a dog barks at the rain while a train passes", "", "word " * 100]

ORIGINAL = open_clip.SimpleTokenizer()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tokenizer.json as a bundle has it."""
    path = tmp_path_factory.mktemp("clip") / "tokenizer.json"
    clip_tokenizer(ORIGINAL).save(str(path))
    return path


@pytest.fixture(scope="module")
def tokenizer(written: Path) -> tokenizers.Tokenizer:
    """Read back from the file."""
    return tokenizers.Tokenizer.from_file(str(written))


def ids_of(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    """Filled up to CLIP's context, as open_clip does."""
    ids: list[int] = tokenizer.encode(text).ids
    return ids + [0] * (77 - len(ids))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \t\n ",
        "A DOG  Barking\r\nloudly",
        "café cafe\u0301 naïve Ångström STRASSE ß",
        "😀 👩\u200d🚀 🎻🎻",
        "&amp; &lt;b&gt; &quot;x&quot; it&#39;s it&apos;s &nbsp; &amp;lt;",
        "it's they're I'll we've I'm he'd rock'n'roll 'S 'T",
        "“quoted” ‘it’s’ l’eau",
        "ﬁre ﬂame ＡＢＣ　wide\u00a0space",
        "100 440Hz 3.5s m² ½",
        "a_b-c/d\\e (f) [g] {h} #1!",
        "雨の音 Дождь مطر",
        "x\x00y\x07z \ufeffbom",
        "a <START_OF_TEXT> b",
        "wait... what?! -- – —",
        "word " * 200,
        "supercalifragilisticexpialidocious" * 5,
    ],
)
def test_texts_get_the_ids_that_open_clip_gives_them(
    tokenizer: tokenizers.Tokenizer, text: str
) -> None:
    assert ids_of(tokenizer, text) == ORIGINAL([text])[0].tolist()


@given(st.text("abcXYZ éÄñß0129 .,;:!?'\"-_/&<>()\n\t🎻雨", max_size=120))
def test_any_text_of_usual_letters_gets_the_same_ids(text: str) -> None:
    assert ids_of(MADE, text) == ORIGINAL([text])[0].tolist()


MADE = clip_tokenizer(ORIGINAL)


@pytest.mark.data
def test_real_captions_get_the_same_ids(tokenizer: tokenizers.Tokenizer, data_folder: Path) -> None:
    texts: list[str] = []
    for name in ("audiocaps_val.csv", "clotho_v2_evaluation.csv"):
        with open(data_folder / "captions" / name, encoding="utf-8", newline="") as file:
            for row in itertools.islice(csv.DictReader(file), 200):
                texts += [v for k, v in row.items() if k.startswith("caption")]
    assert len(texts) > 400
    wanted = ORIGINAL(texts).tolist()
    assert [ids_of(tokenizer, text) for text in texts] == wanted


def test_a_long_text_loses_words_and_keeps_its_end(written: Path) -> None:
    inputs = text_inputs(written, ["rain " * 50, "rain"], TextConfig(max_tokens=12))
    long, short = inputs["input_ids"].tolist()
    assert len(long) == 12 and long[0] == START and long[-1] == END
    assert short == [START, long[1], END] + [0] * 9
    assert inputs["attention_mask"].sum(dim=1).tolist() == [12, 3]


def test_a_tokenizer_that_cleans_otherwise_is_refused() -> None:
    with pytest.raises(SoundsearchError, match="only CLIP's own tokenizer"):
        clip_tokenizer(open_clip.SimpleTokenizer(clean="canonicalize"))
    with pytest.raises(SoundsearchError, match="only CLIP's own tokenizer"):
        clip_tokenizer(object())


def test_vectors_are_those_of_open_clip_whatever_the_text_is_filled_up_to(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        onnx_export, "SMALLEST_HALVED", 1 << 40
    )  # float16 is not what is asked about
    model: Any = tiny_model()
    path = tmp_path / "text.onnx"
    some = text_inputs(written, TEXTS[:2], TextConfig(max_tokens=77))["input_ids"]
    tower, inputs = ClipText(model), {"input_ids": some}
    graph = to_onnx(tower, inputs, {"input_ids": {0: "n", 1: "n_tokens"}})
    save_onnx(graph, tower, inputs, path)
    with torch.no_grad():
        wanted = model.encode_text(ORIGINAL(TEXTS)).numpy()
    lengths = np.linalg.norm(wanted, axis=1)
    assert np.ptp(lengths) > 0.01 * lengths.max()  # they do not all have one length
    full = ORIGINAL(TEXTS)
    for ids in (
        text_inputs(written, TEXTS, TextConfig(max_tokens=77))["input_ids"],
        full,
    ):
        found = run_onnx(path, {"input_ids": ids})
        np.testing.assert_allclose(found, wanted, atol=1e-5 * lengths.max())
    alone = text_inputs(written, TEXTS[:1], TextConfig(max_tokens=77))["input_ids"]
    np.testing.assert_allclose(
        run_onnx(path, {"input_ids": alone}), wanted[:1], atol=1e-5 * lengths.max()
    )
    assert alone.shape == (1, 3)


def test_a_text_tower_of_another_kind_is_refused() -> None:
    changes = {"text_cfg": {"width": 16, "heads": 2, "layers": 1, "pool_type": "last"}}
    model = tiny_model(**changes)
    with pytest.raises(SoundsearchError, match="pools by 'last' cannot be exported"):
        ClipText(model)
