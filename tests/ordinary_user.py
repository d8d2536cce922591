"""Permissions that hold: root may read everything, so the tests put on another user's rights."""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: The user nobody, on every Unix.
NOBODY = 65534
#: Modules of Python may lie where only root may read them, and a codec not found stays unknown.
LOADED_LATE = ("utf-8-sig", "latin-1", "cp1252", "utf-16", "idna", "unicode-escape")


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Within, this process has no more rights than an ordinary user, even if it runs as root."""
    if os.geteuid() != 0:
        yield
        return
    for encoding in LOADED_LATE:
        codecs.lookup(encoding)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user can reach (pytest's own are closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="soundsearch-test-")).resolve()
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        for inside, folders, _ in os.walk(folder):
            for name in folders:
                path = Path(inside, name)
                if not path.is_symlink():
                    path.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)
