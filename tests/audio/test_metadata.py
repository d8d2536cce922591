"""What files say of themselves: made with tags here, read back, damaged, made hostile."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundsearch.audio.metadata import MOST_CHARACTERS, MOST_FIELD_CHARACTERS, read_metadata


def chunk(name: bytes, content: bytes, order: str = "<") -> bytes:
    return name + struct.pack(f"{order}I", len(content)) + content + b"\0" * (len(content) % 2)


def wave(*chunks: bytes, magic: bytes = b"RIFF") -> io.BytesIO:
    body = b"".join(chunks)
    return io.BytesIO(magic + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)


FORMAT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16))
DATA = chunk(b"data", b"\0\1" * 50)


def info(**texts: str) -> bytes:
    return chunk(
        b"LIST",
        b"INFO"
        + b"".join(chunk(name.encode(), text.encode() + b"\0") for name, text in texts.items()),
    )


def bext(description: bytes) -> bytes:
    return chunk(b"bext", description.ljust(256, b"\0") + b"\0" * 346)


def ixml(body: str) -> bytes:
    return chunk(b"iXML", f'<?xml version="1.0"?><BWFXML>{body}</BWFXML>'.encode())


def test_info_and_bext_and_ixml_and_markers_of_a_wave_file() -> None:
    labels = chunk(
        b"LIST",
        b"adtl"
        + chunk(b"labl", struct.pack("<I", 1) + b"first bark\0")
        + chunk(b"ltxt", struct.pack("<IIIHHHH", 2, 10, 0, 0, 0, 0, 0) + b"howl\0"),
    )
    file = wave(
        FORMAT,
        bext(b"A dog barks in the rain"),
        DATA,
        info(INAM="Dog 3", ICMT="close perspective", ISFT="some editor"),
        ixml("<SCENE>12A</SCENE><TRACK_LIST><TRACK><NAME>boom</NAME></TRACK></TRACK_LIST>"),
        labels,
    )
    assert read_metadata(file) == {
        "description": "A dog barks in the rain",
        "title": "Dog 3",
        "comment": "close perspective",
        "scene": "12A",
        "tracks": "boom",
        "markers": "first bark; howl",
    }
    assert file.tell() == 0


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
def test_chunks_behind_the_sound_of_a_file_of_64_bits(magic: bytes) -> None:
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 500, 100, 50, 0))
    data = b"data" + b"\xff\xff\xff\xff" + b"\0\1" * 50
    assert read_metadata(wave(ds64, FORMAT, data, info(INAM="behind"), magic=magic)) == {
        "title": "behind"
    }


def test_names_and_annotations_of_aiff() -> None:
    body = chunk(b"NAME", b"Gate", ">") + chunk(b"ANNO", b"iron, slow", ">")
    file = io.BytesIO(b"FORM" + struct.pack(">I", 4 + len(body)) + b"AIFF" + body)
    assert read_metadata(file) == {"title": "Gate", "comment": "iron, slow"}


@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".m4a", ".opus"])
def test_tags_of_other_containers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tagged{suffix}"
    codec = {".flac": "flac", ".mp3": "libmp3lame", ".m4a": "aac", ".opus": "libopus"}
    with av.open(path, "w") as out:
        out.metadata.update({"title": "Vögel im Wald", "comment": "früh am Morgen"})
        stream: Any = out.add_stream(codec[suffix], rate=48000, layout="stereo")
        sound = np.zeros((2, 48000), np.float32)
        wanted = stream.codec_context.format.name
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="stereo")
        frame.sample_rate = 48000
        resampler = av.AudioResampler(
            format=wanted, layout="stereo", rate=48000, frame_size=stream.frame_size or 4096
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    with open(path, "rb") as file:
        found = read_metadata(file)
    assert found["title"] == "Vögel im Wald"
    assert found["comment"] == "früh am Morgen"


def test_texts_of_windows_are_read_and_odd_bytes_do_no_harm() -> None:
    assert read_metadata(wave(FORMAT, bext("Glühbirne".encode("cp1252")), DATA)) == {
        "description": "Glühbirne"
    }
    assert read_metadata(wave(FORMAT, bext(b"tab\tand\r\nline \x81 \xff"), DATA)) == {
        "description": "tab and line \ufffd ÿ"
    }


def test_huge_texts_are_cut() -> None:
    files = wave(FORMAT, DATA, *(info(ICMT=f"{i} " + "x" * 100_000) for i in range(20)))
    found = read_metadata(files)
    assert len(found["comment"]) <= MOST_CHARACTERS + 40
    one = read_metadata(wave(FORMAT, DATA, info(ICMT="y" * 100_000)))
    assert one == {"comment": "y" * MOST_FIELD_CHARACTERS}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_that_defines_entities_is_not_looked_at(encoding: str) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><BWFXML><NOTE>&b;</NOTE></BWFXML>'
    file = wave(FORMAT, DATA, chunk(b"iXML", bomb.encode(encoding)), info(INAM="still read"))
    assert read_metadata(file) == {"title": "still read"}


@pytest.mark.parametrize("document", ["<BWFXML><NOTE>open", "", "no xml", "<a>&b;</a>", "<NOTE/>"])
def test_a_document_that_is_none_says_nothing(document: str) -> None:
    assert read_metadata(wave(FORMAT, DATA, chunk(b"iXML", document.encode()))) == {}


@given(st.binary(max_size=300), st.sampled_from([b"LIST", b"bext", b"iXML", b"ds64", b"cue "]))
def test_whatever_lies_in_a_chunk_does_no_harm(content: bytes, name: bytes) -> None:
    read_metadata(wave(FORMAT, chunk(name, content), DATA))
    read_metadata(wave(FORMAT, chunk(name, b"INFO" + content), DATA))
    read_metadata(wave(FORMAT, chunk(name, b"adtl" + content), DATA))


@given(st.binary(max_size=200))
def test_whatever_is_in_a_file_does_no_harm(content: bytes) -> None:
    read_metadata(io.BytesIO(content))
    read_metadata(io.BytesIO(b"RIFF\0\0\0\0WAVE" + content))
    read_metadata(io.BytesIO(b"FORM\0\0\0\0AIFF" + content))


def test_an_empty_chunk_without_end_ends() -> None:
    assert read_metadata(io.BytesIO(b"RIFF\0\0\0\0WAVE" + b"LIST\0\0\0\0" * 5000)) == {}
