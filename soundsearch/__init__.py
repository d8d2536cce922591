"""Search libraries of sound by words and by example.

    import soundsearch

    with soundsearch.open_index("my-index") as index:
        for hit in index.search(text="dog barking in rain", top_k=5):
            print(hit.path, hit.start_s, hit.score)

Importing this loads nothing heavy; `open_index` does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from soundsearch.choices import Device
    from soundsearch.search.index import Hit as Hit
    from soundsearch.search.index import Index as Index

__version__ = "0.1.0"
__all__ = ["Hit", "Index", "SoundsearchError", "open_index"]


def open_index(
    path: str | Path | None = None, *, device: Device = "auto", model: str | Path | None = None
) -> Index:
    """Open an index for searching.

    path: its folder; None means the one the command line uses (SOUNDSEARCH_INDEX, or the user's
    data folder). device: "auto", "cpu" or "cuda". model: the encoder that the index was built
    with, by its name or its bundle's folder, to be used in place of the index's own copy; None
    takes that copy. Raises StoreError if there is no index, IndexMismatchError if it was built with
    another encoder, BundleError if there is no such encoder, QueryError for no path or device.
    """
    from soundsearch.arguments import check_path
    from soundsearch.encoder.registry import find_bundle
    from soundsearch.paths import index_folder
    from soundsearch.search.index import Index
    from soundsearch.store.store import Store

    for name, value in (("path", path), ("model", model)):
        if value is not None:
            check_path(name, value)
    bundle = None if model is None else find_bundle(os.fspath(model))
    store = Store.open(index_folder(path))
    try:
        return Index(store, device, bundle)
    except BaseException:
        store.close()
        raise


def __getattr__(name: str) -> Any:
    if name in ("Hit", "Index"):
        from soundsearch.search import index

        return getattr(index, name)
    if name == "SoundsearchError":
        from soundsearch.errors import SoundsearchError

        return SoundsearchError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
