"""Fields of recordings out: texts by name, from metadata, UCS categories and captions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa

from soundsearch.store.lexicon import WORDS_VERSION, fields_of
from soundsearch.store.records import State
from soundsearch.store.schema import recordings_table, roots_table
from soundsearch.store.statements import Statements


class FieldReader(Statements):
    """The part of a `Reader` that knows fields of recordings."""

    def captions(self) -> dict[int, dict[str, str]]:
        """Texts by field that a person gave, of each recording that has any, by its id."""
        columns = recordings_table.c
        query = sa.select(columns.id, columns.captions).where(columns.captions.is_not(None))
        return {row.id: json.loads(row.captions) for row in self._execute(query)}

    def fields(self, recording_ids: Iterable[int]) -> dict[int, dict[str, str]]:
        """Texts by field of recordings: of metadata, UCS category and captions, by their ids."""
        columns = recordings_table.c
        chosen = (columns.id, roots_table.c.path, columns.relative_path)
        texts = (columns["metadata"], columns.captions)
        query = sa.select(*chosen, *texts).join(roots_table)
        return {
            recording_id: fields_of(Path(root), *of_file)
            for recording_id, root, *of_file in self._rows_with(query, columns.id, recording_ids)
        }

    def stale_words(self) -> list[int]:
        """Ids of the recordings whose words are not those that they should be found by now."""
        columns = recordings_table.c
        is_stale = columns.words_version.is_distinct_from(WORDS_VERSION)
        query = sa.select(columns.id).where(columns.state != State.FAILED, is_stale)
        return list(self._execute(query.order_by(columns.id)).scalars())
