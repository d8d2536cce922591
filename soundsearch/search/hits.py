"""What a search returns: hits, and labels of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Decimals to which cosines and scores are rounded: float32 sums differ beyond.
SCORE_DECIMALS = 5


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A place of a recording to listen at, and how well it fits a query.

    Attributes:
        start_s: Where it begins in the recording, in seconds.
        end_s: Where it ends, in seconds.
        cosine: Cosine similarity of the query and the window of it that fits best, in [-1, 1].
            What counts as high differs from query to query. None of a search by filters alone,
            which ranks nothing.
        relevance: Calibrated score in [0, 1], comparable between queries; from 0.5 on it fits.
            None if the encoder has no calibration, and of a search by filters alone.
    """

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
class Fit(Passage):
    """The window of a recording that fits a query best.

    Attributes:
        rank: Place in the list; 1 is best.
    """

    rank: int


@dataclass(frozen=True, kw_only=True)
class Hit(Fit):
    """One recording that a search found, with its best window.

    Attributes:
        recording_id: Of the recording in its index; no other one ever gets it.
        path: Absolute path of the recording.
        duration_s: Length of the recording in seconds.
        is_present: Whether the file exists now. It does not while its disk is not mounted.
        words: Words of the query that its name, folders or metadata hold, as they stand there;
            empty where it was found by its sound alone.
        passages: Where the query stands out in it, in order of time, see
            `soundsearch.search.passages`. At most as many as were asked for, the best of them.
        n_more_passages: How many more passages stand out.
        copies: Absolute paths of other recordings with the same sound, where a search gives one
            hit for all of them.
    """

    recording_id: int
    path: Path
    duration_s: float
    is_present: bool
    words: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()
    n_more_passages: int = 0
    copies: tuple[Path, ...] = ()

    @property
    def why(self) -> str:
        """Why it is among the hits, such as: sound 0.71, words: "door", "metal"; or filters."""
        if self.score is None:
            return "filters"
        found_by = ", ".join(f'"{word}"' for word in self.words)
        return f"sound {self.score:.2f}" + (f", words: {found_by}" if found_by else "")


@dataclass(frozen=True, kw_only=True)
class Label(Fit):
    """One text that fits a recording, with the window that it fits best.

    Attributes:
        text: The text as it was given.
        truncated: Whether the text is longer than the encoder reads, so that its end has no effect.
    """

    text: str
    truncated: bool
