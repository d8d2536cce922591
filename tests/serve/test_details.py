"""Recordings, the state of the index, and the document of the API."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import numpy as np
import pytest

from soundsearch.serve.endpoints import ENDPOINTS, document
from tests.conftest import Run
from tests.serve.answers import answered, names, printed
from tests.serve.conftest import HOSTILE, NOT_UTF8, Site
from tests.tiny_encoder import WORDS

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
