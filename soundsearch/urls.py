"""URLs of recordings, which stand where paths of files stand.

An index may hold recordings of object storage. Their roots are URLs such as `s3://bucket/folder`, and
all code that joins, compares and prints paths takes them as it takes paths of files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PosixPath
from urllib.parse import quote

#: How a URL begins; one letter would be a drive. `pathlib` makes one slash of several.
_BEGIN = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=[^/])")
#: Schemes whose URLs have no host.
_WITHOUT_HOST = frozenset(["file", "local"])


class UrlPath(PosixPath):
    """A URL as a path. Made by `path_of`."""

    __slots__ = ()

    def __str__(self) -> str:
        return _BEGIN.sub(_written, super().__str__(), count=1)

    def absolute(self) -> UrlPath:
        """Return the URL itself."""
        return self

    def as_uri(self) -> str:
        """Return the URL with escapes for what a line of text cannot hold."""
        return quote(os.fsencode(str(self)), safe="/:?#&=%")


def _written(begin: re.Match[str]) -> str:
    return f"{begin[1]}:{'///' if begin[1] in _WITHOUT_HOST else '//'}"


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether a text, or a path made of it, is a URL."""
    return _BEGIN.match(os.fspath(path)) is not None


def path_of(root: str | os.PathLike[str], relative_path: str = ".") -> Path:
    """Return the path of a recording.

    Args:
        root: Path or URL of its root.
        relative_path: Of the recording in its root. In a root that is a list of URLs it is a URL.
    """
    if not is_url(root):
        return Path(root, relative_path)
    return (
        UrlPath(relative_path)
        if is_url(relative_path)
        else UrlPath(root, relative_path.lstrip("/"))
    )


def url_of(root: str | os.PathLike[str], relative_path: str) -> str:
    """Return the URL of a recording to the letter, which `path_of` may shorten; as `path_of`."""
    if is_url(relative_path):
        return relative_path
    whole = os.fspath(root)
    return whole if relative_path == "." else f"{whole.rstrip('/')}/{relative_path}"
