"""onnxruntime, as this program uses it."""

from __future__ import annotations

import os
from typing import Any


def load_onnxruntime() -> Any:
    """The module; it sends nothing over the network.

    Since version 1.32 it reports its use to its makers, and writes a database into the user's home
    folder for that, unless this variable is set before it is loaded. A value set by the user stays.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
