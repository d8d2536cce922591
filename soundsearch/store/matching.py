"""Text compared word by word, where a full-text search of a database is not exact enough."""

from __future__ import annotations

import functools
import os
import unicodedata
from collections.abc import Sequence

from soundsearch.words import RUN


@functools.lru_cache(maxsize=64)
def spelling(text: str) -> str:
    """The words of a text in small letters without accents, each with blanks around it."""
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in parts if not unicodedata.combining(c))
    return f" {' '.join(RUN.findall(text.lower()))} "


def holds_words(text: str | None, words: str) -> bool:
    """Whether a text holds these words side by side, as `spelling` writes both."""
    return spelling(words) in spelling.__wrapped__(text or "")


def has_folders(relative_path: bytes, names: bytes) -> bool:
    """Whether a file lies in folders of these names, one in the other; see `folder_names`."""
    return names in folders_of(os.fsdecode(relative_path))


def folders_of(relative_path: str) -> bytes:
    """The folders of a file as `has_folders` compares them."""
    folders, _, _ = relative_path.rpartition("/")
    return os.fsencode(f"//{_folded(folders)}/")


def folder_names(names: Sequence[str], *, at_top: bool) -> bytes:
    """Names of folders as `has_folders` compares them; capital letters do not count.

    at_top: whether the first one is to lie in the root itself.
    """
    return os.fsencode(f"{'//' if at_top else '/'}{_folded('/'.join(names))}/")


def _folded(path: str) -> str:
    return (path if path.isascii() else unicodedata.normalize("NFC", path)).lower()
