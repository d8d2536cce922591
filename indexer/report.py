"""What an index run did: counts, failures and where the time went; and what it says meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass
class Report:
    """The closing summary of a run.

    n_read_again: unchanged files that were read on demand. n_removed: files that have vanished
    since the last run (marked, their embeddings kept). n_failed_before: files that failed in an
    earlier run, have not changed, and were not tried again. n_pruned: recordings deleted on demand.
    audio_s: seconds of sound embedded. stage_s: seconds spent decoding (with resampling), on
    features, embedding and storing. dropped_roots: those that are gone and have no recordings left,
    because they were all found elsewhere or deleted. failures: files that could not be used, and why.
    absent: what was named and could not be looked through. unreadable: folders that could not be
    listed. left_behind: roots that are gone, of which only a part was found elsewhere. Each with the
    reason.
    """

    n_new: int = 0
    n_changed: int = 0
    n_moved: int = 0
    n_unchanged: int = 0
    n_read_again: int = 0
    n_removed: int = 0
    n_failed: int = 0
    n_failed_before: int = 0
    n_pruned: int = 0
    n_windows: int = 0
    audio_s: float = 0.0
    elapsed_s: float = 0.0
    interrupted: bool = False
    dropped_roots: list[Path] = field(default_factory=list)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    absent: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    left_behind: list[tuple[Path, str]] = field(default_factory=list)
    stage_s: dict[str, float] = field(
        default_factory=lambda: {"decode": 0.0, "features": 0.0, "embed": 0.0, "store": 0.0}
    )


class Progress(Protocol):
    """What a run reports while it goes on. Methods may be called from any thread."""

    def found(self, n_files: int) -> None:
        """So many more sound files were found while folders are scanned."""

    def compared(self, n_done: int, n_files: int) -> None:
        """So many of the new files were compared with recordings that have vanished."""

    def begin(self, n_files: int, n_bytes: int) -> None:
        """So many files have to be read, of so many bytes together."""

    def read(self, n_bytes: int) -> None:
        """So many more of these bytes were read and decoded."""

    def embedded(self, seconds: float) -> None:
        """So much more sound has been embedded."""

    def file_done(self, path: Path, problem: str | None = None, partly: bool = False) -> None:
        """A file is finished. problem: why it was not used, or only in part."""

    def saving(self) -> None:
        """All files are done, the FAISS file is brought up to date."""

    def note(self, path: Path, text: str) -> None:
        """What else there is to say of a file that was read, such as which track."""


class Silent:
    """Progress that nobody sees."""

    def found(self, n_files: int) -> None:
        """See `Progress`."""

    def compared(self, n_done: int, n_files: int) -> None:
        """See `Progress`."""

    def begin(self, n_files: int, n_bytes: int) -> None:
        """See `Progress`."""

    def read(self, n_bytes: int) -> None:
        """See `Progress`."""

    def embedded(self, seconds: float) -> None:
        """See `Progress`."""

    def file_done(self, path: Path, problem: str | None = None, partly: bool = False) -> None:
        """See `Progress`."""

    def saving(self) -> None:
        """See `Progress`."""

    def note(self, path: Path, text: str) -> None:
        """See `Progress`."""
