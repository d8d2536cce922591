from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from soundsearch.vectors import cache, in_database, vector_index


@pytest.fixture(params=["exact", "inverted", "postgresql"])
def each_kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Search exactly, as if two windows were many by an inverted file, and by a server's database."""
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "inverted":
            patched.setattr(cache, "EXACT_WINDOWS", 1)
            patched.setattr(cache, "DELTA_WINDOWS", 2)
            patched.setattr(cache, "_questions", lambda reader: None)
            patched.setattr(vector_index, "FEW_WINDOWS", 0)
            patched.setattr(vector_index, "DEEP_SHARE", np.inf)
        if request.param == "postgresql":
            request.getfixturevalue("postgres").replace_folders(patched)
            patched.setattr(in_database, "FEW_WINDOWS", 0)  # the database compares, not we
            patched.setattr(in_database, "DEEP_SHARE", np.inf)
        yield request.param
