"""Which recordings a search is among: those in the folders that a caller names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from soundsearch.errors import QueryError, StoreError
from soundsearch.roots import named_roots, place_of
from soundsearch.store import Reader


def named_folders(reader: Reader, named: Sequence[str | Path]) -> list[Path]:
    """Return absolute paths of the folders to search in. Raises QueryError for an unknown one."""
    if not named:
        raise QueryError("within names no folder; name one, or give None for all")
    return [_folder(reader, folder) for folder in named]


def _folder(reader: Reader, named: str | Path) -> Path:
    try:
        places = (place_of(Path(named)), Path(os.path.abspath(named)))  # a link may be gone
    except StoreError as error:
        raise QueryError(str(error)) from error
    roots = [root.path for root in reader.roots()]
    for place in places:
        if any(root.is_relative_to(place) for root in roots) or reader.knows_of(place):
            return place
    if any(places[0].is_relative_to(root) for root in roots) and os.path.exists(places[0]):
        return places[0]  # nothing in it is indexed yet
    raise QueryError(
        f"{str(named)!r}: nothing in it is indexed; {named_roots(roots)}; "
        "give one of them, or a folder in one"
    )
