"""What a long run reports while it goes on: one protocol for indexing, measuring and training.

A run is a sequence of stages. A stage has a name, such as "clips", and a total if it is known.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives reports. Methods may be called from any thread, but `begin` from one alone."""

    def begin(self, what: str, total: int | None = None, n_bytes: int | None = None) -> None:
        """A stage begins, and the one before it has ended.

        Args:
            what: What the stage counts, in the plural, or what it does, such as "files".
            total: How many there are; None if this is not known.
            n_bytes: How many bytes they have together, where these measure the work better.
        """

    def advance(self, n: float = 1, n_bytes: int = 0) -> None:
        """So many more are done, which may be a part of one, and so many more bytes."""

    def status(self, text: str) -> None:
        """Other numbers of this stage, in place of those before."""

    def note(self, line: str) -> None:
        """One line to keep, such as about a file that was skipped."""


class Silent:
    """Progress that nobody reads."""

    def begin(self, what: str, total: int | None = None, n_bytes: int | None = None) -> None:
        """See `Progress`."""

    def advance(self, n: float = 1, n_bytes: int = 0) -> None:
        """See `Progress`."""

    def status(self, text: str) -> None:
        """See `Progress`."""

    def note(self, line: str) -> None:
        """See `Progress`."""


SILENT = Silent()
