"""Questions of several parts: what is found, in which order, how it is scored, what is refused."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError, QueryError
from soundsearch.search import question
from soundsearch.search.hits import SCORE_DECIMALS
from soundsearch.search.index import Index
from soundsearch.store import Store
from soundsearch.store.pinned import create_index
from tests import sounds
from tests.calibrated import calibrate
from tests.filled_store import changing, recording
from tests.tiny_encoder import BAND_HZ, WORDS, write_tiny_bundle

pytestmark = pytest.mark.usefixtures("each_kind")

ROOT = Path("/library")
EYE = np.eye(len(WORDS))
HUM, NOTE, WHINE = (EYE[WORDS.index(word)] for word in ("hum", "note", "whine"))


@pytest.fixture
def store(tiny: EncoderBundle, tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(create_index(tmp_path / "index", tiny)) as made:
        yield made


def fill(store: Store, library: dict[str, object]) -> None:
    with changing(store) as changes:
        root = changes.add_root(ROOT)
        for name, vectors in library.items():
            changes.put(recording(root.id, name, vectors))  # type: ignore[arg-type]


def names(store: Store, **query: object) -> list[str]:
    hits = Index(store, "cpu").search(**query)  # type: ignore[arg-type]
    return [str(hit.path.relative_to(ROOT)) for hit in hits]


MIXTURES = {
    "whine.wav": WHINE,
    "hum with whine.wav": HUM + 0.8 * WHINE,
    "hum with note.wav": HUM + 0.9 * NOTE,
    "hum.wav": HUM,
    "note.wav": NOTE,
}


def test_what_is_not_wanted_goes_behind_what_is(store: Store) -> None:
    fill(store, MIXTURES)
    assert names(store, text="hum", by="sound")[:3] == [
        "hum.wav", "hum with whine.wav", "hum with note.wav",
    ]  # fmt: skip
    by_minus = names(store, text="hum", minus="whine", by="sound")
    assert by_minus[:3] == ["hum.wav", "hum with note.wav", "hum with whine.wav"]
    assert by_minus[-1] == "whine.wav"
    assert names(store, text="hum", minus=["note"], by="sound")[1] == "hum with whine.wav"


def test_a_text_may_say_so_itself(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    fill(store, MIXTURES)
    expected = names(store, text="hum", minus=["whine"])
    assert caplog.messages == []
    assert names(store, text="hum without whine") == expected
    (message,) = caplog.messages
    assert "'without whine'" in message and "plus" in message
    assert names(store, text="hum", plus="without whine") != expected
    assert len(caplog.messages) == 1


def test_what_is_wanted_as_well(store: Store) -> None:
    fill(store, MIXTURES)
    assert names(store, text="hum", plus="note", by="sound")[0] == "hum with note.wav"
    assert names(store, text="hum", plus=["whine"], by="sound")[0] == "hum with whine.wav"
    assert names(store, plus=["hum", (9, "note")], by="sound")[0] == "note.wav"
    assert names(store, plus=["hum", (0.01, "note")], by="sound")[0] == "hum.wav"


def test_weights_of_what_is_not_wanted(store: Store) -> None:
    fill(store, MIXTURES)
    light = names(store, text="hum", minus=(0.01, "whine"), by="sound")
    assert light[1] == "hum with whine.wav"
    heavy = names(store, text="hum", minus=(5, "whine"), by="sound")
    assert heavy.index("note.wav") < heavy.index("hum with whine.wav")


# ---- against an oracle

weights = st.sampled_from([0.25, 1.0, 3.0])
parts = st.lists(st.tuples(weights, st.sampled_from(WORDS)), max_size=3)
rows = st.lists(st.sampled_from([0, 0, 1, 2]), min_size=8, max_size=8).filter(any)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> EncoderBundle:
    return calibrate(write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    library=st.lists(st.lists(rows, min_size=1, max_size=4), min_size=1, max_size=8),
    text=st.sampled_from(WORDS),
    plus=parts,
    minus=parts,
    min_score=st.sampled_from([None, 0.1, 0.5]),
)
def test_a_compound_search_is_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    calibrated: EncoderBundle,
    library: list[list[list[int]]],
    text: str,
    plus: list[tuple[float, str]],
    minus: list[tuple[float, str]],
    min_score: float | None,
) -> None:
    """Ranked by plus and minus, each divided by its deviation; scored by plus alone."""
    with contextlib.closing(create_index(tmp_path_factory.mktemp("i"), calibrated)) as store:
        fill(store, {f"{i}.wav": vectors for i, vectors in enumerate(library)})
        index = Index(store, "cpu")
        assert index.calibration is not None
        background = index.calibration.background.astype(np.float64)

        def scaled(vector: NDArray[np.float64]) -> NDArray[np.float64]:
            vector = vector / np.linalg.norm(vector)
            return vector / np.std(background @ vector)

        def embedded(wanted: Sequence[tuple[float, str]]) -> NDArray[np.float64]:
            embeddings = index.encoder.embed_text([word for _, word in wanted]).astype(np.float64)
            return np.sum(
                [w * scaled(e) for (w, _), e in zip(wanted, embeddings, strict=True)], axis=0
            )

        plus_sum = embedded([(1.0, text), *plus])
        towards = plus_sum / np.linalg.norm(plus_sum)
        by = towards
        if minus:
            strength = question.MINUS_STRENGTH * max(weight for weight, _ in minus)
            by = scaled(plus_sum) - strength * scaled(embedded(minus))
            if np.linalg.norm(by) < 1e-3:
                return  # cancelled, nearly
            by = by / np.linalg.norm(by)
        best = {}
        for i, vectors in enumerate(library):
            windows = np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
            place = int((windows @ by).round(SCORE_DECIMALS).argmax())
            best[f"{i}.wav"] = (windows[place] @ by, windows[place] @ towards)

        hits = index.search(
            text=text, plus=plus, minus=minus, by="sound", top_k=50, min_score=min_score
        )

        fits = [best[hit.path.name][0] for hit in hits]
        assert fits == sorted(fits, reverse=True) or np.diff(fits).max() < 1e-4
        for hit in hits:
            assert hit.cosine == pytest.approx(best[hit.path.name][1], abs=1e-3)
        vector = towards.astype(np.float32)
        for hit in hits:
            relevance = index.calibration.relevance("text", vector, np.array([hit.cosine]))
            assert hit.score == pytest.approx(relevance[0], abs=1e-3)
            assert min_score is None or hit.score >= min_score
        if min_score is None:
            assert len(hits) == len(library)
        else:
            every = index.search(text=text, plus=plus, minus=minus, by="sound", top_k=50)
            assert [h.path for h in hits] == [h.path for h in every if h.score >= min_score]


@pytest.mark.parametrize("over_fetch", [1, 8])
def test_a_score_that_is_asked_for_is_found_however_far_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch, over_fetch: int
) -> None:
    monkeypatch.setattr("soundsearch.search.ranking.OVER_FETCH", over_fetch)
    monkeypatch.setattr("soundsearch.search.ranking.LISTED", 1)
    fill(store, {f"{i}.wav": HUM + 2 * NOTE for i in range(50)} | {"z.wav": HUM + WHINE})
    index = Index(store, "cpu")
    hits = index.search(text="hum", minus=(2, "whine"), top_k=1, min_score=0.6)
    assert [hit.path.name for hit in hits] == ["z.wav"]
    assert index.search(text="hum", minus=(2, "whine"), top_k=1)[0].path.name == "0.wav"


def test_a_minus_leaves_scores_as_they_are(store: Store) -> None:
    fill(store, MIXTURES)
    index = Index(store, "cpu")
    plain = {hit.path: hit.score for hit in index.search(text="hum", by="sound")}
    for minus in ("whine", (4, "whine"), ["note", "whine"]):
        found = {hit.path: hit.score for hit in index.search(text="hum", minus=minus, by="sound")}  # type: ignore[arg-type]
        assert found == plain


def test_parts_that_cancel_each_other_out(store: Store) -> None:
    fill(store, MIXTURES)
    with pytest.raises(QueryError, match="cancel"):
        names(store, text="hum", minus=(1 / question.MINUS_STRENGTH, "hum"))


# ---- names


def test_a_recording_named_so_is_not_found_by_its_words(store: Store) -> None:
    library = {"zither/rain.wav": NOTE, "zither/train.wav": NOTE, "zither/raining.wav": NOTE}
    fill(store, library | {"zither/heavy.wav": NOTE, "zither/heavy rain.wav": NOTE})
    for by in ("words", "both"):
        query = {"text": "zither", "by": by}
        assert len(names(store, **query)) == 5
        found = names(store, **query, minus="rain")[:2]
        assert set(found) == {"zither/train.wav", "zither/heavy.wav"}
        assert names(store, **query, minus="heavy rain")[0] != "zither/heavy rain.wav"
    assert len(names(store, text="zither", by="words", minus="rain")) == 2
    assert len(names(store, text="zither", by="words", minus="the heavy rain")) == 4
    assert len(names(store, text="zither", by="words", minus=["heavy", "rain"])) == 1
    hits = Index(store, "cpu").search(text="zither", minus="rain")
    assert {hit.path.stem for hit in hits if hit.words} == {"train", "heavy"}


def test_words_of_all_texts_count(store: Store) -> None:
    fill(store, {"zither.wav": NOTE, "sitar.wav": NOTE, "oud.wav": NOTE})
    found = names(store, text="zither", plus="sitar", by="words")
    assert sorted(found) == ["sitar.wav", "zither.wav"]
    assert names(store, plus=["zither"], by="words") == ["zither.wav"]


# ---- recordings


@pytest.fixture
def library(soundsearch: object, tmp_path: Path) -> Path:
    """A tone of each word, and of two at once, indexed."""
    folder = tmp_path / "library"
    for word, hz in zip(WORDS, BAND_HZ, strict=True):
        sounds.write(folder / f"{word}.wav", sounds.tone(hz, 2.0))
    both = sounds.tone(BAND_HZ[1], 2.0, level=0.3) + sounds.tone(BAND_HZ[7], 2.0, level=0.05)
    sounds.write(folder / "both.wav", both)
    soundsearch("index", folder)  # type: ignore[operator]
    return folder


@pytest.fixture
def index(library: Path, tmp_path: Path) -> Iterator[Index]:
    with Index(Store.open(tmp_path / "index"), "cpu") as opened:
        yield opened


def stems(index: Index, **query: object) -> list[str]:
    return [hit.path.stem for hit in index.search(**query)]  # type: ignore[arg-type]


def test_several_examples_and_none_of_them_is_a_hit(index: Index, library: Path) -> None:
    examples = [library / "hum.wav", str(library / "hiss.wav")]
    found = stems(index, audio=examples, top_k=20)
    assert found[0] == "both" and len(found) == 7 and not {"hum", "hiss"} & set(found)
    assert stems(index, audio=[library / "hum.wav"]) == stems(index, audio=library / "hum.wav")
    with open(library / "hiss.wav", "rb") as stream:
        assert stems(index, audio=[library / "hum.wav", stream])[0] == "both"


def test_an_example_with_a_text(index: Index, library: Path) -> None:
    for query in (
        {"text": "hiss", "audio": library / "hum.wav"},
        {"text": "hiss", "plus": library / "hum.wav"},
        {"audio": library / "hum.wav", "plus": "hiss"},
    ):
        hits = index.search(**query, by="sound", top_k=20)  # type: ignore[arg-type]
        assert hits[0].path.stem == "both" and "hum" not in {hit.path.stem for hit in hits}
    by_words = stems(index, text="hiss hum", audio=library / "hum.wav", by="words")
    assert by_words == ["hiss"]  # the example is no hit by its name either


def test_a_recording_that_is_not_wanted(index: Index, library: Path) -> None:
    found = stems(index, text="hum", minus=(3, library / "hiss.wav"), by="sound", top_k=20)
    assert "hiss" not in found and found[0] == "hum"
    assert found.index("both") > stems(index, text="hum", by="sound").index("both")


def test_a_text_and_a_recording_count_alike(tmp_path: Path, tiny: EncoderBundle) -> None:
    """Each part is divided by the deviation of its cosines to ordinary sounds."""
    bundle = calibrate(tiny)
    with contextlib.closing(create_index(tmp_path / "index", bundle)) as store:
        fill(store, MIXTURES)
        path = sounds.write(tmp_path / "note.wav", sounds.tone(BAND_HZ[3], 1.0))
        index, encoder = Index(store, "cpu"), Encoder(bundle, "cpu")
        assert index.calibration is not None
        text, audio = encoder.embed_text(["hum"])[0], encoder.embed_file(path)[1][0]
        total = text / index.calibration.deviation(text) + audio / index.calibration.deviation(
            audio
        )
        hits = {hit.path.name: hit.cosine for hit in index.search(text="hum", audio=path)}
        expected = HUM @ total / np.linalg.norm(total)
        assert hits["hum.wav"] == pytest.approx(expected, abs=1e-4)


# ---- passages


@pytest.fixture
def changing_sound(library: Path, soundsearch: object) -> Path:
    """Two seconds of hum, 0.6 of hiss, two of note; indexed."""
    tones = [sounds.tone(BAND_HZ[i], s) for i, s in ((1, 2.0), (7, 0.6), (3, 2.0))]
    path = sounds.write(library / "three.wav", np.concatenate(tones))
    soundsearch("index", library)  # type: ignore[operator]
    return path


def test_a_passage_is_that_passage_alone(changing_sound: Path, index: Index) -> None:
    """Stored windows of one second hold what sounds around it."""
    hiss = index.search(audio=changing_sound, start_s=2.0, end_s=2.6, top_k=20)
    assert hiss[0].path.stem == "hiss" and hiss[0].cosine > 0.99
    assert "three" not in {hit.path.stem for hit in hiss}
    assert stems(index, audio=changing_sound, end_s=2)[0] == "hum"
    assert stems(index, audio=changing_sound, start_s=2.6)[0] == "note"
    with open(changing_sound, "rb") as stream:
        assert stems(index, audio=stream, start_s=2.0, end_s=2.6)[0] == "hiss"


def test_of_a_recording_that_is_not_there_stored_windows_stand_for_a_passage(
    changing_sound: Path, index: Index
) -> None:
    changing_sound.unlink()
    assert stems(index, audio=changing_sound, end_s=1)[0] == "hum"
    assert stems(index, audio=changing_sound, start_s=3.6)[0] == "note"
    with pytest.raises(QueryError, match=r"three\.wav.*passage"):
        stems(index, audio=changing_sound, start_s=50)


def test_a_passage_beyond_the_end(
    changing_sound: Path, index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AudioError, match=r"three\.wav: it ends at 4\.6 s, before the passage"):
        index.search(audio=changing_sound, start_s=873, end_s=876)
    assert caplog.messages == []
    assert stems(index, audio=changing_sound, start_s=3, end_s=876)[0] == "note"
    (message,) = caplog.messages
    assert "three.wav" in message and "4.6 s" in message


def test_a_silent_passage(index: Index, tmp_path: Path) -> None:
    quiet = np.concatenate([sounds.tone(500, 1.0), np.zeros(16000, np.float32)])
    path = sounds.write(tmp_path / "a.wav", quiet)
    with pytest.raises(AudioError, match="passage is silent"):
        index.search(audio=path, start_s=1.5, end_s=2.5)


# ---- what is refused


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"minus": "rain"}, "minus alone says only what not to find"),
        ({"text": "without rain"}, "'without rain' says only what not to find"),
        ({"text": "hum", "plus": 5}, r"plus is 5 \(int\), expected a list"),
        ({"text": "hum", "plus": b"x"}, r"plus is b'x' \(bytes\), expected a list"),
        ({"text": "hum", "plus": [5]}, r"plus\[0\] is 5 \(int\), expected a text"),
        ({"text": "hum", "minus": ["a", ""]}, r"minus\[1\] is empty"),
        ({"text": "hum", "minus": Path("a\0")}, "zero byte"),
        ({"text": "hum", "minus": [(1, 2, 3)]}, r"minus\[0\] is \(1, 2, 3\).*weight"),
        ({"text": "hum", "minus": [io.BytesIO()]}, r"minus\[0\].*BytesIO"),
        *(
            ({"text": "hum", "minus": [(weight, "rain")]}, r"the weight of minus\[0\] is .*above 0")
            for weight in (0, -1, math.nan, math.inf, "2", None, True, 10**400)
        ),
        ({"audio": ["a.wav", "b.wav"], "start_s": 1}, "of one recording"),
        ({"text": "hum", "end_s": 1}, "of one recording"),
        ({"audio": "a.wav", "start_s": -1}, "start_s is -1"),
        ({"audio": "a.wav", "end_s": math.nan}, "end_s is nan"),
        ({"audio": "a.wav", "end_s": "1"}, r"end_s is '1' \(str\)"),
        ({"audio": "a.wav", "start_s": 2, "end_s": 2}, "end_s is 2, expected more"),
        ({"plus": [Path("a.wav")], "by": "words"}, "by is 'words'"),
    ],
)
def test_what_cannot_be_asked(store: Store, query: dict[str, object], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Index(store, "cpu").search(**query)  # type: ignore[arg-type]


def test_a_recording_that_is_no_file(store: Store) -> None:
    with pytest.raises(AudioError, match=r"none\.wav: no such file"):
        Index(store, "cpu").search(text="hum", minus=Path("none.wav"))
