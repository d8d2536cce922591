"""The API answers with the JSON of the command line."""

from __future__ import annotations

import json
import logging.handlers
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soundsearch.search.hits import Hit
from soundsearch.search.index import Index
from soundsearch.serve.state import Limits
from tests.conftest import Run
from tests.serve.answers import answered, names, printed
from tests.serve.conftest import HOSTILE, NOT_UTF8, Site
from tests.serve.served import serving
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ

HISS_HZ = BAND_HZ[7]
#: What people type, and what they do not.
TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from(
            [
                "hum",
                "-",
                ":",
                '"',
                "duration:",
                "<3",
                "in:",
                "/",
                "..",
                "without",
                "recording:1",
                "2:",
            ]
        ),
        max_size=6,
    ).map("".join),
)


# ---- search


def test_a_search_says_what_query_says(soundsearch: Run, site: Site) -> None:
    facts = answered(site, "/api/search", q="hiss duration:<5 without hum", k=3)
    assert facts.pop("more") is True
    assert facts.pop("elapsed_ms") > 0
    (note,) = facts.pop("notes")
    assert "without hum" in note
    for hit in facts["hits"]:
        assert hit.pop("playable") is True
        assert hit.pop("audio_type") in ("audio/wav", "audio/webm")
    assert facts == printed(soundsearch, site, "query", "hiss duration:<5 without hum", "-k", 3)
    assert names(facts)[0] == "hiss.wav"


@pytest.mark.parametrize(
    ("options", "values"),
    [
        (["--by", "sound"], {"by": "sound"}),
        (["--by", "words", "--no-unique"], {"by": "words", "unique": "false"}),
        (["--min-score", "0.6"], {"min_score": 0.6}),
        (["--passages", "1"], {"passages": 1}),
        (
            ["--filter", "format:flac", "--filter", "-format:wav"],
            {"filter": ["format:flac", "-format:wav"]},
        ),
        (["--plus", "2:beep", "--minus", "0.5:note"], {"plus": ["2:beep"], "minus": ["0.5:note"]}),
        (["--in", "library/tones"], {"in": ["library/tones"]}),
    ],
)
def test_all_options_of_query_are_parameters(
    soundsearch: Run,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    values: dict[str, Any],
) -> None:
    monkeypatch.chdir(site.library.parent)
    facts = answered(site, "/api/search", q="hum", k=5, **values)
    expected = printed(soundsearch, site, "query", "hum", "-k", 5, *options)
    assert facts["query"] == expected["query"]
    assert [hit["path"] for hit in facts["hits"]] == [hit["path"] for hit in expected["hits"]]
    assert [hit["passages"] for hit in facts["hits"]] == [
        hit["passages"] for hit in expected["hits"]
    ]
    assert facts["hits"]


def test_pages_follow_each_other(site: Site) -> None:
    whole = answered(site, "/api/search", q="hum", k=12)
    pages = [answered(site, "/api/search", q="hum", k=4, offset=offset) for offset in (0, 4, 8)]
    assert [hit for page in pages for hit in page["hits"]] == whole["hits"]
    assert [hit["rank"] for hit in whole["hits"]] == list(range(1, 13))
    last = answered(site, "/api/search", q="hum", k=200)
    assert (last["more"], len(last["hits"]) > 12) == (False, True)
    assert answered(site, "/api/search", q="hum", offset=1000)["hits"] == []


def test_filters_alone_list_by_path(site: Site) -> None:
    facts = answered(site, "/api/search", q="in:formats format:flac")
    assert names(facts) == ["a.flac"]
    assert facts["hits"][0]["score"] is None
    assert answered(site, "/api/search", filter="format:flac")["hits"] == facts["hits"]


def test_passages_of_a_long_recording(site: Site) -> None:
    facts = answered(site, "/api/search", q="hiss", by="sound", k=3, filter="duration:>10")
    (hit,) = facts["hits"]
    assert names(facts) == ["long.wav"]
    assert len(hit["passages"]) == 2
    for passage, begin in zip(hit["passages"], (6.0, 15.0), strict=True):
        assert abs(passage["start_s"] - begin) <= 1


def test_words_that_nothing_knows_are_noted(site: Site) -> None:
    facts = answered(site, "/api/search", q="squaek")
    assert facts["query"]["did_you_mean"] == {"squaek": "squeak"}
    assert any("squeak" in note for note in facts["notes"])


def test_notes_are_those_of_the_request_alone(site: Site) -> None:
    printed = logging.handlers.BufferingHandler(100)
    logging.getLogger().addHandler(printed)
    try:
        assert answered(site, "/api/search", q="hiss without hum")["notes"]
        assert answered(site, "/api/search", q="hiss")["notes"] == []
    finally:
        logging.getLogger().removeHandler(printed)
    assert printed.buffer == [], "nor are they printed by the server"


def test_names_of_any_kind_come_through(site: Site) -> None:
    facts = answered(site, "/api/search", q="hum", k=50, unique="false")
    found = {os.path.basename(os.fsencode(hit["path"])) for hit in facts["hits"]}
    assert {NOT_UTF8, HOSTILE.encode()} <= found


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({}, ("text",)),
        ({"q": "hum", "k": "many"}, ("k", "'many'", "whole number from 1 to 200")),
        ({"q": "hum", "k": 0}, ("k", "'0'", "from 1 to 200")),
        ({"q": "hum", "k": 201}, ("k", "'201'", "from 1 to 200")),
        ({"q": "hum", "offset": -1}, ("offset", "'-1'", "from 0")),
        ({"q": "hum", "by": "smell"}, ("by", "'smell'", "both or sound or words")),
        ({"q": "hum", "unique": "maybe"}, ("unique", "'maybe'", "true or false")),
        ({"q": "hum", "min_score": "nan"}, ("min_score", "'nan'", "from -1 to 1")),
        ({"q": "hum", "min_score": 3}, ("min_score", "'3'", "from -1 to 1")),
        ({"q": "hum duration:soon"}, ("duration:soon",)),
        ({"q": "hum", "filter": "quiet"}, ("quiet",)),
        ({"q": "hum", "in": "/nowhere"}, ("/nowhere", "nothing in it is indexed")),
        ({"q": "hum", "quality": 1}, ("'quality'", "no parameter", "expected q,")),
        ({"q": "hum", "filters": "format:wav"}, ("'filters'", "did you mean filter?")),
        ({"q": ["hum", "hiss"]}, ("q", "given 2 times")),
        ({"q": "x" * 10_001}, ("q", "xxx...", "a text")),
        ({"q": "without rain"}, ("without rain", "say also what to find")),
        ({"q": "hum", "plus": "0:rain"}, ("weight", "0:rain")),
        ({"q": "hum", "minus": "recording:7x"}, ("minus", "recording:7x", "recording:ID")),
    ],
)
def test_impossible_parameters_are_refused_in_one_line(
    site: Site, values: dict[str, Any], facts: tuple[str, ...]
) -> None:
    answer = site.client.get("/api/search", **values)
    assert answer.status == 400
    for fact in facts:
        assert fact in answer.error


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "q": TEXTS,
            "filter": st.lists(TEXTS, max_size=2),
            "in": st.lists(TEXTS, max_size=2),
            "plus": st.lists(TEXTS, max_size=2),
            "minus": st.lists(TEXTS, max_size=2),
            "k": st.sampled_from(["1", "200", "١", "1_0", "1e1", ""]),
            "offset": st.sampled_from(["0", "1800", "99999999999999999999", "-0"]),
            "min_score": st.sampled_from(["0", "-0.0", "1e-400", "inf", ""]),
        },
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_asked_there_is_an_answer_or_one_line(
    site: Site, values: dict[str, Any]
) -> None:
    answer = site.client.get("/api/search", **values)
    assert answer.status in (200, 400, 404), (answer.status, answer.body)
    if answer.status != 200:
        assert answer.error


def test_questions_that_nobody_waits_for_are_not_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As somebody types, each letter gives up the question before."""
    asked: list[str] = []
    search = Index.search

    def slow(index: Index, **what: Any) -> list[Hit]:
        asked.append(what["text"])
        time.sleep(0.3)
        return search(index, **what)

    monkeypatch.setattr(Index, "search", slow)
    limits = Limits(n_searches=1)
    with serving(site.index, limits) as client:
        asked.clear()
        for i in range(20):
            connection = client.connect()
            connection.request("GET", f"/api/search?q=hum{i}")
            connection.close()
        assert client.get("/api/search", q="hiss").json["hits"]
    assert len(asked) < 10
    assert asked[-1] == "hiss"


def test_no_path_of_a_question_is_opened(site: Site, tmp_path: Path) -> None:
    """A text that names a file stays a text: else a client could ask what files hold."""
    secret = write(tmp_path / "secret.wav", tone(HISS_HZ))
    facts = answered(site, "/api/search", q="hum", plus=str(secret))
    assert facts["query"]["plus"][1] == {"weight": 1.0, "text": str(secret)}


def test_a_recording_as_a_part_of_a_question(site: Site) -> None:
    hiss = site.id_of("tones/hiss.wav")
    facts = answered(site, "/api/search", q="hum", by="sound", minus=f"2:recording:{hiss}", k=5)
    assert facts["query"]["minus"][0]["audio"] == str(site.library / "tones" / "hiss.wav")
    assert facts["query"]["minus"][0]["weight"] == 2.0
    unknown = site.client.get("/api/search", q="hum", plus="recording:123456")
    assert (unknown.status, "123456" in unknown.error) == (404, True)


# ---- by example


def test_similar_to_an_indexed_recording(soundsearch: Run, site: Site) -> None:
    path = site.library / "tones" / "beep.wav"
    facts = answered(site, "/api/similar", recording=site.id_of("tones/beep.wav"), k=4)
    expected = printed(soundsearch, site, "similar", path, "-k", 4)
    assert facts["query"] == expected["query"]
    assert names(facts) == names(expected)
    assert str(path) not in {hit["path"] for hit in facts["hits"]}


def test_similar_to_a_passage(soundsearch: Run, site: Site) -> None:
    values = {"recording": site.id_of("long.wav"), "start": 6.5, "end": 8.5}
    facts = answered(site, "/api/similar", k=1, **values)
    assert names(facts) == ["hiss.wav"]
    part = facts["query"]["plus"][0]
    assert (part["start_s"], part["end_s"]) == (6.5, 8.5)


def test_similar_with_words(site: Site) -> None:
    hum, hiss = site.id_of("tones/hum.wav"), BAND_HZ[7]
    facts = answered(site, "/api/similar", recording=hum, q="hiss", k=1)
    assert facts["query"]["text"] == "hiss"
    assert [part.get("text") for part in facts["query"]["plus"]] == ["hiss", None]
    assert hiss


def test_similar_to_an_upload(site: Site, tmp_path: Path) -> None:
    upload = write(tmp_path / "mine.flac", tone(HISS_HZ, 2)).read_bytes()
    answer = site.client.upload("/api/similar", upload, "mine.flac", k=1, filter="in:tones")
    assert answer.status == 200, answer.body
    assert names(answer.json) == ["hiss.wav"]
    assert answer.json["query"]["audio"] == "-"
    assert answer.json["query"]["filters"] == ["in:tones"]


def test_a_passage_of_an_upload(site: Site, tmp_path: Path) -> None:
    sound = np.concatenate([tone(BAND_HZ[2], 3), tone(HISS_HZ, 2)])
    upload = write(tmp_path / "mine.wav", sound).read_bytes()
    for values, word in (({"end": 3}, "drone"), ({"start": 3}, "hiss")):
        answer = site.client.upload("/api/similar", upload, k=1, filter="in:tones", **values)
        assert names(answer.json) == [f"{word}.wav"]


def test_describe(soundsearch: Run, site: Site) -> None:
    path = site.library / "tones" / "hum.wav"
    stored = answered(site, "/api/describe", recording=site.id_of("tones/hum.wav"), k=3)
    uploaded = site.client.upload("/api/describe", path.read_bytes(), k=3).json
    expected = json.loads(
        soundsearch("describe", path, "-k", 3, "--json", "--model", "tiny").stdout
    )
    assert uploaded["labels"] == expected["labels"]
    # What is stored was rounded to float16.
    for label, same in zip(stored["labels"], expected["labels"], strict=True):
        assert label == pytest.approx(same, abs=1e-3)
    assert stored["query"] == expected["query"]
    assert uploaded["query"] == {"audio": "-"}


def test_describe_a_passage(site: Site) -> None:
    recording = site.id_of("long.wav")
    labels = answered(site, "/api/describe", recording=recording, start=6, end=9, k=1)["labels"]
    assert 5 <= labels[0]["start_s"] < labels[0]["end_s"] <= 10
    nothing = site.client.get("/api/describe", recording=recording, start=400)
    assert (nothing.status, "long.wav" in nothing.error) == (400, True)


@pytest.mark.parametrize("path", ["/api/similar", "/api/describe"])
@pytest.mark.parametrize(
    ("values", "status", "facts"),
    [
        ({}, 400, ("recording is missing",)),
        ({"recording": 999}, 404, ("recording 999",)),
        ({"recording": 2**63}, 400, ("recording is", str(2**63))),
        ({"recording": 1, "start": "inf"}, 400, ("start is 'inf'",)),
        ({"recording": 1, "start": 3, "end": 2}, 400, ("end is 2", "start, which is 3")),
        ({"recording": 1, "start": 0, "end": 601}, 400, ("601 s", "at most 600 s")),
    ],
)
def test_impossible_examples(
    site: Site, path: str, values: dict[str, Any], status: int, facts: tuple[str, ...]
) -> None:
    answer = site.client.get(path, **values)
    assert answer.status == status
    for fact in facts:
        assert fact in answer.error
