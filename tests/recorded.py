"""A `Progress` that remembers all reports, and may do something when one more is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from soundsearch.progress import Silent


@dataclass
class Stage:
    """One stage of a run: what `begin` got, and what was reported since."""

    what: str
    total: int | None
    n_bytes: int | None
    advances: list[float] = field(default_factory=list)
    bytes_read: list[int] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)

    @property
    def done(self) -> float:
        """How many are done."""
        return sum(self.advances)


class Recorded(Silent):
    """All stages in order, and all notes."""

    def __init__(self, at_advance: Callable[[Stage], None] = lambda stage: None) -> None:
        self.stages: list[Stage] = []
        self.notes: list[str] = []
        self._at_advance = at_advance

    def stage(self, what: str) -> Stage:
        """The only stage of this name."""
        (found,) = (stage for stage in self.stages if stage.what == what)
        return found

    def begin(self, what: str, total: int | None = None, n_bytes: int | None = None) -> None:
        self.stages.append(Stage(what, total, n_bytes))

    def advance(self, n: float = 1, n_bytes: int = 0) -> None:
        stage = self.stages[-1]
        if n_bytes:
            stage.bytes_read.append(n_bytes)
        if n:
            stage.advances.append(n)
            self._at_advance(stage)

    def status(self, text: str) -> None:
        self.stages[-1].statuses.append(text)

    def note(self, line: str) -> None:
        self.notes.append(line)
