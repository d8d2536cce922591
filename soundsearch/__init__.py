"""Search libraries of sound by text and by example.

    import soundsearch

    soundsearch.index_folders(["Sounds"], "my-index")
    with soundsearch.open_index("my-index") as index:
        for hit in index.search(text="dog barking in rain", top_k=5):
            print(hit.path, hit.start_s, hit.score)

Importing this module is fast; its functions load the rest.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from indexer.reembed import ReembedReport
    from indexer.report import Report
    from soundsearch.choices import Device
    from soundsearch.errors import SoundsearchError as SoundsearchError
    from soundsearch.progress import Progress
    from soundsearch.search.hits import Hit as Hit
    from soundsearch.search.hits import Label as Label
    from soundsearch.search.hits import Passage as Passage
    from soundsearch.search.index import Index as Index
    from soundsearch.search.show import Details as Details

__version__ = "0.2.0"
__all__ = [
    "Details",
    "Hit",
    "Index",
    "Label",
    "Passage",
    "SoundsearchError",
    "cancel_reembedding",
    "index_folders",
    "open_index",
    "reembed",
]


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
    from soundsearch.arguments import check_paths_given
    from soundsearch.encoder.registry import find_bundle
    from soundsearch.paths import index_place
    from soundsearch.search.index import Index
    from soundsearch.store import Store

    check_paths_given(path=path, model=model)
    bundle = None if model is None else find_bundle(os.fspath(model))
    store = Store.open(index_place(path))
    try:
        return Index(store, device, bundle)
    except BaseException:
        store.close()
        raise


def index_folders(
    folders: str | Path | Sequence[str | Path] = (),
    index: str | Path | None = None,
    *,
    model: str | Path | None = None,
    device: Device = "auto",
    exclude: str | Sequence[str] = (),
    jobs: int | None = None,
    prune: bool = False,
    retry: bool = False,
    force: bool = False,
    captions: str | Path | None = None,
    no_captions: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Index folders of sound, or bring an index up to date with them.

    What has not changed is skipped; what was moved is not embedded again. A file that cannot be read
    never ends the run: it is listed in the report. Ctrl-C ends it early with `interrupted` set, and
    the next run continues.

    Args:
        folders: a folder, a file or a URL, or several; none means all that were indexed before.
        index: folder of the index, made if it is not there; None means the one the command line uses.
        model: encoder of a new index, by its name or its bundle's folder. An index that exists keeps
            its own and is refused with another one.
        device: "auto", "cpu" or "cuda".
        exclude: shell patterns of names or relative paths that are skipped.
        jobs: files read at a time; None means one per core.
        prune: also delete what is known of files that have vanished.
        retry: also try files again that failed, or were read in part, and have not changed.
        force: read all files again, also those that look unchanged.
        captions: CSV file with words for recordings in these folders, in place of earlier ones:
            columns `file` (absolute, or relative to the folder), `text`, and any others, which are
            fields too. None keeps what there is.
        no_captions: take the captions of all recordings in these folders away.
        progress: is informed while the run goes on, from any thread.

    Returns:
        Counts of files by what became of them, failures with their reasons, and what could not be
        looked through (`absent`).

    Raises:
        QueryError: an argument is of the wrong kind, or there is no folder to index.
        StoreError: a folder is not there, or the index cannot be used; IndexBusyError if another
            process writes it, IndexMismatchError if it was built with another encoder.
        BundleError: there is no such encoder, or it embeds nothing.
        TableError: the captions cannot be read.
    """
    from pathlib import Path

    from soundsearch.ours import require_ours

    require_ours("indexer")
    from indexer.index_options import IndexOptions
    from indexer.index_run import IndexRun
    from soundsearch.arguments import (
        check_count,
        check_device,
        check_paths,
        check_paths_given,
        check_text,
        check_texts,
    )
    from soundsearch.errors import QueryError
    from soundsearch.paths import index_place
    from soundsearch.progress import SILENT
    from soundsearch.urls import path_of

    paths = [path_of(folder) for folder in check_paths("folders", folders)]
    check_paths_given(index=index, model=model, captions=captions)
    if captions is not None and no_captions:
        raise QueryError("captions and no_captions exclude each other; give one of them")
    check_device(device)
    patterns = [exclude] if isinstance(exclude, str) else exclude
    check_texts("exclude", patterns)
    for i, pattern in enumerate(patterns):
        check_text(f"exclude[{i}]", pattern)
    if jobs is not None:
        check_count("jobs", jobs)
    with IndexRun(
        index_place(index),
        paths,
        None if model is None else os.fspath(model),
        captions=None if captions is None else Path(captions),
        no_captions=no_captions,
    ) as run:
        if not run.paths:
            raise QueryError("folders is empty and nothing was indexed before; give a folder")
        options = IndexOptions(
            device=device, exclude=patterns, jobs=jobs, prune=prune, retry=retry, force=force
        )
        _, report = run.run(options, progress=progress or SILENT)
    return report


def reembed(
    index: str | Path | None = None,
    model: str | Path | None = None,
    *,
    device: Device = "auto",
    jobs: int | None = None,
    without_absent: bool = False,
    progress: Progress | None = None,
) -> ReembedReport:
    """Give an index another encoder, behind the one that answers meanwhile.

    All files are read again, and those that have changed are embedded as they are now. Once the
    embeddings of all recordings are there, the index is switched in one transaction; names,
    metadata, folders and failures stay. Ctrl-C ends a run early with `interrupted` set. A run that
    was stopped, or killed, is continued by the next call.

    Args:
        index: folder of the index; None means the one the command line uses.
        model: the new encoder, by its name or its bundle's folder; None goes on with the one that
            was begun.
        device: "auto", "cpu" or "cuda".
        jobs: files read at a time; None means one per core.
        without_absent: switch also where recordings cannot be read now, such as those of a disk
            that is not mounted. They are no hits until `index_folders` finds and embeds them.
        progress: is informed while the run goes on, from any thread.

    Returns:
        Whether the index was switched, and if not, which recordings are in the way (`absent`).

    Raises:
        QueryError: an argument is of the wrong kind, or no model is given and none was begun.
        StoreError: there is no index, it has this encoder already, another one was begun, or the
            disk has too little room; IndexBusyError if another process writes the index.
        BundleError: there is no such encoder, or it embeds nothing.
    """
    from soundsearch.ours import require_ours

    require_ours("indexer")
    from indexer.index_options import IndexOptions
    from indexer.reembed import reembed as reembed_index
    from soundsearch.arguments import check_count, check_device, check_paths_given
    from soundsearch.paths import index_place
    from soundsearch.progress import SILENT

    check_paths_given(index=index, model=model)
    check_device(device)
    if jobs is not None:
        check_count("jobs", jobs)
    return reembed_index(
        index_place(index),
        None if model is None else os.fspath(model),
        IndexOptions(device=device, jobs=jobs),
        without_absent=without_absent,
        progress=progress or SILENT,
    )


def cancel_reembedding(index: str | Path | None = None) -> bool:
    """Drop what `reembed` has done so far; the index keeps its encoder.

    Args:
        index: folder of the index; None means the one the command line uses.

    Returns:
        Whether there was a reembedding.

    Raises:
        QueryError: `index` is no path.
        StoreError: There is no index; IndexBusyError if another process writes it.
    """
    from soundsearch.ours import require_ours

    require_ours("indexer")
    from indexer.reembed import cancel
    from soundsearch.arguments import check_paths_given
    from soundsearch.paths import index_place

    check_paths_given(index=index)
    return cancel(index_place(index))


#: Where the names lie that are loaded when they are first asked for.
_MODULES = {
    "Details": "search.show",
    "Hit": "search.hits",
    "Index": "search.index",
    "Label": "search.hits",
    "Passage": "search.hits",
    "SoundsearchError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"soundsearch.{_MODULES[name]}"), name)
