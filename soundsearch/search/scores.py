"""Scores of the hits of one question: their relevance in this library, or their cosines."""

from __future__ import annotations

from dataclasses import dataclass

from soundsearch.arrays import Array, Cosines
from soundsearch.encoder.calibration import Calibration
from soundsearch.search.hits import SCORE_DECIMALS
from soundsearch.search.question import Question
from soundsearch.search.ranking import Ranking


@dataclass(frozen=True)
class Scores:
    """Turns cosines to a question into scores.

    Attributes:
        question: What is asked.
        calibration: Of the encoder, if it has one.
        nearest: The embedding that fits the question best among those searched, (dim,) float32;
            None if there are none, or if scores do not depend on it.
    """

    question: Question
    calibration: Calibration | None
    nearest: Array | None = None

    @classmethod
    def among(cls, ranking: Ranking, question: Question, calibration: Calibration | None) -> Scores:
        """Return what scores the recordings that are ranked."""
        needs_nearest = (
            calibration is not None and calibration.curves.search is not None and question.is_words
        )
        return cls(question, calibration, ranking.nearest(question) if needs_nearest else None)

    @property
    def are_relevance(self) -> bool:
        """Whether scores are calibrated."""
        return self.calibration is not None

    def of(self, cosines: Cosines) -> Cosines:
        """Return scores (m,) of cosines (m,)."""
        if self.calibration is None:
            return cosines
        kind, query = self.question.kind, self.question.plus
        if self.nearest is None:
            relevance = self.calibration.relevance(kind, query, cosines)
        else:
            relevance = self.calibration.relevance_of_hits(kind, query, cosines, self.nearest)
        return relevance.round(SCORE_DECIMALS)
