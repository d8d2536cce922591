"""What an index run did: counts, failures and where the time went; and its progress."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from soundsearch.progress import Progress
from soundsearch.render import duration


@dataclass
class Report:
    """What a run did. All lists of pairs hold a path and the reason.

    Attributes:
        n_new: Files that were not known before.
        n_changed: Files that had changed.
        n_moved: Files that were found at another place, and kept their embeddings.
        n_unchanged: Files that were skipped.
        n_read_again: Unchanged files that were read on demand.
        n_removed: Files that have vanished since the last run; they keep their embeddings.
        n_failed: Files that could not be used.
        n_failed_before: Files that failed in an earlier run, have not changed, and were not tried
            again.
        n_pruned: Recordings that were deleted on demand.
        n_windows: Windows that were embedded.
        audio_s: Sound that was embedded, in seconds.
        elapsed_s: Duration of the run in seconds.
        n_captioned: Recordings that have captions now; counted where the run was given some.
        n_uncaptioned: Recordings that lost their captions.
        interrupted: Whether Ctrl-C ended the run.
        dropped_roots: Roots that are gone and have no recordings left.
        causes: How many files could not be used, by cause.
        failures: Files that could not be used.
        absent: What was named and could not be looked through.
        unreadable: Folders that could not be listed.
        left_behind: Roots that are gone, of which only a part was found elsewhere.
        skipped: Files that were not taken for sound, by ending.
        unmatched_captions: Files that captions name and that are no recordings.
        stage_s: Seconds spent on decoding (with resampling), features, embedding and storing.
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
    n_captioned: int = 0
    n_uncaptioned: int = 0
    interrupted: bool = False
    dropped_roots: list[Path] = field(default_factory=list)
    causes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    absent: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    left_behind: list[tuple[Path, str]] = field(default_factory=list)
    unmatched_captions: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    stage_s: dict[str, float] = field(
        default_factory=lambda: {"decode": 0.0, "features": 0.0, "embed": 0.0, "store": 0.0}
    )


class FileProgress:
    """Reports the files of a run to a `Progress` as they are read, embedded and finished.

    `read` may be called from any thread, the others from one alone.
    """

    def __init__(self, progress: Progress, *, with_time_left: bool = False) -> None:
        """with_time_left: whether to say how long it will take, where files come many at a time."""
        self._progress = progress
        self._with_time_left = with_time_left
        self._n_bytes = self._n_bytes_read = 0
        self._began = 0.0
        self._embedded_s = 0.0
        self._n_failed = 0

    def begin(self, n_files: int, n_bytes: int) -> None:
        """So many files have to be read, of so many bytes together."""
        self._began = time.monotonic()
        self._n_bytes = n_bytes
        self._progress.begin("files", n_files, n_bytes)

    def begin_anew(self) -> None:
        """What was finished so far came from an earlier run: speed and time left count from now on."""
        self._began = time.monotonic()
        self._n_bytes -= self._n_bytes_read
        self._n_bytes_read = 0
        self._embedded_s = 0.0

    def read(self, n_bytes: int) -> None:
        """So many more of these bytes were read and decoded."""
        self._n_bytes_read += n_bytes
        self._progress.advance(0, n_bytes)

    def embedded(self, seconds: float) -> None:
        """So much more sound has been embedded."""
        self._embedded_s += seconds
        self._report()

    def file_done(
        self, path: Path, problem: str | None = None, partly: bool = False, note: str | None = None
    ) -> None:
        """A file is finished.

        Args:
            path: The file.
            problem: Why it was not used, or only in part.
            partly: Whether a part of it was used.
            note: What else there is to say, such as which track was read.
        """
        if note is not None:
            self._progress.note(f"note {path}: {note}")
        if problem is not None:
            self._n_failed += not partly
            self._progress.note(f"{'partly read' if partly else 'skipped'} {path}: {problem}")
        self._progress.advance()
        self._report()

    def _report(self) -> None:
        speed = self._embedded_s / max(time.monotonic() - self._began, 1.0)
        failed = f", {self._n_failed} failed" if self._n_failed else ""
        self._progress.status(
            f"{duration(self._embedded_s)} of sound, {speed:.0f} x real time{failed}{self._left()}"
        )

    def _left(self) -> str:
        if not self._with_time_left or not self._n_bytes_read:
            return ""
        elapsed_s = time.monotonic() - self._began
        left_s = elapsed_s * (self._n_bytes - self._n_bytes_read) / self._n_bytes_read
        return f", about {duration(left_s)} left"
