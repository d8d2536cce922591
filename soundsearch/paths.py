"""Default folders: of the index, of encoder bundles, of the cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

from soundsearch.errors import NoHomeError, SoundsearchError

NO_CURRENT_FOLDER = "the current folder is not there any more; change to another"


def index_folder(chosen: str | Path | None = None) -> Path:
    """Return the index folder: `chosen`, else SOUNDSEARCH_INDEX, else one in the user's data folder.

    Raises NoHomeError if the last is needed and the user has no home folder.
    """
    if chosen is None:
        chosen = os.environ.get("SOUNDSEARCH_INDEX") or (
            _platform_folder(user_data_path, "an index folder with --index or SOUNDSEARCH_INDEX")
            / "index"
        )
    return _absolute(chosen)


def own_bundles_folder() -> Path:
    """Return the folder of the user's bundles: SOUNDSEARCH_MODELS, else one in the data folder.

    Raises NoHomeError if the latter is needed and the user has no home folder.
    """
    chosen = os.environ.get("SOUNDSEARCH_MODELS") or (
        _platform_folder(user_data_path, "a folder of encoders with SOUNDSEARCH_MODELS") / "models"
    )
    return _absolute(chosen)


def cache_folder() -> Path:
    """Return the folder of caches: SOUNDSEARCH_CACHE, else the user's cache folder of soundsearch.

    Raises NoHomeError if the latter is needed and the user has no home folder.
    """
    chosen = os.environ.get("SOUNDSEARCH_CACHE") or _platform_folder(
        user_cache_path, "a cache folder with SOUNDSEARCH_CACHE"
    )
    return _absolute(chosen)


def _platform_folder(find: Callable[..., Path], way_out: str) -> Path:
    """Return a folder of the user by the platform's rules. way_out: what to name instead."""
    try:
        folder = find("soundsearch", appauthor=False)
    except RuntimeError:  # platformdirs since 4.10; before, it leaves the ~ as it is
        folder = Path("~")
    if not folder.is_absolute():
        raise NoHomeError(
            f"no home folder: HOME is {os.environ.get('HOME')!r}, and the system knows none of this "
            f"user; set HOME, or name {way_out}"
        )
    return folder


def _absolute(path: str | Path) -> Path:
    """Return an absolute path, with the home folder in place of a leading ~."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise SoundsearchError(
            f"{path}: there is no such home folder; give the whole path"
        ) from error
