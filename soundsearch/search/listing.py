"""What a search by filters alone finds: recordings by path, without a score."""

from __future__ import annotations

from collections.abc import Sequence

from soundsearch.files import Presence
from soundsearch.search.hits import Hit
from soundsearch.store import Reader
from soundsearch.store.conditions import Condition
from soundsearch.urls import path_of


def listed(reader: Reader, conditions: Sequence[Condition], n: int) -> list[Hit]:
    """Return the first n recordings that are chosen, by root and path, each as a whole."""
    is_present = Presence()
    return [
        Hit(
            rank=rank,
            recording_id=whole.recording_id,
            path=path_of(whole.root, whole.relative_path),
            start_s=whole.start_s,
            end_s=whole.end_s,
            cosine=None,
            relevance=None,
            duration_s=whole.duration_s,
            is_present=is_present(whole.root, whole.relative_path),
            words=(),
        )
        for rank, whole in enumerate(reader.whole_recordings(conditions, n), start=1)
    ]
