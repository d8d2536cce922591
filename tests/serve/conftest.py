"""A small library of every kind of file, indexed once for each module, and served."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import soundsearch
from soundsearch.encoder.bundle import EncoderBundle
from tests.serve.served import Client, serving
from tests.sounds import encode, tone, write
from tests.tiny_encoder import BAND_HZ, WORDS

HOSTILE = "<img src=x onerror=alert(1)>.wav"
NOT_UTF8 = b"odd \xff.wav"


@dataclass(frozen=True)
class Site:
    """What is served: an index of a library, and a client."""

    library: Path
    index: Path
    client: Client

    def id_of(self, name: str) -> int:
        """The id of the recording at a path in the library."""
        with soundsearch.open_index(self.index) as index:
            return index.show(self.library / name).recording.recording_id

    def at(self, name: str, what: str = "") -> str:
        """The path of a recording in the API."""
        return f"/api/recordings/{self.id_of(name)}{what}"


def write_library(folder: Path) -> None:
    """Tones named by their words, a long recording, copies, odd names, and formats of all kinds."""
    for word, hz in zip(WORDS, BAND_HZ, strict=True):
        write(folder / "tones" / f"{word}.wav", tone(hz), subtype="PCM_16")
    low, high = tone(BAND_HZ[1], 6), tone(BAND_HZ[7], 3)
    write(folder / "long.wav", np.concatenate([low, high, low, high, low]), subtype="PCM_16")
    for name in (HOSTILE, os.fsdecode(NOT_UTF8)):
        shutil.copyfile(folder / "tones" / "hum.wav", folder / name)
    (folder / "broken.wav").write_text("no sound at all\n")
    formats = folder / "formats"
    stereo = np.stack([tone(500, 2, 44100), tone(900, 2, 44100)], axis=1)
    for name, subtype in (
        *(("stereo.wav", "PCM_24"), ("float.wav", "FLOAT"), ("adpcm.wav", "IMA_ADPCM")),
        *(("a.flac", "PCM_16"), ("a.ogg", "VORBIS"), ("a.aiff", "PCM_16")),
        *(("a.w64", "PCM_16"), ("a.rf64", "PCM_16"), ("a.caf", "ALAC_16"), ("a.mp3", None)),
    ):
        write(formats / name, stereo, 44100, subtype)
    for name, codec, container in (
        *(("aac.m4a", "aac", "mp4"), ("alac.m4a", "alac", "mp4"), ("a.wma", "wmav2", "asf")),
        ("a.webm", "libopus", "webm"),
    ):
        encode(formats / name, tone(700, 2, 48000), 48000, codec, container)


@pytest.fixture(scope="module", autouse=True)
def _own_temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of temporary files that no other server of this machine uses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
        yield


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, _tiny: EncoderBundle) -> Iterator[Site]:
    """The library, served for all tests of a module, none of which changes it."""
    folder = tmp_path_factory.mktemp("site")
    write_library(folder / "library")
    soundsearch.index_folders(folder / "library", folder / "index", model=_tiny.folder, jobs=1)
    with serving(folder / "index") as client:
        yield Site(folder / "library", folder / "index", client)


@pytest.fixture
def own_site(tmp_path: Path, _tiny: EncoderBundle) -> Iterator[Site]:
    """Eight tones, served for one test, which may change them."""
    for word, hz in zip(WORDS, BAND_HZ, strict=True):
        write(tmp_path / "library" / f"{word}.wav", tone(hz), subtype="PCM_16")
    soundsearch.index_folders(tmp_path / "library", tmp_path / "index", model=_tiny.folder, jobs=1)
    with serving(tmp_path / "index") as client:
        yield Site(tmp_path / "library", tmp_path / "index", client)
