"""Load onnxruntime without telemetry."""

from __future__ import annotations

import os
from typing import Any

from soundsearch.interrupts import hold_interrupts


def load_onnxruntime() -> Any:
    """Import onnxruntime with its telemetry switched off, and return the module.

    Since version 1.32 onnxruntime sends usage data, and writes a database into the user's home
    folder for it, unless this variable is set before the import. A value set by the user stays.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with hold_interrupts():  # Ctrl-C within would look like an installation that is broken
        import onnxruntime

    return onnxruntime
