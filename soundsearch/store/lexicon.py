"""By which words a recording is found, and the fields that it has, from what is stored of it.

In: the path of a recording, its metadata and its captions. Out: `Words`, and texts by field.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from soundsearch.store.records import Words
from soundsearch.vocabulary.ucs import UcsName, parse_ucs_name
from soundsearch.words import split_name

#: Changes with what words are made of. Words of another version are stale: they are made again.
WORDS_VERSION = 2
#: Between several texts of one field.
BETWEEN_TEXTS = "; "


def name_of(root: Path, relative_path: str) -> Path:
    """The path of a recording, beginning with the name of its root, which counts as a folder."""
    return Path(root.name, relative_path)


def ucs_name_of(root: Path, relative_path: str) -> UcsName | None:
    """The blocks of the name of a recording, if it is a UCS name."""
    return parse_ucs_name(name_of(root, relative_path).stem)


def words_of(root: Path, relative_path: str, metadata: str | None, captions: str | None) -> Words:
    """By which words a recording is found. metadata, captions: texts by field, as JSON."""
    path = name_of(root, relative_path)
    fields = fields_of(root, relative_path, metadata, captions)
    return Words(
        name=" ".join(split_name(path.stem)),
        folders=" ".join(split_name(str(path.parent))),
        metadata=_storable(" ".join(fields.values())),
        file_name=_storable(path.stem),
    )


def fields_of(
    root: Path, relative_path: str, metadata: str | None, captions: str | None
) -> dict[str, str]:
    """Texts by field: of the metadata, of the category in a UCS name, and of the captions.

    metadata, captions: as JSON.
    """
    ucs = ucs_name_of(root, relative_path)
    category = {} if ucs is None else {"category": ucs.category, "subcategory": ucs.subcategory}
    return joined((json.loads(metadata or "{}"), category, json.loads(captions or "{}")))


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
