"""Search libraries of sound by words and by example.

    import soundsearch

    with soundsearch.open_index("my-index") as index:
        for hit in index.search(text="dog barking in rain", top_k=5):
            print(hit.path, hit.start_s, hit.score)

Importing this loads nothing heavy; `open_index` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from soundsearch.encoder import Device
    from soundsearch.search import Hit as Hit
    from soundsearch.search import Index as Index

__version__ = "0.1.0"
__all__ = ["Hit", "Index", "SoundsearchError", "open_index"]


def open_index(path: str | Path | None = None, *, device: Device = "auto") -> Index:
    """Open an index for searching.

    path: its folder; None means the one the command line uses (SOUNDSEARCH_INDEX, or the user's
    data folder). device: "auto", "cpu" or "cuda". Raises StoreError if there is no index.
    """
    from soundsearch.paths import index_folder
    from soundsearch.search import Index
    from soundsearch.store import Store

    return Index(Store.open(index_folder(path)), device)


def __getattr__(name: str) -> Any:
    if name in ("Hit", "Index"):
        from soundsearch import search

        return getattr(search, name)
    if name == "SoundsearchError":
        from soundsearch.errors import SoundsearchError

        return SoundsearchError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
