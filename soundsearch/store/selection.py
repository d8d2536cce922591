"""Conditions as a part of a statement: whether a row of the table of recordings is chosen."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from soundsearch.store.backend import Backend
from soundsearch.store.conditions import (
    AnyOf,
    Condition,
    FolderNamed,
    Format,
    Holds,
    Limits,
    Not,
    Within,
)
from soundsearch.store.records import Root
from soundsearch.store.schema import FilePath, Integer64, inside, recordings_table

#: Names of formats, and endings of files, that mean the same.
ALIKE = (("aif", "aiff", "aifc"), ("wav", "wave"), ("oga", "ogg"))
#: Alternatives that stand side by side in a statement, which databases do not nest at will.
AT_ONCE = 50
Clause = sa.ColumnElement[bool]


class Selection:
    """Conditions in an index of these roots."""

    def __init__(self, database: Backend, connection: Connection, roots: Sequence[Root]) -> None:
        self._database, self._connection = database, connection
        self._roots = roots

    def all_of(self, conditions: Iterable[Condition]) -> Clause:
        """Whether all of these conditions hold for a recording."""
        return sa.and_(sa.true(), *map(self.clause, conditions))

    def clause(self, condition: Condition) -> Clause:
        """Whether a condition holds for a recording."""
        match condition:
            case Limits():
                return _limits(condition)
            case Format():
                return self._has_format(condition.name)
            case Holds():
                return recordings_table.c.id.in_(
                    self._database.holding(self._connection, condition)
                )
            case Within():
                return self._lies_in(condition.place)
            case FolderNamed():
                return self._in_folders(condition.names)
            case AnyOf():
                return self._any_of(condition.conditions)
            case Not():
                return sa.not_(self.clause(condition.condition))

    def _any_of(self, conditions: Sequence[Condition]) -> Clause:
        """Whether one of these holds.

        Of many, some stand in a query of their own, for its depth. Each of several places has a
        query of its own, which an index answers.
        """
        if len(conditions) > 1 and all(isinstance(each, Within) for each in conditions):
            parts = [[each] for each in conditions]
        elif len(conditions) > AT_ONCE:
            parts = [[*conditions[i : i + AT_ONCE]] for i in range(0, len(conditions), AT_ONCE)]
        else:
            return sa.or_(sa.false(), *map(self.clause, conditions))
        ids = recordings_table.c.id
        queries = [sa.select(ids).where(self._any_of(part)).correlate(None) for part in parts]
        unions = [sa.union_all(*queries[i : i + AT_ONCE]) for i in range(0, len(queries), AT_ONCE)]
        return sa.or_(*map(ids.in_, unions))

    def _lies_in(self, place: Path) -> Clause:
        columns = recordings_table.c
        whole = [root.id for root in self._roots if root.path.is_relative_to(place)]
        choices: list[Clause] = [columns.root_id.in_(whole)] if whole else []
        for root in self._roots:
            if root.path != place and place.is_relative_to(root.path):
                relative_path = str(place.relative_to(root.path))
                for lies_there in (  # one by one, so that an index answers each
                    columns.relative_path == relative_path,
                    inside(columns.relative_path, relative_path),
                ):
                    choices.append(sa.and_(columns.root_id == root.id, lies_there))
        return sa.or_(sa.false(), *choices)

    def _in_folders(self, names: Sequence[str]) -> Clause:
        """Whether it lies in folders of these names, of which the first may be its root."""
        first, *others = names
        roots = [root.id for root in self._roots if root.path.name.lower() == first.lower()]
        of_root: Clause = recordings_table.c.root_id.in_(roots)
        if others:
            of_root = sa.and_(of_root, self._lies_in_folders(others, at_top=True))
        return sa.or_(self._lies_in_folders(names, at_top=False), of_root)

    def _lies_in_folders(self, names: Sequence[str], *, at_top: bool) -> Clause:
        return self._database.in_folders(self._connection, names, at_top=at_top)

    def _has_format(self, name: str) -> Clause:
        """A stored format is a name such as WAV, or a container and a codec such as MOV/AAC."""
        columns = recordings_table.c
        names = next((alike for alike in ALIKE if name in alike), (name,))
        choices: list[Clause] = []
        for each in names:
            stored = sa.func.lower(columns.format)
            choices += [stored == each, stored.like(f"{each}/%"), stored.like(f"%/{each}")]
            choices.append(_ends_with(f".{each}"))
        files = [r.id for r in self._roots if r.path.suffix.lower()[1:] in names]
        of_file = sa.and_(columns.relative_path == ".", columns.root_id.in_(files))
        return sa.or_(*choices, of_file)


def _limits(condition: Limits) -> Clause:
    column = recordings_table.c[condition.fact]
    # Compared as the numbers they are: a database may round a number to the kind of the column.
    bounds = ((r, sa.literal(n, sa.Double if n % 1 else Integer64)) for r, n in condition.bounds)
    relations = {
        "<": column.__lt__,
        "<=": column.__le__,
        ">": column.__gt__,
        ">=": column.__ge__,
    }
    return sa.and_(*(relations[relation](number) for relation, number in bounds))


def _ends_with(ending: str) -> Clause:
    """Whether a path ends so, in small letters, capital letters, or the first of them alone."""
    path = recordings_table.c.relative_path
    start = sa.func.length(path) - len(os.fsencode(ending)) + 1
    spellings = {ending, ending.upper(), f".{ending[1:].capitalize()}"}
    return sa.func.substr(path, start, type_=FilePath).in_(sorted(spellings))
