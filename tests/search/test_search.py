from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import soundsearch
from soundsearch.audio.recording import AudioFile
from soundsearch.encoder.bundle import Curve, EncoderBundle, TextConfig
from soundsearch.encoder.calibration import Calibration, Kind
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError, Cause, QueryError, SoundsearchError, StoreError
from soundsearch.search import question, ranking
from soundsearch.search.describe import describe
from soundsearch.search.hits import SCORE_DECIMALS, Hit, Label
from soundsearch.search.index import Index
from soundsearch.store import FileFacts, Indexed, Store
from soundsearch.store.pinned import create_index
from tests import sounds
from tests.calibrated import calibrate, calibrate_searches
from tests.filled_store import changing, put, recording, unit
from tests.ordinary_user import open_folder, ordinary_user
from tests.tiny_encoder import BAND_HZ, WORDS, write_tiny_bundle

pytestmark = pytest.mark.usefixtures("each_kind")

Array = NDArray[np.float32]
ROOT = Path("/library")


def _towards(word: str, sureness: float = 1.0) -> Array:
    """A unit vector with this cosine to a word's embedding, nearly; the rest lies between all."""
    vector = np.full(8, 0.01, np.float32)
    vector[WORDS.index(word)] = 1.0
    aside = np.ones(8, np.float32)
    return unit(sureness * unit(vector)[0] + (1 - sureness) * unit(aside)[0])[0]


@pytest.fixture
def store(tmp_path: Path, tiny: EncoderBundle) -> Iterator[Store]:
    with contextlib.closing(create_index(tmp_path / "index", tiny)) as made:
        yield made


def _names(hits: Sequence[Hit]) -> list[str]:
    return [hit.path.name for hit in hits]


# ---- against an oracle

#: Few different vectors, so that equal scores are common.
grid = st.lists(st.sampled_from([0, 0, 1, 2]), min_size=8, max_size=8).filter(any)
libraries = st.lists(st.lists(grid, min_size=1, max_size=6), min_size=0, max_size=12)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> EncoderBundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


def _brute_force(
    recordings: dict[int, tuple[Path, Array]], query: Array
) -> list[tuple[float, int, int]]:
    """(score, recording id, its best window) of every recording, best first."""
    ranked = []
    for recording_id, (_, embeddings) in recordings.items():
        stored = embeddings.astype(np.float16)
        scores = (stored.astype(np.float64) @ query.astype(np.float64)).round(SCORE_DECIMALS)
        ranked.append((float(scores.max()), recording_id, int(scores.argmax())))
    return sorted(ranked, key=lambda hit: (-hit[0], hit[1]))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    library=libraries,
    text=st.sampled_from([*WORDS, "rumble hiss", "hum drone note"]),
    top_k=st.integers(1, 14),
    min_score=st.none() | st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    below=st.sampled_from([None, "/library", "/library/a", "/library/b", "/elsewhere"]),
    over_fetch=st.sampled_from([1, 8]),
)
def test_a_search_is_brute_force_over_all_windows(
    tmp_path_factory: pytest.TempPathFactory,
    bundle: EncoderBundle,
    library: list[list[list[int]]],
    text: str,
    top_k: int,
    min_score: float | None,
    below: str | None,
    over_fetch: int,
) -> None:
    folder = tmp_path_factory.mktemp("index")
    with (
        contextlib.closing(create_index(folder, bundle)) as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(ranking, "OVER_FETCH", over_fetch)
        stored = {}
        with changing(store) as changes:
            root = changes.add_root(ROOT)
            for i, vectors in enumerate(library):
                name = f"{'ab'[i % 2]}/{i}.wav"
                recording_id = changes.put(recording(root.id, name, vectors))
                stored[recording_id] = (ROOT / name, unit(vectors))
        index = Index(store, "cpu")
        query = index.encoder.embed_text([text])[0]
        if below not in (None, "/library") and not any(
            path.is_relative_to(below) for path, _ in stored.values()
        ):
            with pytest.raises(QueryError, match=f"{below}.*: /library;"):
                index.search(text=text, within=below)
            return
        shown = {i: r for i, r in stored.items() if below is None or r[0].is_relative_to(below)}
        expected = _brute_force(shown, query)[:top_k]
        if min_score is not None:
            expected = [hit for hit in expected if hit[0] >= min_score]

        hits = index.search(text=text, top_k=top_k, min_score=min_score, within=below)

        assert [hit.path for hit in hits] == [stored[i][0] for _, i, _ in expected]
        assert [hit.rank for hit in hits] == list(range(1, len(expected) + 1))
        assert [hit.start_s for hit in hits] == [float(window) for _, _, window in expected]
        for hit, (score, recording_id, _) in zip(hits, expected, strict=True):
            assert hit.score == hit.cosine == pytest.approx(score, abs=2e-5)
            assert hit.relevance is None
            assert hit.end_s == hit.start_s + 1
            assert hit.duration_s == len(stored[recording_id][1])


def test_one_long_recording_does_not_hide_the_others(store: Store) -> None:
    put(store, ROOT, "long.wav", np.tile(_towards("hum"), (3000, 1)))
    for i in range(3):
        put(store, ROOT, f"{i}.wav", [_towards("hum", 0.9 - i / 10)])
    assert _names(Index(store).search(text="hum", top_k=4)) == [
        "long.wav",
        "0.wav",
        "1.wav",
        "2.wav",
    ]


def test_ties_stand_in_the_order_of_indexing(store: Store) -> None:
    names = [f"{i}.wav" for i in (5, 3, 9, 1, 7, 2, 8, 0, 6, 4)]
    for name in names:
        put(store, ROOT, name, [_towards("hum")] * 3)
    index = Index(store)
    for top_k in range(1, 11):
        hits = index.search(text="hum", top_k=top_k)
        assert _names(hits) == names[:top_k]
        assert {hit.start_s for hit in hits} == {0.0}  # the first of equal windows


def test_ties_stand_so_even_where_not_all_of_them_were_fetched(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "OVER_FETCH", 1)
    for i in range(12):
        put(store, ROOT, f"{i}.wav", [_towards("hum")])
    put(store, ROOT, "0.wav", [_towards("hum")])  # changed: the same recording, a later window
    assert _names(Index(store).search(text="hum", top_k=1)) == ["0.wav"]


def test_the_package_gives_the_types_of_its_results() -> None:
    assert {"Hit", "Index", "Label"} <= set(soundsearch.__all__)
    assert (soundsearch.Hit, soundsearch.Index, soundsearch.Label) == (Hit, Index, Label)


def test_an_empty_index_has_no_hits(store: Store) -> None:
    assert Index(store).search(text="hum") == []


def test_min_score_keeps_what_reaches_it(store: Store) -> None:
    for sureness in (1.0, 0.8, 0.5):
        put(store, ROOT, f"{sureness}.wav", [_towards("hum", sureness)])
    index = Index(store)
    scores = [hit.score for hit in index.search(text="hum")]
    assert scores == sorted(scores, reverse=True)
    assert len(index.search(text="hum", min_score=scores[1])) == 2
    assert len(index.search(text="hum", min_score=scores[1] + 1e-5)) == 1
    assert index.search(text="hiss", min_score=1.0) == []


# ---- relevance


@pytest.fixture
def relevant(tmp_path: Path, tiny: EncoderBundle) -> Iterator[Store]:
    """An index of the calibrated encoder, with sounds that are `hum` more and less."""
    with contextlib.closing(create_index(tmp_path / "index", calibrate(tiny))) as made:
        for sureness in (0.9, 0.1, 0.7, 0.3, 1.0, 0.5):
            put(made, ROOT, f"{sureness}.wav", [_towards("hum", sureness)])
        yield made


def _relevance(index: Index, kind: Kind, query: Array, hits: Sequence[Hit]) -> list[float]:
    assert index.calibration is not None
    cosines = np.array([hit.cosine for hit in hits])
    return index.calibration.relevance(kind, query, cosines).tolist()


def test_a_calibrated_encoder_scores_by_relevance_and_ranks_as_before(
    relevant: Store,
) -> None:
    index = Index(relevant)
    hits = index.search(text="hum")
    query = index.encoder.embed_text(["hum"])[0]

    assert _names(hits) == [f"{x}.wav" for x in (1.0, 0.9, 0.7, 0.5, 0.3, 0.1)]
    assert [h.score for h in hits] == [h.relevance for h in hits]
    assert [h.score for h in hits] == pytest.approx(
        _relevance(index, "text", query, hits), abs=1e-5
    )
    assert [h.cosine for h in hits] == sorted([h.cosine for h in hits], reverse=True)
    assert hits[0].cosine == pytest.approx(1.0, abs=1e-3)
    assert hits[0].score > 0.5 > hits[-1].score  # the curve is met on both sides


@pytest.mark.parametrize("over_fetch", [1, 8])
def test_min_score_is_held_against_relevance(
    relevant: Store, monkeypatch: pytest.MonkeyPatch, over_fetch: int
) -> None:
    monkeypatch.setattr(ranking, "OVER_FETCH", over_fetch)
    index = Index(relevant)
    hits = index.search(text="hum")
    for top_k in (1, 3, 10):
        for least in (0.0, *(hit.score for hit in hits), 1.0):
            expected = [hit for hit in hits[:top_k] if hit.score >= least]
            assert index.search(text="hum", top_k=top_k, min_score=least) == expected


def test_a_recording_asks_by_a_curve_of_its_own(relevant: Store, tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "query.wav", sounds.tone(BAND_HZ[1]))
    index = Index(relevant)
    hits = index.search(audio=path)
    query = index.encoder.embed_file(path)[1][0]
    as_audio = _relevance(index, "audio", query, hits)
    assert [hit.score for hit in hits] == pytest.approx(as_audio, abs=1e-5)
    assert as_audio != pytest.approx(_relevance(index, "text", query, hits), abs=1e-3)


def test_words_are_scored_against_ordinary_texts_too(tmp_path: Path, tiny: EncoderBundle) -> None:
    texts = np.eye(tiny.dim, dtype=np.float16)[:3]
    bundle = calibrate_searches(tiny, texts, Curve(slope=0.7, offset=-2.0))
    with contextlib.closing(create_index(tmp_path / "index", bundle)) as store:
        put(store, ROOT, "sure.wav", [_towards("hum", 0.9)])
        put(store, ROOT / "deep", "unsure.wav", [_towards("hum", 0.4), _towards("hum", 0.6)])
        index = Index(store)
        query = index.encoder.embed_text(["hum"])[0]
        calibration = index.calibration
        assert calibration is not None
        for within, nearest in ((None, 0.9), (ROOT / "deep", 0.6)):
            hits = index.search(text="hum", within=within)
            cosines = np.array([hit.cosine for hit in hits], np.float64)
            best = _towards("hum", nearest)
            expected = calibration.relevance_of_hits("text", query, cosines, best)
            assert [hit.score for hit in hits] == pytest.approx(expected.tolist(), abs=1e-4)
            least = hits[0].score
            assert index.search(text="hum", within=within, min_score=least) == hits[:1]
        assert expected[0] != pytest.approx(
            calibration.relevance("text", query, cosines)[0], abs=0.01
        )
        path = sounds.write(tmp_path / "q.wav", sounds.tone(BAND_HZ[1]))
        hits = index.search(text="hum", plus=path)  # no question in words alone
        parts = [query, index.encoder.embed_file(path)[1][0]]
        plus = unit(sum(part / calibration.deviation(part) for part in parts))[0]
        cosines = np.array([hit.cosine for hit in hits], np.float64)
        expected = calibration.relevance("text", plus, cosines)
        assert [hit.score for hit in hits] == pytest.approx(expected.tolist(), abs=1e-4)


# ---- what may be shown


def test_a_missing_recording_is_not_shown(store: Store) -> None:
    gone = put(store, ROOT, "gone.wav", [_towards("hum")])
    put(store, ROOT, "here.wav", [_towards("hum", 0.5)])
    with changing(store) as changes:
        changes.mark_missing([gone])
    assert _names(Index(store).search(text="hum")) == ["here.wav"]
    assert _names(Index(store).search(text="hum", within=ROOT)) == ["here.wav"]


def test_a_recording_deleted_since_the_index_was_loaded_is_passed_over(store: Store) -> None:
    for i in range(3):
        put(store, ROOT, f"{i}.wav", [_towards("hum", 1 - i / 10)])
    index = Index(store)
    assert _names(index.search(text="hum", top_k=2)) == ["0.wav", "1.wav"]
    with changing(store) as changes:
        changes.delete([r.id for r in changes.recordings()][:1])
    assert _names(index.search(text="hum", top_k=2)) == ["1.wav", "2.wav"]


def test_a_recording_gone_missing_since_the_index_was_loaded_is_passed_over(
    store: Store,
) -> None:
    gone = put(store, ROOT, "gone.wav", [_towards("hum")])
    put(store, ROOT, "here.wav", [_towards("hum", 0.5)])
    index = Index(store)
    assert len(index.search(text="hum")) == 2
    with changing(store) as changes:
        changes.mark_missing([gone])
    assert _names(index.search(text="hum")) == ["here.wav"]


def test_what_was_added_since_the_index_was_loaded_waits(store: Store, each_kind: str) -> None:
    if each_kind == "postgresql":
        pytest.skip("a database on a server has no vectors beside it, which may be behind")
    put(store, ROOT, "old.wav", [_towards("hum", 0.5)])
    index = Index(store)
    index.search(text="hum")
    put(store, ROOT, "new.wav", [_towards("hum")])
    assert _names(index.search(text="hum")) == ["old.wav"]
    assert _names(index.search(text="hum", within=ROOT)) == ["old.wav"]
    assert _names(Index(store).search(text="hum")) == ["new.wav", "old.wav"]


def test_several_folders_and_single_recordings(store: Store) -> None:
    for name in ("a/1.wav", "a/2.wav", "b/3.wav", "b/4.wav", "5.wav"):
        put(store, ROOT, name, [_towards("hum")])
    index = Index(store)
    within = [ROOT / "a", str(ROOT / "b" / "4.wav"), str(ROOT / "a" / "1.wav")]
    assert _names(index.search(text="hum", within=within)) == ["1.wav", "2.wav", "4.wav"]
    assert _names(index.search(text="hum", within=str(ROOT / "5.wav"))) == ["5.wav"]
    with pytest.raises(QueryError, match="within names no folder"):
        index.search(text="hum", within=[])
    with pytest.raises(QueryError, match=r"'/elsewhere'.*its roots are: /library;"):
        index.search(text="hum", within=[ROOT, Path("/elsewhere")])


def test_hits_say_whether_their_file_is_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.wav", "b.wav"):
        put(store, tmp_path, name, [_towards("hum")])
        put(store, ROOT, name, [_towards("hum", 0.5)])
    (tmp_path / "b.wav").write_bytes(b"")
    asked = []
    look = os.stat
    monkeypatch.setattr(
        question.os,
        "stat",
        lambda path, **more: (asked.append(str(path)), look(path, **more))[1],
    )
    hits = Index(store).search(text="hum")
    assert [hit.is_present for hit in hits] == [False, True, False, False]
    # Of a root that is not there, no file is asked for: its disk may take long to answer.
    assert [path for path in asked if path.startswith(str(ROOT))] == [str(ROOT)]


def test_below_a_link_means_where_it_leads(store: Store, tmp_path: Path) -> None:
    real = (tmp_path / "real").resolve()
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    put(store, real, "a.wav", [_towards("hum")])
    put(store, ROOT, "b.wav", [_towards("hum")])
    assert _names(Index(store).search(text="hum", within=tmp_path / "link")) == ["a.wav"]


# ---- by example


def _index_file(store: Store, encoder: Encoder, path: Path) -> int:
    """As an index run stores it."""
    spans, embeddings = encoder.embed_file(path)
    stat = path.stat()
    with changing(store) as changes:
        root = changes.add_root(path.parent)
        file = FileFacts(root.id, path.name, stat.st_size, stat.st_mtime_ns)
        with AudioFile(path) as opened:
            rate, n_channels, form = opened.sample_rate, opened.n_channels, opened.format
        return changes.put(
            Indexed(file, b"", spans[-1][1], rate, n_channels, form, spans, embeddings),
        )


@pytest.fixture
def library(store: Store, tiny: EncoderBundle, tmp_path: Path) -> Path:
    """A tone per word, indexed."""
    folder = (tmp_path / "sounds").resolve()
    encoder = Encoder(tiny, "cpu")
    for word, hz in zip(WORDS, BAND_HZ, strict=True):
        path = sounds.write(folder / f"{word}.wav", sounds.tone(hz, 2.0))
        _index_file(store, encoder, path)
    return folder


def test_each_word_finds_its_tone(store: Store, library: Path) -> None:
    index = Index(store)
    for word in WORDS:
        (hit,) = index.search(text=word, top_k=1)
        assert hit.path == library / f"{word}.wav"


def test_a_recording_is_not_among_its_own_hits(store: Store, library: Path) -> None:
    hits = Index(store).search(audio=library / "hum.wav", top_k=20)
    assert len(hits) == 7 and "hum.wav" not in _names(hits)
    assert hits[0].path.name in ("rumble.wav", "drone.wav")


def test_a_recording_that_is_not_indexed(store: Store, library: Path, tmp_path: Path) -> None:
    query = sounds.write(tmp_path / "query.wav", sounds.tone(BAND_HZ[4], 1.3, level=0.3))
    hits = Index(store).search(audio=query)
    assert len(hits) == 8 and hits[0].path.name == "beep.wav"
    assert hits[0].score > 0.99 > hits[1].score


def test_an_indexed_recording_answers_from_the_database(
    store: Store, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Index(store).search(audio=library / "hum.wav")
    monkeypatch.setattr(Encoder, "embed_file", None)  # it need not be decoded
    assert Index(store).search(audio=library / "hum.wav") == expected
    (library / "hum.wav").unlink()  # nor be there
    assert Index(store).search(audio=library / "hum.wav") == expected


def test_of_a_question_heard_in_part_a_warning_is_logged(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    query = sounds.write(tmp_path / "query.wav", sounds.tone(BAND_HZ[4], 2.0))
    index = Index(store)
    hits = index.search(audio=query)
    labels = index.describe(query, WORDS, top_k=1)
    assert caplog.messages == []
    os.truncate(query, query.stat().st_size // 2)

    part = index.search(audio=query)
    assert caplog.messages == [f"partly read {query}: only 1.0 s of 2.0 s could be decoded"]
    assert [hit.path for hit in part] == [hit.path for hit in hits]
    assert index.describe(query, WORDS, top_k=1)[0].text == labels[0].text
    assert len(caplog.messages) == 2 and len(set(caplog.messages)) == 1

    os.truncate(query, 40)
    with pytest.raises(AudioError, match=r"query\.wav: it is cut short or damaged"):
        index.search(audio=query)
    assert len(caplog.messages) == 2


def test_a_changed_recording_is_listened_to_anew(store: Store, library: Path) -> None:
    sounds.write(library / "hum.wav", sounds.tone(BAND_HZ[7], 3.0))
    hits = Index(store).search(audio=library / "hum.wav")
    assert hits[0].path.name == "hiss.wav" and "hum.wav" not in _names(hits)


def test_a_recording_is_itself_by_any_path(
    store: Store, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(library)
    assert "hum.wav" not in _names(Index(store).search(audio="hum.wav", top_k=20))
    assert "hum.wav" not in _names(Index(store).search(audio="../sounds/hum.wav", top_k=20))


def test_audio_that_cannot_be_used_is_named(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    with pytest.raises(AudioError, match=r"empty\.wav: the file is empty") as caught:
        Index(store).search(audio=path)
    assert caught.value.cause is Cause.EMPTY
    with pytest.raises(AudioError, match=r"none\.wav: no such file"):
        Index(store).search(audio=tmp_path / "none.wav")


# ---- questions that cannot be asked


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"text": ""}, "the query is empty"),
        ({"text": " \t\n"}, "the query is empty"),
        ({}, "a text or a recording"),
        ({"text": "hum", "top_k": 0}, "top_k is 0, it must be 1 or more"),
        ({"text": "hum", "top_k": -3}, "top_k is -3"),
    ],
)
def test_a_question_that_cannot_be_asked(
    store: Store, question: dict[str, object], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        Index(store).search(**question)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"text": ["hum"]}, r"text is \['hum'\] \(list\), expected a text"),
        ({"text": b"hum"}, r"text is b'hum' \(bytes\), expected a text"),
        ({"text": 5}, r"text is 5 \(int\), expected a text"),
        ({"text": "\0\0"}, "the query is empty"),
        ({"text": "\u200b \ufeff"}, "the query is empty"),
        ({"audio": 5}, r"audio is 5 \(int\), expected a path"),
        ({"audio": ["a.wav", 5]}, r"audio\[1\] is 5 \(int\), expected a path"),
        ({"audio": []}, "a text or a recording"),
        ({"audio": "a\0.wav"}, "a path holds no zero byte"),
        ({"audio": ""}, "audio is empty, expected a path"),
        ({"audio": io.StringIO("a")}, r"\(StringIO\), expected a stream of bytes"),
        ({"text": "hum", "within": 5}, r"within is 5 \(int\), expected a folder"),
        ({"text": "hum", "within": [None]}, r"within\[0\] is None \(NoneType\), expected a path"),
        ({"text": "hum", "within": "a\0"}, "a path holds no zero byte"),
        ({"text": "hum", "within": ["a", ""]}, r"within\[1\] is empty, expected a path"),
        ({"text": "hum", "top_k": 2.0}, r"top_k is 2.0 \(float\), expected a whole number"),
        ({"text": "hum", "top_k": True}, r"top_k is True \(bool\), expected a whole number"),
        ({"text": "hum", "top_k": "3"}, r"top_k is '3' \(str\), expected a whole number"),
        ({"text": "hum", "top_k": None}, r"top_k is None \(NoneType\), expected a whole number"),
        ({"text": "hum", "min_score": "0.5"}, r"min_score is '0.5' \(str\), expected a number"),
        ({"text": "hum", "min_score": True}, r"min_score is True \(bool\), expected a number"),
        ({"text": "hum", "min_score": float("nan")}, "min_score is nan, expected a number from -1"),
        ({"text": "hum", "min_score": float("inf")}, "min_score is inf, expected a number from -1"),
        ({"text": "hum", "min_score": -1.5}, "min_score is -1.5, expected a number from -1 to 1"),
    ],
    ids=lambda value: str(value).partition(" object")[0],  # no address: it differs
)
def test_what_cannot_be_asked_is_named(store: Store, wrong: dict[str, Any], said: str) -> None:
    put(store, ROOT, "a.wav", [_towards("hum")])
    with pytest.raises(QueryError, match=said):
        Index(store).search(**wrong)


def test_numbers_of_numpy_are_numbers(store: Store) -> None:
    put(store, ROOT, "a.wav", [_towards("hum")])
    search = Index(store).search
    assert len(search(text="hum", top_k=np.int64(1), min_score=np.float32(0.5))) == 1


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ("hum", r"texts is 'hum' \(str\), expected a list of texts"),
        (None, r"texts is None \(NoneType\), expected a list of texts"),
        (["hum", 5], r"texts\[1\] is 5 \(int\), expected a text"),
        (["hum", " "], r"texts\[1\] is empty"),
    ],
    ids=str,
)
def test_what_cannot_be_described_with_is_named(
    tiny: EncoderBundle, tmp_path: Path, texts: Any, said: str
) -> None:
    with pytest.raises(QueryError, match=said):
        describe(Encoder(tiny, "cpu"), tmp_path / "a.wav", texts)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"path": 5}, r"path is 5 \(int\), expected a path"),
        ({"path": "a\0"}, "a path holds no zero byte"),
        ({"path": ""}, "path is empty, expected a path"),
        ({"model": ["tiny"]}, r"model is \['tiny'\] \(list\), expected a path"),
        ({"device": "gpu"}, r"device is 'gpu' \(str\), expected auto or cpu or cuda"),
        ({"device": None}, r"device is None \(NoneType\), expected auto or cpu or cuda"),
    ],
    ids=str,
)
def test_what_cannot_be_opened_is_named(
    store: Store, tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(QueryError, match=said):
        soundsearch.open_index(**{"path": tmp_path / "index", **arguments})


def test_a_text_of_odd_bytes_is_asked_all_the_same(store: Store) -> None:
    put(store, ROOT, "a.wav", [_towards("hum")])
    (hit,) = Index(store).search(text=os.fsdecode(b"hum \xff"))
    assert hit.path == ROOT / "a.wav"


# ---- describing


def test_words_are_ranked_each_at_its_window(tiny: EncoderBundle, tmp_path: Path) -> None:
    recording = np.concatenate([sounds.tone(BAND_HZ[1]), sounds.tone(BAND_HZ[6])])
    path = sounds.write(tmp_path / "a.wav", recording)

    labels = describe(Encoder(tiny, "cpu"), path, WORDS, top_k=4)

    assert [label.rank for label in labels] == [1, 2, 3, 4]
    assert {labels[0].text, labels[1].text} == {"hum", "squeak"}
    places = {label.text: (label.start_s, label.end_s) for label in labels}
    assert places["hum"] == (0.0, 1.0) and places["squeak"] == (1.0, 2.0)
    scores = [label.score for label in labels]
    assert scores == sorted(scores, reverse=True) and scores[1] > 0.9 > scores[2]


def test_equal_words_stand_in_the_order_given(tiny: EncoderBundle, tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.noise())
    labels = describe(Encoder(tiny, "cpu"), path, ["b", "hum", "a", "c"])
    assert [label.text for label in labels if label.text != "hum"] == ["b", "a", "c"]


def test_labels_go_through_the_prompt(tiny: EncoderBundle, tmp_path: Path) -> None:
    text = TextConfig(max_tokens=16, prompt="hiss {x} {}")  # other braces are plain text
    encoder = Encoder(dataclasses.replace(tiny, text=text), "cpu")
    path = sounds.write(tmp_path / "a.wav", sounds.tone(BAND_HZ[7]))
    (bare,) = describe(encoder, path, ["unheard"])
    (label,) = describe(encoder, path, ["unheard"], as_labels=True)
    assert label.text == "unheard" and label.score > bare.score + 0.2


def test_a_text_near_to_everything_does_not_describe_everything(
    tiny: EncoderBundle, tmp_path: Path
) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.tone(BAND_HZ[6]) + sounds.noise())
    # All eight words at once lie near to any sound, and no nearer to this one.
    texts = [" ".join(WORDS), "hum", "squeak"]
    plain = describe(Encoder(tiny, "cpu"), path, texts)
    assert [label.relevance for label in plain] == [None] * 3

    calibrated = calibrate(tiny)
    labels = describe(Encoder(calibrated, "cpu"), path, texts)

    cosines = {label.text: label.cosine for label in plain}
    assert {label.text: label.cosine for label in labels} == cosines
    by_cosine = sorted(texts, key=lambda text: -cosines[text])
    assert [label.text for label in plain] == by_cosine
    calibration = Calibration.of(calibrated)
    assert calibration is not None
    queries = Encoder(calibrated, "cpu").embed_text(texts)
    column = np.array([[cosines[text]] for text in texts])
    expected = dict(zip(texts, calibration.relevance("text", queries, column)[:, 0], strict=True))
    by_relevance = sorted(texts, key=lambda text: -expected[text])
    assert [label.text for label in labels] == by_relevance != by_cosine
    assert [label.score for label in labels] == pytest.approx(
        [expected[text] for text in by_relevance], abs=1e-5
    )


def test_no_words_describe_nothing(tiny: EncoderBundle, tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.noise())
    assert describe(Encoder(tiny, "cpu"), path, []) == []
    assert describe(Encoder(calibrate(tiny), "cpu"), path, []) == []
    with pytest.raises(QueryError, match="top_k is 0"):
        describe(Encoder(tiny, "cpu"), path, WORDS, top_k=0)


# ---- the front door


def test_the_front_door(store: Store, library: Path, tmp_path: Path) -> None:
    with soundsearch.open_index(tmp_path / "index", device="cpu") as index:
        hits = index.search(text="hiss", top_k=2)
        labels = index.describe(library / "hum.wav", WORDS, top_k=1)
    assert isinstance(index, soundsearch.Index) and isinstance(hits[0], soundsearch.Hit)
    assert hits[0].path == library / "hiss.wav" and labels[0].text == "hum"
    with soundsearch.open_index() as index:  # SOUNDSEARCH_INDEX
        assert index.search(text="hiss", top_k=2) == hits


def test_no_index_at_the_front_door(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no index at") as caught:
        soundsearch.open_index(tmp_path / "none")
    assert isinstance(caught.value, soundsearch.SoundsearchError)
    assert soundsearch.SoundsearchError is SoundsearchError
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = soundsearch.Nothing


def test_an_index_on_a_read_only_disk_answers(tiny: EncoderBundle, each_kind: str) -> None:
    if each_kind == "postgresql":
        pytest.skip("it lies on no disk of ours")
    with open_folder() as folder:
        with contextlib.closing(create_index(folder / "index", tiny)) as made:
            put(made, ROOT, "hiss.wav", [_towards("hiss")])
            put(made, ROOT, "rumble.wav", [_towards("rumble")])
        (folder / "index").chmod(0o555)
        soundsearch.open_index(folder / "index").close()  # imports before rights are dropped
        for leftover in (folder / "index").glob("soundsearch.db-*"):
            leftover.unlink()
        with ordinary_user():
            if os.geteuid() != os.getuid():  # else the folder is our own and open to us
                with pytest.raises(PermissionError):
                    (folder / "index" / "probe").touch()
            with soundsearch.open_index(folder / "index") as index:
                assert _names(index.search(text="hiss", top_k=1)) == ["hiss.wav"]
                with pytest.raises(StoreError, match="cannot be written"), index.store.writer():
                    pass
