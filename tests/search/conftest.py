from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from soundsearch.vectors import cache, vector_index


@pytest.fixture(params=["exact", "inverted"])
def both_kinds(request: pytest.FixtureRequest) -> Iterator[str]:
    """Search exactly, and as if two windows were many: by an inverted file, visited whole."""
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "inverted":
            patched.setattr(cache, "EXACT_WINDOWS", 1)
            patched.setattr(cache, "DELTA_WINDOWS", 2)
            patched.setattr(cache, "_questions", lambda reader: None)
            patched.setattr(vector_index, "FEW_WINDOWS", 0)
            patched.setattr(vector_index, "DEEP_SHARE", np.inf)
        yield request.param
