"""Which stages of a run folder are done.

Each stage writes one folder under the run folder and, when it is complete, `done.json` with the
fingerprint of everything that went in. A stage whose fingerprint is there already is skipped, so
an interrupted run goes on where it was, and a changed constant repeats only what depends on it;
what another constant gave is kept aside, and taken back if that constant is.
Constants and data are in the fingerprint, the code is not: after changing that, begin a new folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

from soundsearch.files import write_text

logger = logging.getLogger(__name__)

#: In a stage's folder, from its start and from its end: the fingerprint of what it is made from.
BEGUN = "begun"
DONE = "done.json"


class Run:
    """The run folder: knows which stages are done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stage(self, name: str, facts: object, work: Callable[[Path], object]) -> tuple[Path, str]:
        """Do `work(folder of the stage)` unless it was done with the same facts.

        Returns the folder and the fingerprint, which the stages that build on it put in theirs.
        An unfinished stage keeps what it wrote, if it was for the same facts; a stage for other
        facts is set aside under a name of its own, and comes back when these facts do.
        """
        fingerprint = fingerprint_of([name, facts])
        folder = self.folder / name
        begun, done = folder / BEGUN, folder / DONE
        if folder.exists() and _read(begun) != fingerprint:
            earlier = self._earlier(name, _read(begun))
            folder.rename(earlier)
            logger.info("%s: was made from something else, kept as %s", name, earlier)
        if not folder.exists() and self._earlier(name, fingerprint).exists():
            self._earlier(name, fingerprint).rename(folder)
        if done.exists():
            logger.info("%s: done before", name)
            return folder, fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        write_text(begun, fingerprint)
        logger.info("%s: begins", name)
        started = time.monotonic()
        work(folder)
        seconds = round(time.monotonic() - started, 1)
        write_text(done, json.dumps({"fingerprint": fingerprint, "seconds": seconds}))
        logger.info("%s: took %.0f s", name, seconds)
        return folder, fingerprint

    def _earlier(self, name: str, fingerprint: str) -> Path:
        return self.folder / f"{name}-{fingerprint[:12] or 'of-unknown-origin'}"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def fingerprint_of(facts: object) -> str:
    """SHA-256 of nested dataclasses, mappings and plain values."""

    def plain(value: object) -> object:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        return str(value)

    return hashlib.sha256(json.dumps(facts, default=plain, sort_keys=True).encode()).hexdigest()
