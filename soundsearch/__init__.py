"""Search libraries of sound by text and by example.

    import soundsearch

    with soundsearch.open_index("my-index") as index:
        for hit in index.search(text="dog barking in rain", top_k=5):
            print(hit.path, hit.start_s, hit.score)

Importing this module is fast; `open_index` loads the rest.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from soundsearch.encoder.towers import Device
    from soundsearch.search.hits import Hit as Hit
    from soundsearch.search.hits import Label as Label
    from soundsearch.search.index import Index as Index

__version__ = "0.1.0"
__all__ = ["Hit", "Index", "Label", "SoundsearchError", "open_index"]


def open_index(
    path: str | Path | None = None, *, device: Device = "auto", model: str | Path | None = None
) -> Index:
    """Open an index for searching.

    Args:
        path: Folder of the index. None is the one the command line uses: that of
            SOUNDSEARCH_INDEX, else one in the user's data folder.
        device: "auto", "cpu" or "cuda", where the encoder runs. "auto" takes the GPU if there is
            one.
        model: The encoder that the index was built with, by its name or its bundle's folder, in
            place of the index's own copy. None takes that copy.

    Returns:
        The opened index; use it in a `with` block, or close it.

    Raises:
        StoreError: There is no index, or it cannot be read.
        IndexMismatchError: The index was built with another encoder than `model`.
        BundleError: There is no such encoder.
        QueryError: `path` or `model` is no path, or there is no such device.
        NoHomeError: No path is given, and the user has no home folder.
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
    if name == "Index":
        from soundsearch.search.index import Index

        return Index
    if name in ("Hit", "Label"):
        from soundsearch.search import hits

        return getattr(hits, name)
    if name == "SoundsearchError":
        from soundsearch.errors import SoundsearchError

        return SoundsearchError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
