"""Which recordings a search is among: those in the folders that a caller names, that fit filters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from soundsearch.arguments import check_path
from soundsearch.errors import QueryError, StoreError
from soundsearch.roots import named_roots, place_of
from soundsearch.search.filters import Filter, Folder
from soundsearch.store import Reader
from soundsearch.store.conditions import AnyOf, Condition, FolderNamed, Format, Not, Within

#: A search takes no more filters than these; a database takes no statement of any length.
MOST_FILTERS = 100


def conditions_of(
    reader: Reader, named: Sequence[str | Path] | None, filters: Iterable[Filter]
) -> list[Condition]:
    """Return what a recording must be like.

    Of several folders it must lie in one, of several formats it must have one; all else must hold.
    named: folders or recordings, as seen from here; None for all.
    Raises QueryError where a folder is unknown, or there are more than MOST_FILTERS.
    """
    different = list(dict.fromkeys(filters))
    if len(different) > MOST_FILTERS:
        raise QueryError(f"{len(different)} filters, expected at most {MOST_FILTERS}; give fewer")
    conditions: list[Condition] = []
    if named is not None:
        conditions.append(AnyOf(tuple(Within(place) for place in _named_folders(reader, named))))
    choices: dict[type, list[Condition]] = {}
    for each in different:
        condition = each.condition
        if isinstance(condition, Folder):
            condition = _folder(reader, condition.named)
        if each.is_excluding:
            conditions.append(Not(condition))
        elif isinstance(each.condition, Folder | Format):
            choices.setdefault(type(each.condition), []).append(condition)
        else:
            conditions.append(condition)
    return conditions + [AnyOf(tuple(alternatives)) for alternatives in choices.values()]


def is_of_place(condition: Condition) -> bool:
    """Return whether a condition is about the places of recordings alone."""
    match condition:
        case AnyOf():
            return all(map(is_of_place, condition.conditions))
        case Not():
            return is_of_place(condition.condition)
        case _:
            return isinstance(condition, Within | FolderNamed)


def _named_folders(reader: Reader, named: Sequence[str | Path]) -> list[Path]:
    """Return absolute paths of the folders to search in. Raises QueryError for an unknown one."""
    if not named:
        raise QueryError("within names no folder; name one, or give None for all")
    places = []
    for folder in named:
        place = _place(reader, folder)
        if place is None:
            raise _unknown(reader, folder)
        places.append(place)
    return places


def _folder(reader: Reader, named: str) -> Condition:
    """What `in:` means: a path as seen from here, or else folders of this name in any root."""
    check_path("in", named)
    place = _place(reader, named)
    if place is not None:
        return Within(place)
    names = Path(named).parts
    if names and not Path(named).is_absolute() and reader.knows_any([FolderNamed(names)]):
        return FolderNamed(names)
    raise _unknown(reader, named)


def _place(reader: Reader, named: str | Path) -> Path | None:
    """Return the absolute path that is meant; None if nothing is indexed there, and never was."""
    try:
        places = (place_of(Path(named)), Path(os.path.abspath(named)))  # a link may be gone
    except StoreError as error:
        raise QueryError(str(error)) from error
    roots = [root.path for root in reader.roots()]
    for place in places:
        if any(root.is_relative_to(place) for root in roots) or reader.knows_any([Within(place)]):
            return place
    if any(places[0].is_relative_to(root) for root in roots) and os.path.exists(places[0]):
        return places[0]  # nothing in it is indexed yet
    return None


def _unknown(reader: Reader, named: str | Path) -> QueryError:
    roots = [root.path for root in reader.roots()]
    return QueryError(
        f"{str(named)!r}: nothing in it is indexed; {named_roots(roots)}; "
        "give one of them, or a folder in one"
    )
