"""Passages that were collected: as a table, a playlist, a zip; and the folder of a recording shown."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.serve.conftest import HOSTILE, NOT_UTF8, Site
from tests.serve.served import Answer


def posted(site: Site, kind: str, items: Any) -> Answer:
    return site.client.post(f"/api/basket.{kind}", json.dumps(items).encode())


def item(site: Site, name: str, **times: float) -> dict[str, Any]:
    return {"recording_id": site.id_of(name), **times}


def test_a_zip_of_excerpts(site: Site) -> None:
    items = [
        item(site, "long.wav", start=6.5, end=8),
        item(site, "formats/alac.m4a", start=0.5, end=1),
        item(site, HOSTILE),
        item(site, os.fsdecode(NOT_UTF8), start=0, end=0.5),
    ]
    answer = posted(site, "zip", items)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/zip")
    assert 'filename="soundsearch.zip"' in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "01 long 0m06s.wav",
            "02 alac 0m00s.wav",
            f"03 {Path(HOSTILE).stem} 0m00s.wav",
            "04 odd \ufffd 0m00s.wav",
        ]
        samples, rate = soundfile.read(io.BytesIO(archive.read("01 long 0m06s.wav")), dtype="int16")
    whole, _ = soundfile.read(site.library / "long.wav", dtype="int16")
    np.testing.assert_array_equal(samples, whole[6 * rate : round(8.5 * rate)])  # with handles


def test_what_is_left_out_of_a_zip_is_said(own_site: Site) -> None:
    items = [item(own_site, f"{name}.wav") for name in ("hum", "hiss")]
    (own_site.library / "hum.wav").unlink()
    answer = posted(own_site, "zip", items)
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.namelist() == ["02 hiss 0m00s.wav", "left out.txt"]
        text = archive.read("left out.txt").decode()
    assert text.startswith(str(own_site.library / "hum.wav"))


def test_a_zip_is_bounded(site: Site) -> None:
    one = item(site, "long.wav", start=0, end=100)  # of a passage, the first 60 s count
    assert posted(site, "csv", [one] * 31).status == 200
    answer = posted(site, "zip", [one] * 31)
    assert (answer.status, "1860 s" in answer.error, "1800 s" in answer.error) == (400, True, True)


def test_a_table(site: Site) -> None:
    items = [item(site, "long.wav", start=6.5, end=8), item(site, "tones/hum.wav")]
    answer = posted(site, "csv", items)
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert [(row["rank"], row["start_s"], row["end_s"], row["path"]) for row in rows] == [
        ("1", "6.5", "8.0", str(site.library / "long.wav")),
        ("2", "0.0", "1.0", str(site.library / "tones" / "hum.wav")),
    ]


def test_a_playlist(site: Site) -> None:
    answer = posted(site, "m3u", [item(site, "long.wav", start=6.5, end=8)])
    lines = answer.body.decode().splitlines()
    assert lines[0] == "#EXTM3U"
    assert lines[2:] == ["#EXTVLCOPT:start-time=6.500", str(site.library / "long.wav")]
    assert 'filename="soundsearch.m3u8"' in answer.headers["content-disposition"]


def test_an_absent_file_is_left_out_of_a_playlist(own_site: Site) -> None:
    items = [item(own_site, f"{name}.wav") for name in ("hum", "hiss")]
    (own_site.library / "hum.wav").unlink()
    lines = posted(own_site, "m3u", items).body.decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        str(own_site.library / "hiss.wav")
    ]


@pytest.mark.parametrize("kind", ["zip", "csv", "m3u"])
@pytest.mark.parametrize(
    ("body", "status", "facts"),
    [
        (b"", 400, ("no JSON",)),
        (b"{", 400, ("no JSON",)),
        (b"[" * 100_000, 400, ("no JSON",)),
        (b"[]", 400, ("list of 0", "1 to 1000")),
        (b"{}", 400, ("{}", "list of 1 to 1000")),
        (json.dumps([{"recording_id": 1}] * 1001).encode(), 400, ("list of 1001",)),
        (b"[1]", 400, ("item 1 is 1",)),
        (b'[{"recording_id": "1"}]', 400, ("recording_id of item 1", "'1'")),
        (b'[{"recording_id": true}]', 400, ("recording_id of item 1", "True")),
        (b'[{"recording_id": 1e999}]', 400, ("recording_id of item 1", "inf")),
        (b'[{"recording_id": 99999}]', 404, ("99999",)),
        (b'[{"recording_id": 1, "path": "/etc/passwd"}]', 400, ("item 1", "/etc/passwd")),
        (b'[{"recording_id": 1, "start": 3, "end": 2}]', 400, ("item 1", "end after start")),
        (b'[{"recording_id": 1, "start": -1, "end": 2}]', 400, ("item 1",)),
        (b'[{"recording_id": 1, "start": 0, "end": NaN}]', 400, ("item 1", "nan")),
        (b"[" + b" " * (1 << 20) + b"]", 413, ("1,048,576",)),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else None,
)
def test_impossible_lists(
    site: Site, kind: str, body: bytes, status: int, facts: tuple[str, ...]
) -> None:
    answer = site.client.post(f"/api/basket.{kind}", body)
    assert answer.status == status
    for fact in facts:
        assert fact in answer.error
    assert len(answer.error) < 300


# ---- the folder of a recording


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that alone is looked through for programs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("soundsearch.desktop._system", lambda: "linux")
    return folder


def test_the_folder_of_a_recording_is_shown(site: Site, programs: Path, tmp_path: Path) -> None:
    program = programs / "dbus-send"
    program.write_text(f'#!/bin/sh\nfor a in "$@"; do echo "$a"; done > {tmp_path}/asked\n')
    program.chmod(0o755)
    answer = site.client.post(site.at(HOSTILE, "/reveal"))
    assert answer.status == 200
    assert answer.json["path"] == str(site.library / HOSTILE)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert f"array:string:{(site.library / HOSTILE).as_uri()}" in asked


def test_a_machine_without_a_file_manager_says_so(site: Site, programs: Path) -> None:
    answer = site.client.post(site.at("long.wav", "/reveal"))
    assert answer.status == 501
    assert str(site.library) in answer.error and "copy the path" in answer.error
