"""The named protocols: what a benchmark counts.

A protocol is a list of measures for either direction, with the rules for texts and windows that
belong to it. `evaluation` computes them. A measure is a share between 0 and 1, or a rank from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from soundsearch.bench import metrics
from soundsearch.bench.metrics import Ranks, TiedRanks
from soundsearch.choices import ProtocolName
from soundsearch.errors import BenchmarkError

TEXT_TO_AUDIO, AUDIO_TO_TEXT, ZERO_SHOT = "text-to-audio", "audio-to-text", "zero-shot"
#: Every class is a query, and the clips that have it are to stand first.
TAGGING = "tagging"
#: Every clip is a query, every class a candidate, and other folds were learnt from.
LINEAR_PROBE, FINE_TUNING = "linear-probe", "fine-tuning"
CLASSIFICATIONS = (ZERO_SHOT, LINEAR_PROBE, FINE_TUNING)
#: The same ways to learn, where clips have any number of classes: `TAGGING` but for the learning.
OF_TAGGING = {LINEAR_PROBE: "tagging-linear-probe", FINE_TUNING: "tagging-fine-tuning"}
TAGGINGS = (TAGGING, *OF_TAGGING.values())

#: Printed beside every number.
TIES = "ties by expectation"


@dataclass(frozen=True)
class Measure:
    """One number: its name, and how a query's value comes from its ranks.

    of_query gives (n_queries,) values, of which the number is the mean, or the median.
    """

    name: str
    of_query: Callable[[Ranks], NDArray[np.float64]]
    is_rank: bool = False
    median: bool = False
    shared: bool = False
    """Whether candidates that share the first place share its credit: accuracy."""

    def values(self, ranks: TiedRanks) -> tuple[NDArray[np.float64], ...]:
        """A value a query with ties by expectation, at best, and at worst: three (n_queries,)."""
        expected, optimistic, pessimistic = (self.of_query(each) for each in ranks)
        if self.shared:
            expected = np.where(optimistic > 0, 1 / ranks.pessimistic.best, 0.0)
        return expected, optimistic, pessimistic

    def over(self, values: NDArray[np.float64]) -> float:
        """The number over all queries."""
        return float(np.median(values) if self.median else np.mean(values))


def _hit(k: int, name: str = "R@{}") -> Measure:
    return Measure(name.format(k), lambda ranks: metrics.hits_at_k(ranks, k))


def _true_recall(k: int) -> Measure:
    return Measure(f"recall@{k}", lambda ranks: metrics.true_recall_at_k(ranks, k))


def _average_precision(k: int) -> Measure:
    return Measure(f"mAP@{k}", lambda ranks: metrics.average_precision_at_k(ranks, k))


def _first_hit(k: int) -> Measure:
    return Measure(f"MRR@{k}", lambda ranks: metrics.reciprocal_rank_at_k(ranks, k))


_MEDIAN = Measure("median rank", lambda ranks: ranks.best, is_rank=True, median=True)
_MEAN = Measure("mean rank", lambda ranks: ranks.best, is_rank=True)
ACCURACY = Measure("accuracy", lambda ranks: metrics.hits_at_k(ranks, 1), shared=True)
MEAN_AVERAGE_PRECISION = Measure("mAP", metrics.average_precision)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How scores become numbers, and what belongs to it when texts and clips are embedded."""

    name: ProtocolName
    text_rule: str
    """Which text counts for a clip, in a few words, printed beside the numbers."""
    description: str
    source: str
    text_to_audio: tuple[Measure, ...]
    audio_to_text: tuple[Measure, ...]
    caption_prefix: str = ""
    """Stands before every caption that is embedded."""
    normalise_class_text: bool = True
    """Whether class texts are scaled to unit length before they score a clip; in tagging always."""
    first_class_texts: int | None = None
    """Of the texts that a file lists for a class, so many count, those of a picture put as of a
    sound; None for all as they are."""
    one_embedding_per_clip: bool = False
    """Whether a clip is one embedding; else its score is that of its best window."""

    def measures(self, direction: str) -> tuple[Measure, ...]:
        """The measures of text-to-audio, audio-to-text, tagging or a classification."""
        return {
            TEXT_TO_AUDIO: self.text_to_audio,
            AUDIO_TO_TEXT: self.audio_to_text,
            **dict.fromkeys(CLASSIFICATIONS, (ACCURACY,)),
            **dict.fromkeys(TAGGINGS, (MEAN_AVERAGE_PRECISION,)),
        }[direction]


_STANDARD = (_hit(1), _hit(5), _hit(10), _average_precision(10), _MEDIAN, _MEAN)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                name="literature",
                text_rule="every caption is a query; best of a clip's captions",
                description="What papers on AudioCaps and Clotho report. Text to audio: every caption is a query, "
                "its clip the one answer. Audio to text: a clip is found when the best of its captions is; mAP@10 "
                "counts all its captions, their positions sorted.",
                source="XinhaoMei/WavCaps, retrieval/tools/utils.py; LAION-AI/CLAP but for its audio-to-text mAP@10, "
                "whose positions are not sorted",
                text_to_audio=_STANDARD,
                audio_to_text=_STANDARD,
            ),
            Protocol(
                name="vip-ant",
                text_rule="every caption is a query; best of a clip's captions",
                description="As literature, with R@50. Captions are prefixed with 'the sound of ', class texts keep "
                "their length, the first four that a file lists for a class count, a clip is one embedding. VIP-ANT breaks ties by the order of argsort and prints no "
                "mAP; here ties are broken by expectation, and mAP@10 is added.",
                source="zhaoyanpeng/vipant, cvap/module/decoder/loss_head.py, cvap/monitor/esc50_clf.py",
                text_to_audio=(_hit(1), _hit(5), _hit(10), _hit(50), *_STANDARD[3:]),
                audio_to_text=(_hit(1), _hit(5), _hit(10), _hit(50), *_STANDARD[3:]),
                caption_prefix="the sound of ",
                normalise_class_text=False,
                first_class_texts=4,
                one_embedding_per_clip=True,
            ),
            Protocol(
                name="dcase",
                text_rule="every caption is a query; share of a clip's captions",
                description="DCASE language-based audio retrieval. Text to audio: R@k and mAP@10 (2022 to 2024), "
                "mAP@16 (2025; normalised by all relevant clips). Audio to text, as the 2022 and 2023 code has it: "
                "true recall, so that recall@1 of a clip with five captions is at most 0.2, and mAP over all five. "
                "MRR@10 is the mAP of the 2025 baseline family, which counts the first hit alone.",
                source="xieh97/dcase2023-audio-retrieval; a fork of the DCASE 2025 task 6 baseline",
                text_to_audio=(
                    *(_hit(1), _hit(5), _hit(10)),
                    *(_average_precision(10), _average_precision(16), _MEDIAN, _MEAN),
                ),
                audio_to_text=(
                    *(_true_recall(1), _true_recall(5), _true_recall(10)),
                    *(
                        _average_precision(10),
                        _average_precision(16),
                        _first_hit(10),
                        _MEDIAN,
                        _MEAN,
                    ),
                ),
            ),
            Protocol(
                name="mteb-v2",
                text_rule="every caption that is not empty is a query; hit rate and recall",
                description="The measures of MTEB's retrieval tasks: hit_rate@k (any relevant candidate) and recall@k "
                "(share of them), mAP@10 normalised by all relevant. Empty captions are refused: version 1 of the "
                "Clotho tasks cut a clip's joined captions at full stops and counted what was empty, 905 of 5,585 "
                "texts. Version 2 keeps the 4,680 others, some of them two captions run together; here the data "
                "set's own 5,225 captions count. A clip is one embedding.",
                source="embeddings-benchmark/mteb, ClothoT2ARetrieval.v2 and ClothoA2TRetrieval.v2 (pull request 5062)",
                text_to_audio=(
                    *(_hit(k, "hit_rate@{}") for k in (1, 5, 10)),
                    *(_true_recall(1), _true_recall(5), _true_recall(10)),
                    *(_average_precision(10), _MEDIAN, _MEAN),
                ),
                audio_to_text=(
                    *(_hit(k, "hit_rate@{}") for k in (1, 5, 10)),
                    *(_true_recall(1), _true_recall(5), _true_recall(10)),
                    *(_average_precision(10), _MEDIAN, _MEAN),
                ),
                one_embedding_per_clip=True,
            ),
        )
    }
)


def protocol_named(name: str) -> Protocol:
    """The protocol of that name. Raises BenchmarkError, listing those there are."""
    try:
        return PROTOCOLS[name]
    except KeyError:
        raise BenchmarkError(
            f"there is no protocol {name!r}; choose one of {', '.join(PROTOCOLS)}"
        ) from None
