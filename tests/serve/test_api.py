"""The API answers with the JSON of the command line."""

from __future__ import annotations

import base64
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
from soundsearch.serve.endpoints import ENDPOINTS, document
from soundsearch.serve.state import Limits
from tests.conftest import Run
from tests.serve.conftest import HOSTILE, NOT_UTF8, Site
from tests.serve.served import serving
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ, WORDS

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


def printed(soundsearch: Run, site: Site, *arguments: object) -> dict[str, Any]:
    """What the command line says in its place."""
    facts: dict[str, Any] = json.loads(
        soundsearch(*arguments, "--json", "--index", site.index).stdout
    )
    return facts


def answered(site: Site, path: str, **values: Any) -> dict[str, Any]:
    answer = site.client.get(path, **values)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    facts: dict[str, Any] = answer.json
    return facts


def names(facts: dict[str, Any]) -> list[str]:
    return [Path(hit["path"]).name for hit in facts["hits"]]


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
    assert stored["labels"] == uploaded["labels"] == expected["labels"]
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


# ---- one recording


def test_details_of_a_recording(soundsearch: Run, site: Site) -> None:
    facts = answered(site, site.at("tones/hum.wav"))
    for one in (facts["recording"], *facts["nearest"]):
        assert isinstance(one.pop("playable"), bool)
        del one["audio_type"]
    assert facts == printed(soundsearch, site, "show", site.library / "tones" / "hum.wav")
    assert {copy["recording_id"] for copy in facts["copies"]} == {
        site.id_of(HOSTILE),
        site.id_of(os.fsdecode(NOT_UTF8)),
    }


def test_details_of_a_recording_that_failed(site: Site) -> None:
    facts = answered(site, site.at("broken.wav"))
    assert facts["recording"]["state"] == "failed"
    assert (facts["recording"]["playable"], facts["nearest"]) == (False, [])


def test_duplicates_of_a_recording(soundsearch: Run, site: Site) -> None:
    (group,) = answered(site, site.at("tones/hum.wav", "/duplicates"))["groups"]
    assert group in printed(soundsearch, site, "duplicates")["groups"]
    assert len(group["copies"]) == 3
    assert answered(site, site.at("tones/hiss.wav", "/duplicates"))["groups"] == []
    assert answered(site, site.at("broken.wav", "/duplicates"))["groups"] == []


def test_the_waveform_of_a_recording(site: Site) -> None:
    facts = answered(site, site.at("long.wav", "/peaks"), points=100)
    values = np.frombuffer(base64.b64decode(facts["peaks"]), np.uint8).reshape(-1, 2)
    assert facts["seconds"] == 24.0
    assert 24 * facts["per_second"] <= len(values) <= 100
    amplitude = (values[3:-3].astype(float) / 255) ** 2
    assert np.abs(amplitude - 0.5).max() < 0.05


@pytest.mark.parametrize("what", ["", "/duplicates", "/peaks", "/audio", "/excerpt?end=1"])
@pytest.mark.parametrize("number", [0, 424242, 2**70, "1" * 5000])
def test_recordings_that_there_are_not(site: Site, what: str, number: int | str) -> None:
    answer = site.client.get(f"/api/recordings/{number}{what}")
    assert (answer.status, str(number) in answer.error) == (404, True)


# ---- the whole


def test_status(soundsearch: Run, site: Site) -> None:
    facts = answered(site, "/api/status")
    assert facts == printed(soundsearch, site, "status")
    assert facts["n_failed"] == 1


@pytest.mark.parametrize("path", ["/api/nothing", "/nothing", "/api/recordings/x", "/page/none.js"])
def test_there_is_no_such_page(site: Site, path: str) -> None:
    answer = site.client.get(path)
    assert (answer.status, path in answer.error) == (404, True)


def test_a_wrong_method_is_named(site: Site) -> None:
    answer = site.client.post("/api/search")
    assert (answer.status, "POST" in answer.error) == (405, True)


def test_the_page_is_served(site: Site) -> None:
    answer = site.client.get("/")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    again = site.client.get("/page/index.html")
    assert again.body == answer.body
    unchanged = site.client.get("/page/index.html", {"If-None-Match": again.headers["etag"]})
    assert (unchanged.status, unchanged.body) == (304, b"")


def test_the_document_names_all_parameters_of_each_request(site: Site) -> None:
    found = answered(site, "/api/openapi.json")
    del found["schema"]
    assert found == json.loads(json.dumps(document()))
    assert len(ENDPOINTS) == sum(len(operations) for operations in found["paths"].values())
    names = set()
    for endpoint in ENDPOINTS:
        operation = found["paths"][endpoint.path.replace(":number}", "}")][endpoint.method.lower()]
        names.add(operation["operationId"])
        assert operation["summary"]
        if endpoint.body == "form":
            fields = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
            told = set(fields["properties"]) - {"file"}
        else:
            told = {p["name"] for p in operation["parameters"] if p["in"] == "query"}
        assert told == {parameter.name for parameter in endpoint.parameters}
    assert len(names) == len(ENDPOINTS)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
def test_every_request_refuses_what_its_document_does_not_name(site: Site, endpoint: Any) -> None:
    path = endpoint.path.replace("{id:number}", "1")
    if endpoint.body == "form":
        answer = site.client.upload(path, b"sound", nonsense="1")
    else:
        answer = site.client.post(f"{path}?nonsense=1", method=endpoint.method)
    assert (answer.status, "'nonsense'" in answer.error) == (400, True)


def test_all_words_find_their_tones(site: Site) -> None:
    for word in WORDS:
        facts = answered(site, "/api/search", q=word, by="sound", k=1, filter="in:tones")
        assert names(facts) == [f"{word}.wav"]
