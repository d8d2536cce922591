"""Whether `indexer` and `trainer` are the packages of this project.

Both are top-level packages with plain names. Another distribution may install a package of the same
name over ours, or in front of it on the path; its code must not run in place of ours.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from soundsearch.errors import SoundsearchError

#: Stands in the `__init__.py` of each of our packages.
MARK = '__part_of__ = "soundsearch"'


class ForeignPackageError(SoundsearchError):
    """A package of ours is missing, or replaced by another one of the same name."""


def require_ours(name: str) -> None:
    """Check that the top-level package of this name is ours, without importing it.

    Raises:
        ForeignPackageError: Python would import another package, or there is none.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ForeignPackageError(
            f"the package {name}, a part of soundsearch, is missing; "
            "install it again with: pip install --force-reinstall --no-deps soundsearch"
        )
    try:
        is_ours = MARK in Path(spec.origin).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ForeignPackageError(f"{spec.origin}: {error.strerror or error}") from error
    if not is_ours:
        raise ForeignPackageError(
            f"{spec.origin}: this package {name} is not the one of soundsearch, but of another "
            f"project; uninstall or move that one, then: "
            "pip install --force-reinstall --no-deps soundsearch (or use a virtual environment)"
        )
