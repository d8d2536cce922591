"""Where things lie: the index, in a folder or in a database; encoder bundles; the cache."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

from soundsearch.errors import NoHomeError, SoundsearchError

NO_CURRENT_FOLDER = "the current folder is not there any more; change to another"
#: How the addresses of databases begin that an index may lie in.
SCHEMES = ("postgresql://", "postgres://")
#: Passwords in an address: of its user, and among its parameters.
_SECRETS = (
    (re.compile(r"(?<=://)([^:@/?#]*):.*@", re.DOTALL), r"\1:***@"),
    (re.compile(r"(?<=[?&])(password|sslpassword)=[^&]*"), r"\1=***"),
)


@dataclass(frozen=True)
class DatabaseUrl:
    """The address of an index in a database. As a text, and in errors, it names no password.

    Attributes:
        url: The address as it was given, perhaps with a password.
    """

    url: str = field(repr=False)

    @property
    def schema(self) -> str:
        """The schema of the database that the index fills: `?schema=NAME`, else "soundsearch"."""
        return next((p[7:] for p in self._parameters() if p.startswith("schema=")), "soundsearch")

    @property
    def server(self) -> str:
        """The address as its server understands it: without the schema."""
        return self._with(p for p in self._parameters() if not p.startswith("schema="))

    def beside(self, name: str) -> DatabaseUrl:
        """Return the address of a second index in the same database."""
        parameters = (p for p in self._parameters() if not p.startswith("schema="))
        return DatabaseUrl(self._with([*parameters, f"schema={self.schema}_{name}"]))

    def _parameters(self) -> list[str]:
        query = self.url.partition("?")[2]
        return query.split("&") if query else []

    def _with(self, parameters: Iterable[str]) -> str:
        query = "&".join(parameters)
        return self.url.partition("?")[0] + (f"?{query}" if query else "")

    def __str__(self) -> str:
        shown = self.url
        for secret, instead in _SECRETS:
            shown = secret.sub(instead, shown)
        return shown


def index_place(chosen: str | Path | None = None) -> Path | DatabaseUrl:
    """Return where the index is: `chosen`, else SOUNDSEARCH_INDEX, else a folder of the user.

    Raises:
        NoHomeError: The last is needed, and the user has no home folder.
        SoundsearchError: The address of a database was made a path, in which "//" is "/".
    """
    if chosen is None:
        chosen = os.environ.get("SOUNDSEARCH_INDEX") or (
            _platform_folder(user_data_path, "an index folder with --index or SOUNDSEARCH_INDEX")
            / "index"
        )
    if isinstance(chosen, str) and chosen.startswith(SCHEMES):
        return DatabaseUrl(chosen)
    if isinstance(chosen, Path) and chosen.parts[:1] in (("postgresql:",), ("postgres:",)):
        raise SoundsearchError(
            "the address of a database is given as a path, which changes it; give it as a text (str)"
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
