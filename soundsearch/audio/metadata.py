"""What a sound file says of itself in words: titles, descriptions, takes, markers.

In: an opened file. Out: texts by field. WAV and AIFF are walked chunk by chunk (INFO, bext, iXML,
labels of cue points; EBU Tech 3285 and 3306, iXML 2.x); of other containers FFmpeg reads the tags.
Whatever is damaged, huge or hostile in there gives no text, and never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO
from xml.etree import ElementTree

#: Fields that may say something about a sound, as FFmpeg and INFO name them -> as we do.
FIELDS = {
    "title": "title",
    "artist": "artist",
    "album": "album",
    "album_artist": "artist",
    "comment": "comment",
    "description": "description",
    "synopsis": "description",
    "subject": "subject",
    "keywords": "keywords",
    "genre": "genre",
    "grouping": "genre",
    "composer": "artist",
    "performer": "artist",
    "location": "location",
    "category": "category",
    "library": "library",
}
INFO = {
    b"INAM": "title",
    b"IART": "artist",
    b"IPRD": "album",
    b"ICMT": "comment",
    b"ISBJ": "subject",
    b"IKEY": "keywords",
    b"IGNR": "genre",
    b"IARL": "location",
}
AIFF = {b"NAME": "title", b"AUTH": "artist", b"ANNO": "comment"}
#: Elements of iXML with words about the sound.
IXML = {
    "PROJECT": "project",
    "SCENE": "scene",
    "TAKE": "take",
    "TAPE": "tape",
    "NOTE": "note",
    "NAME": "tracks",  # in TRACK
    "FXNAME": "title",
    "CATEGORY": "category",
    "SUBCATEGORY": "category",
    "KEYWORDS": "keywords",
    "LIBRARY": "library",
    "DESCRIPTION": "description",
    "BWF_DESCRIPTION": "description",
    "LOCATION_NAME": "location",
}
#: Chunks are looked at up to this many, and texts of chunks up to so many bytes.
MOST_CHUNKS = 1000
MOST_CHUNK_BYTES = 1 << 20
#: Characters that are taken of one field, and of all of a file.
MOST_FIELD_CHARACTERS = 4096
MOST_CHARACTERS = 16384
BEXT_DESCRIPTION_BYTES = 256
CONTROL = re.compile(r"[\0-\x1f\x7f]+")


def read_metadata(file: BinaryIO) -> dict[str, str]:
    """Texts by field: title, description, scene, markers and so on, each on one line.

    Several texts of one field are joined by "; ". What a file says twice stands once. The file may
    lie at any position and is left at its beginning. Never raises for what is in a file; raises
    OSError where it cannot be read.
    """
    found: dict[str, list[str]] = {}
    n_left = MOST_CHARACTERS
    for field, text in _texts(file):
        clean = CONTROL.sub(" ", text).strip()[:MOST_FIELD_CHARACTERS]
        if clean and n_left > 0 and clean not in found.setdefault(field, []):
            found[field].append(clean[:n_left])
            n_left -= len(clean)
    file.seek(0)
    return {field: "; ".join(texts) for field, texts in found.items() if texts}


def _texts(file: BinaryIO) -> Iterator[tuple[str, str]]:
    file.seek(0)
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:] == b"WAVE":
        yield from _wave_texts(file)
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        for name, n_bytes in _chunks(file, "big"):
            if name in AIFF:
                yield AIFF[name], _decoded(file.read(min(n_bytes, MOST_CHUNK_BYTES)))
    else:
        yield from _tags(file)


def _wave_texts(file: BinaryIO) -> Iterator[tuple[str, str]]:
    for name, n_bytes in _chunks(file, "little"):
        if name not in (b"LIST", b"bext", b"iXML"):
            continue
        content = file.read(min(n_bytes, MOST_CHUNK_BYTES))
        if name == b"bext":
            yield "description", _decoded(content[:BEXT_DESCRIPTION_BYTES])
        elif name == b"iXML":
            yield from _ixml_texts(content)
        elif content[:4] in (b"INFO", b"adtl"):
            yield from _list_texts(content)


def _chunks(file: BinaryIO, order: str) -> Iterator[tuple[bytes, int]]:
    """Name and size of each chunk of a RIFF or AIFF file, the file standing at its content."""
    sound_bytes = None  # of RF64, whose data chunk declares no size
    place = 12
    for _ in range(MOST_CHUNKS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        name, n_bytes = head[:4], int.from_bytes(head[4:], "little" if order == "little" else "big")
        if name == b"ds64":
            sound_bytes = int.from_bytes(file.read(16)[8:], "little")
            file.seek(place + 8)
        if name == b"data" and n_bytes == 0xFFFFFFFF and sound_bytes is not None:
            n_bytes = sound_bytes
        yield name, n_bytes
        place += 8 + n_bytes + n_bytes % 2


def _list_texts(content: bytes) -> Iterator[tuple[str, str]]:
    """The texts of a LIST chunk: INFO, or the labels and notes of cue points."""
    place = 4
    while len(head := content[place : place + 8]) == 8:
        name, n_bytes = head[:4], int.from_bytes(head[4:], "little")
        text = content[place + 8 : place + 8 + n_bytes]
        if name in INFO:
            yield INFO[name], _decoded(text)
        elif name in (b"labl", b"note"):
            yield "markers", _decoded(text[4:])
        elif name == b"ltxt":
            yield "markers", _decoded(text[20:])
        place += 8 + n_bytes + n_bytes % 2


def _ixml_texts(content: bytes) -> Iterator[tuple[str, str]]:
    """The words of an iXML document in UTF-8 that defines no entities."""
    document = content.strip(b"\0 \r\n\t")
    if any(mark in document for mark in (b"<!DOCTYPE", b"<!ENTITY", b"\0")):
        return
    try:
        for element in ElementTree.fromstring(document).iter():
            field = IXML.get(element.tag) if isinstance(element.tag, str) else None
            if field is not None and element.text is not None:
                yield field, element.text
    except (ElementTree.ParseError, ValueError, LookupError):  # also an encoding nobody knows
        return


def _tags(file: BinaryIO) -> Iterator[tuple[str, str]]:
    import av

    try:
        file.seek(0)
        with av.open(file, metadata_errors="replace") as container:
            tags = [container.metadata, *(stream.metadata for stream in container.streams.audio)]
    except (av.FFmpegError, ValueError):
        return
    for tag in tags:
        for name, text in tag.items():
            if (field := FIELDS.get(name.lower())) is not None:
                yield field, text


def _decoded(text: bytes) -> str:
    """A text up to its first zero byte; UTF-8, or else what Windows writes."""
    text = text.split(b"\0", 1)[0]
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")
