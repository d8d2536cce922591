"""Sound as browsers get it: files with ranges, excerpts of what they do not play."""

from __future__ import annotations

import io
import struct
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import soundsearch
from soundsearch.audio.recording import AudioFile
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.serve.excerpt_files import ExcerptFiles
from soundsearch.serve.responses import BLOCK_BYTES, OpenedFile, _range_of
from soundsearch.store import FileFacts, Indexed, Store
from tests.serve.conftest import HOSTILE, Site
from tests.serve.served import Answer, serving
from tests.sounds import tone

#: What is played, by name in the library: by which type of content, None for an excerpt.
TYPES = {
    "tones/hum.wav": "audio/wav",
    "formats/stereo.wav": "audio/wav",
    "formats/float.wav": "audio/wav",
    "formats/a.flac": "audio/flac",
    "formats/a.ogg": "audio/ogg",
    "formats/a.mp3": "audio/mpeg",
    "formats/a.webm": "audio/webm",
    "formats/aac.m4a": "audio/mp4",
    "formats/alac.m4a": None,
    "formats/a.wma": None,
    "formats/a.aiff": None,
    "formats/a.w64": None,
    "formats/a.rf64": None,
    "formats/a.caf": None,
}


@pytest.mark.parametrize(("name", "type_"), TYPES.items())
def test_what_browsers_play_is_served_as_it_is(site: Site, name: str, type_: str | None) -> None:
    recording = site.client.get(site.at(name)).json["recording"]
    assert (recording["playable"], recording["audio_type"]) == (type_ is not None, type_)
    answer = site.client.get(site.at(name, "/audio"))
    if type_ is None:
        assert answer.status == 415
        assert Path(name).name in answer.error and f"{site.at(name)}/excerpt" in answer.error
    else:
        assert (answer.status, answer.headers["content-type"]) == (200, type_)
        assert answer.body == (site.library / name).read_bytes()


def test_not_every_wav_file_is_pcm(site: Site) -> None:
    answer = site.client.get(site.at("formats/adpcm.wav", "/audio"))
    assert answer.status == 415


@pytest.mark.parametrize("name", [*TYPES, "formats/adpcm.wav"])
def test_an_excerpt_of_every_format_is_a_wav_file(site: Site, name: str) -> None:
    answer = site.client.get(site.at(name, "/excerpt"), start=0.25, end=0.75)
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/wav")
    with soundfile.SoundFile(io.BytesIO(answer.body)) as found:
        samples, rate = found.read(dtype="float32", always_2d=True), found.samplerate
    with AudioFile(site.library / name) as file:
        whole = file.all_channels()
    expected = whole[:, round(0.25 * rate) : round(0.75 * rate)].T
    np.testing.assert_allclose(samples, expected, atol=1 / 32767)


def test_samples_of_pcm_files_are_the_same_bit_for_bit(site: Site) -> None:
    answer = site.client.get(site.at("formats/stereo.wav", "/excerpt"), start=0.5, end=1.5)
    samples, _ = soundfile.read(io.BytesIO(answer.body), dtype="int32")
    whole, _ = soundfile.read(site.library / "formats" / "stereo.wav", dtype="int32")
    np.testing.assert_array_equal(samples, whole[22050:66150])


def test_an_excerpt_is_downloaded_under_the_name_of_its_recording(site: Site) -> None:
    answer = site.client.get(site.at("long.wav", "/excerpt"), start=6, end=9, download="true")
    assert 'filename="long 0m06s.wav"' in answer.headers["content-disposition"]
    assert (
        "content-disposition"
        not in site.client.get(site.at("long.wav", "/excerpt"), start=6, end=9).headers
    )
    whole = site.client.get(site.at("formats/a.wma", "/audio"), download=1)
    assert whole.status == 200
    assert whole.body == (site.library / "formats" / "a.wma").read_bytes()


@pytest.mark.parametrize(
    ("values", "status", "facts"),
    [
        ({}, 400, ("end is missing",)),
        ({"start": 2, "end": 1}, 400, ("start is 2", "end is 1")),
        ({"start": 1, "end": 1}, 400, ("end is 1",)),
        ({"start": 0, "end": 601}, 400, ("end is 601", "600 s")),
        ({"start": -1, "end": 1}, 400, ("start is '-1'",)),
        ({"start": "nan", "end": 1}, 400, ("start is 'nan'",)),
        ({"start": 0, "end": "inf"}, 400, ("end is 'inf'",)),
        ({"start": 30, "end": 40}, 422, ("long.wav", "24.0 s")),
    ],
)
def test_impossible_excerpts(
    site: Site, values: dict[str, Any], status: int, facts: tuple[str, ...]
) -> None:
    answer = site.client.get(site.at("long.wav", "/excerpt"), **values)
    assert answer.status == status
    for fact in facts:
        assert fact in answer.error


def test_an_excerpt_of_what_is_no_sound(site: Site) -> None:
    answer = site.client.get(site.at("broken.wav", "/excerpt"), end=1)
    assert (answer.status, "broken.wav" in answer.error) == (422, True)
    assert site.client.get(site.at("broken.wav", "/audio")).status == 415


# ---- ranges


def ranged(site: Site, header: str, name: str = "tones/hum.wav", **more: str) -> Answer:
    return site.client.get(site.at(name, "/audio"), {"Range": header, **more})


@pytest.mark.parametrize(
    ("header", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=100-", 100, None),
        ("bytes=-7", -7, None),
        ("bytes=0-99999999", 0, None),
        ("bytes=-99999999", 0, None),
    ],
)
def test_a_range_of_a_file(site: Site, header: str, begin: int, end: int | None) -> None:
    whole = (site.library / "tones" / "hum.wav").read_bytes()
    answer = ranged(site, header)
    assert answer.status == 206
    assert answer.body == whole[begin:end]
    first = begin % len(whole)
    last = first + len(answer.body) - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
    assert answer.headers["content-length"] == str(len(answer.body))


@pytest.mark.parametrize("header", ["bytes=16044-", "bytes=99999-100000", "bytes=-0"])
def test_a_range_behind_the_end(site: Site, header: str) -> None:
    answer = ranged(site, header)
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["content-range"] == "bytes */16044"


@pytest.mark.parametrize(
    "header", ["bytes=5-2", "lines=1-2", "bytes=a-b", "bytes=1-2,4-5", "bytes=-", "bytes", ""]
)
def test_what_is_no_range_gets_the_whole_file(site: Site, header: str) -> None:
    answer = ranged(site, header)
    assert answer.status == 200
    assert answer.body == (site.library / "tones" / "hum.wav").read_bytes()
    assert answer.headers["accept-ranges"] == "bytes"


def test_a_range_of_a_file_that_changed_is_the_whole_file(site: Site) -> None:
    tag = ranged(site, "bytes=0-0").headers["etag"]
    assert ranged(site, "bytes=0-0", **{"If-Range": tag}).status == 206
    assert ranged(site, "bytes=0-0", **{"If-Range": '"other"'}).status == 200
    unchanged = site.client.get(site.at("tones/hum.wav", "/audio"), {"If-None-Match": tag})
    assert (unchanged.status, unchanged.body) == (304, b"")


def test_heads_have_no_body(site: Site) -> None:
    answer = site.client.send("HEAD", site.at("tones/hum.wav", "/audio"))
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "16044")


def test_ranges_of_an_excerpt(site: Site) -> None:
    at = f"{site.at('formats/a.caf')}/excerpt?start=0&end=1"
    whole = site.client.get(at).body
    answer = site.client.get(at, {"Range": "bytes=1000-1999"})
    assert (answer.status, answer.body) == (206, whole[1000:2000])


@given(n_bytes=st.integers(1, 50), begin=st.integers(0, 60), length=st.integers(0, 60))
def test_ranges_are_slices(n_bytes: int, begin: int, length: int) -> None:
    content = bytes(range(n_bytes))
    found = _range_of(f"bytes={begin}-{begin + length}", n_bytes)
    assert found is not None
    assert content[slice(*found)] == content[begin : begin + length + 1]
    found = _range_of(f"bytes=-{length}", n_bytes)
    assert found is not None
    assert content[slice(*found)] == (content[-length:] if length else b"")


# ---- long recordings


def test_a_recording_of_4_gb(
    tmp_path: Path, tiny: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A WAV file of nearly 4 GiB, all of it a hole but its header and its end."""
    rate, n_samples = 48000, ((1 << 32) - 100) // 2
    path = tmp_path / "library" / "long.wav"
    path.parent.mkdir()
    end = (tone(1000, 2, rate) * 32767).astype("<i2")
    with path.open("wb") as file:
        head = (b"RIFF", 36 + 2 * n_samples, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
        file.write(struct.pack("<4sI4s4sIHHIIHH", *head))
        file.write(struct.pack("<4sI", b"data", 2 * n_samples))
        file.seek(44 + 2 * (n_samples - len(end)))
        file.write(end.tobytes())
    write_row(tmp_path / "index", tiny, path, n_samples / rate)
    n_bytes = path.stat().st_size
    read: list[int] = []
    block = OpenedFile._block
    monkeypatch.setattr(
        OpenedFile, "_block", lambda self, begin, n: read.append(n) or block(self, begin, n)
    )
    with serving(tmp_path / "index") as client:
        answer = client.get("/api/recordings/1/audio", {"Range": f"bytes={n_bytes - 10_000}-"})
        assert (answer.status, answer.body) == (206, end.tobytes()[-10_000:])
        duration_s = n_samples / rate
        answer = client.get("/api/recordings/1/excerpt", start=duration_s - 1, end=duration_s)
        samples, _ = soundfile.read(io.BytesIO(answer.body), dtype="int16")
        np.testing.assert_array_equal(samples, end[-len(samples) :])
        assert abs(len(samples) - rate) <= 1
        with closing(client.connect()) as connection:
            connection.request("GET", "/api/recordings/1/audio")  # and goes away in the middle
            response = connection.getresponse()
            assert int(response.getheader("content-length", "0")) == n_bytes
            assert response.read(4) == b"RIFF"
        n_read = -1
        while n_read != len(read):
            n_read = len(read)
            time.sleep(0.3)
        assert 0 < n_read < n_bytes // BLOCK_BYTES // 2, "it is not read to its end for nobody"
        assert client.get("/api/status").status == 200


def write_row(index: Path, bundle: EncoderBundle, path: Path, duration_s: float) -> None:
    """An index that knows one recording, which is not read for it."""
    from soundsearch.store.pinned import create_index

    store: Store = create_index(index, bundle)
    facts = path.stat()
    with store.writer() as writer, writer.transaction() as changes:
        root = changes.add_root(path.parent)
        file = FileFacts(root.id, path.name, facts.st_size, facts.st_mtime_ns)
        embedding = np.eye(1, bundle.dim, dtype=np.float32)
        sound = (bytes(16), duration_s, 48000, 1, "WAV", [(0.0, 1.0)], embedding)
        changes.put(Indexed(file, *sound))
    store.close()


# ---- files of excerpts


def test_excerpts_are_kept_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundsearch.serve.excerpt_files.MOST_FILES", 3)
    files, cuts = ExcerptFiles(tmp_path), []

    def get(key: str) -> bytes:
        def cut(path: Path) -> None:
            cuts.append(key)
            path.write_bytes(key.encode())

        with files.get(key, cut) as file:
            return file.read()

    for key in "aabcadae":
        assert get(key) == key.encode()
    assert cuts == ["a", "b", "c", "d", "e"]
    assert len(list(tmp_path.iterdir())) == 3
    assert get("b") == b"b"
    assert cuts[-1] == "b"


def test_excerpts_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundsearch.serve.excerpt_files.MOST_BYTES", 100)
    files = ExcerptFiles(tmp_path)
    for size in (40, 40, 40, 500):
        with files.get(object(), lambda path, size=size: path.write_bytes(bytes(size))) as file:
            assert len(file.read()) == size
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [500]


def test_an_excerpt_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def cut(path: Path) -> None:
        path.write_bytes(b"half")
        raise soundsearch.SoundsearchError("no")

    with pytest.raises(soundsearch.SoundsearchError):
        ExcerptFiles(tmp_path).get("a", cut)
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_hostile_name_is_served(site: Site) -> None:
    answer = site.client.get(site.at(HOSTILE, "/audio"))
    assert answer.body == (site.library / HOSTILE).read_bytes()
