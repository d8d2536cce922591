"""By which words a recording is found, and the fields that it has, from what is stored of it.

In: the path of a recording, its metadata and its captions. Out: `Words`, and texts by field.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from soundsearch.store.records import Words
from soundsearch.vocabulary.ucs import UcsName, parse_ucs_name
from soundsearch.words import split_name

#: Changes with what words are made of. Words of another version are stale: they are made again.
WORDS_VERSION = 2
#: Between several texts of one field.
BETWEEN_TEXTS = "; "


def name_of(root: Path, relative_path: str) -> tuple[str, str]:
    """The folders of a recording, of which its root's name is one, and its name without ending."""
    whole = root.name if relative_path == "." else os.path.join(root.name, relative_path)
    folders, name = os.path.split(whole)
    return folders, os.path.splitext(name)[0]


def ucs_name_of(root: Path, relative_path: str) -> UcsName | None:
    """The blocks of the name of a recording, if it is a UCS name."""
    return parse_ucs_name(name_of(root, relative_path)[1])


def words_of(root: Path, relative_path: str, metadata: str | None, captions: str | None) -> Words:
    """By which words a recording is found. metadata, captions: texts by field, as JSON."""
    folders, stem = name_of(root, relative_path)
    fields = _fields(stem, metadata, captions)
    return Words(
        name=" ".join(split_name(stem)),
        folders=_words_of_folders(folders),
        metadata=_storable(" ".join(fields.values())),
        file_name=_storable(stem),
    )


@functools.lru_cache(maxsize=64)  # of the recordings in one folder, one after the other
def _words_of_folders(folders: str) -> str:
    return " ".join(split_name(folders))


def fields_of(
    root: Path, relative_path: str, metadata: str | None, captions: str | None
) -> dict[str, str]:
    """Texts by field: of the metadata, of the category in a UCS name, and of the captions.

    metadata, captions: as JSON.
    """
    return _fields(name_of(root, relative_path)[1], metadata, captions)


def _fields(stem: str, metadata: str | None, captions: str | None) -> dict[str, str]:
    ucs = parse_ucs_name(stem)
    category = {} if ucs is None else {"category": ucs.category, "subcategory": ucs.subcategory}
    of_file, of_person = (json.loads(texts) if texts else {} for texts in (metadata, captions))
    return joined((of_file, category, of_person))


def joined(sources: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Texts by field from several sources; what two of them say of a field stands once."""
    texts: dict[str, list[str]] = {}
    for source in sources:
        for field, text in source.items():
            known = texts.setdefault(field, [])
            if text not in known:
                known.append(text)
    return {field: BETWEEN_TEXTS.join(parts) for field, parts in texts.items()}


def _storable(text: str) -> str:
    """A text of which bytes that are no UTF-8, and NUL, are no letters."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")
