"""Where things lie when nobody says otherwise."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path, user_data_path


def data_folder() -> Path:
    """The user's data folder of soundsearch, by the platform's custom."""
    return user_data_path("soundsearch", appauthor=False)


def index_folder(chosen: str | Path | None = None) -> Path:
    """The index folder: the one chosen, else SOUNDSEARCH_INDEX, else one in the user's data folder."""
    if chosen is None:
        chosen = os.environ.get("SOUNDSEARCH_INDEX") or data_folder() / "index"
    return Path(chosen).expanduser().absolute()


def own_bundles_folder() -> Path:
    """The person's own encoder bundles: SOUNDSEARCH_MODELS, else `models` in the user's data folder."""
    return Path(os.environ.get("SOUNDSEARCH_MODELS") or data_folder() / "models")


def cache_folder() -> Path:
    """For what can be made again: SOUNDSEARCH_CACHE, else the user's cache folder of soundsearch."""
    chosen = os.environ.get("SOUNDSEARCH_CACHE")
    folder = Path(chosen) if chosen else user_cache_path("soundsearch", appauthor=False)
    return folder.expanduser().absolute()
