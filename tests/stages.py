"""A reporter of progress that remembers what it was given."""

from __future__ import annotations


class Stages:
    """Progress as it was reported.

    done: how many were done of each stage, in order. totals: of the stages that have one.
    """

    def __init__(self) -> None:
        self.done: dict[str, float] = {}
        self.totals: dict[str, int] = {}
        self.notes: list[str] = []

    def begin(self, what: str, total: int | None = None, n_bytes: int | None = None) -> None:
        self._stage = what
        self.done[what] = 0
        if total is not None:
            self.totals[what] = total

    def advance(self, n: float = 1, n_bytes: int = 0) -> None:
        self.done[self._stage] += n

    def status(self, text: str) -> None: ...

    def note(self, line: str) -> None:
        self.notes.append(line)

    @property
    def whole(self) -> dict[str, float]:
        """How many were done of each stage that has a total."""
        return {what: self.done[what] for what in self.totals}
