"""What a search returns: hits, and labels of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Decimals to which cosines and scores are rounded: float32 sums differ beyond.
SCORE_DECIMALS = 5


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well one window of a recording fits a query.

    Attributes:
        rank: Place in the list; 1 is best.
        start_s: Where the window begins in the recording, in seconds.
        end_s: Where the window ends, in seconds.
        cosine: Cosine similarity of query and window, in [-1, 1]. What counts as high differs
            from query to query. None of a search by filters alone, which ranks nothing.
        relevance: Calibrated score in [0, 1], comparable between queries; from 0.5 on the window
            fits. None if the encoder has no calibration, and of a search by filters alone.
    """

    rank: int
    start_s: float
    end_s: float
    cosine: float | None
    relevance: float | None

    @property
    def score(self) -> float | None:
        """The relevance, or the cosine if the encoder has no calibration; higher is better.

        None of a search by filters alone.
        """
        return self.cosine if self.relevance is None else self.relevance


@dataclass(frozen=True, kw_only=True)
class Hit(Fit):
    """One recording that a search found, with its best window.

    Attributes:
        path: Absolute path of the recording.
        duration_s: Length of the recording in seconds.
        is_present: Whether the file exists now. It does not while its disk is not mounted.
        words: Words of the query that its name, folders or metadata hold, as they stand there;
            empty where it was found by its sound alone.
    """

    path: Path
    duration_s: float
    is_present: bool
    words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Label(Fit):
    """One text that fits a recording, with the window that it fits best.

    Attributes:
        text: The text as it was given.
        truncated: Whether the text is longer than the encoder reads, so that its end has no effect.
    """

    text: str
    truncated: bool
