"""The packages that only training needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from soundsearch.errors import SoundsearchError
from soundsearch.ours import require_ours


@contextlib.contextmanager
def training_extra() -> Iterator[None]:
    """Around the imports of a command: a missing or foreign package becomes one line that helps."""
    require_ours("trainer")
    try:
        yield
    except ImportError as error:
        raise SoundsearchError(
            f"training needs packages that search does not ({error.name} is missing); "
            "install them with: pip install 'soundsearch[train]'"
        ) from error
