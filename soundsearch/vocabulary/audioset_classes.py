"""The names of the classes of AudioSet.

They are those of the ontology; `audioset_names.json` says where it is from and on what terms.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from importlib import resources

NAMES = "audioset_names.json"
#: The id of a class, of Freebase or of the ontology's own.
CLASS_ID = re.compile(r"/[mgt]/\w+")


@functools.cache
def class_names() -> Mapping[str, str]:
    """Return the display name of each class of the ontology by its id."""
    text = resources.files(__package__).joinpath(NAMES).read_text(encoding="utf-8")
    names: dict[str, str] = json.loads(text)["names"]
    return names


def is_class_id(label: str) -> bool:
    """Return whether a label is written as the id of a class, such as "/m/09x0r"."""
    return CLASS_ID.fullmatch(label.strip()) is not None


def display_name(label: str) -> str | None:
    """Return a label in words: the name of a class of AudioSet, and any other label as it is.

    None for an id that the ontology does not have.
    """
    return class_names().get(label.strip()) if is_class_id(label) else label
