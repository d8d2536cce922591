"""One benchmark of one encoder: a data set in, a `BenchmarkResult` out.

    data set -> embed -> scores -> protocol -> result

No number is ever computed over fewer clips than its result states: what cannot be embedded is an
error that names it, or is counted as skipped where that was allowed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soundsearch.arrays import Array
from soundsearch.bench.class_texts import BLANK, ListedTexts, prompted, score_classes, way_in_words
from soundsearch.bench.datasets import (
    ClassificationSet,
    DataSet,
    RetrievalSet,
    TaggingSet,
    require_whole,
)
from soundsearch.bench.evaluation import (
    evaluate_classification,
    evaluate_retrieval,
    evaluate_tagging,
)
from soundsearch.bench.protocols import Protocol
from soundsearch.bench.results import (
    BenchmarkResult,
    RunFacts,
    result_of_classification,
    result_of_retrieval,
    result_of_tagging,
)
from soundsearch.choices import ClassScore, ClipScore
from soundsearch.encoder.embed_clips import (
    ClipEmbeddings,
    embed_clips,
    embed_texts,
    refuse_collapsed,
    score_texts,
)
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import BenchmarkError
from soundsearch.progress import SILENT, Progress

log = logging.getLogger(__name__)

#: So many skipped clips are named in the log.
NAMED = 10


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a benchmark is run.

    clip_score: how a clip with several windows scores, see `soundsearch.choices`; None for the
    protocol's way. merge_identical: equal captions count as one. prompts: sentences with {} that
    class names, or captions, are put into, several for classes alone; none for the protocol's, or
    the bundle's. class_texts: whole texts of classes in their place. class_score: how a class with
    several texts scores. allow_missing: measure what there is. jobs: clips read at a time. command:
    as typed, for the result.
    """

    protocol: Protocol
    clip_score: ClipScore | None = None
    merge_identical: bool = False
    prompts: tuple[str, ...] = ()
    class_texts: ListedTexts | None = None
    class_score: ClassScore = "best"
    allow_missing: bool = False
    jobs: int = 1
    seed: int = 0
    bootstrap: int = 1000
    command: str = ""

    def __post_init__(self) -> None:
        for prompt in self.prompts:
            if prompt.count(BLANK) != 1:
                raise BenchmarkError(
                    f"a prompt holds {{}} once, where the text goes, as in 'the sound of {{}}'; not {prompt!r}"
                )
        if self.prompts and self.class_texts is not None:
            raise BenchmarkError(
                f"{self.class_texts.name} holds whole texts of classes; leave --prompt or it out"
            )
        if self.protocol.one_embedding_per_clip and self.clip_score is not None:
            raise BenchmarkError(
                f"protocol {self.protocol.name} has one embedding for each clip; "
                f"--clip-score {self.clip_score} belongs to the others"
            )


def run_benchmark(
    encoder: Encoder,
    data: DataSet,
    settings: Settings,
    cache: EmbeddingCache,
    progress: Progress = SILENT,
) -> BenchmarkResult:
    """Embed, score, count. Raises BenchmarkError, DataSetError, BundleError."""
    run = _Run(encoder, settings, cache, progress)
    require_whole(data, settings.allow_missing)
    if isinstance(data, ClassificationSet | TaggingSet):
        run.texts_of_classes(data)  # a label that cannot be used is refused at once
    elif settings.class_texts is not None or len(settings.prompts) > 1:
        raise BenchmarkError(
            f"{data.name} {data.split} has captions, and a caption is one text; several prompts and "
            "texts from a file are for labels"
        )
    one = settings.protocol.one_embedding_per_clip
    found, lost = embed_clips(
        encoder, data.clips, cache, one=one, jobs=settings.jobs, progress=progress
    )
    data = data.without(lost)
    require_whole(data, settings.allow_missing)
    assert found is not None, "a data set without clips is refused"
    _tell_skipped(data)
    refuse_collapsed(encoder, found.vectors, "clips")
    return run.result(data, found.mean() if settings.clip_score == "mean" else found)


def _tell_skipped(data: DataSet) -> None:
    for clip in data.missing[:NAMED]:
        log.warning("skipped %s: %s", clip.name, clip.reason)
    if data.n_missing:
        log.warning(
            "%s %s: measured over %d of %d clips",
            *(data.name, data.split, len(data.clips), data.n_expected),
        )


@dataclass(frozen=True)
class _Run:
    """An encoder, how it is measured, the embeddings of earlier runs, and who is informed."""

    encoder: Encoder
    settings: Settings
    cache: EmbeddingCache
    progress: Progress

    def result(self, data: DataSet, clips: ClipEmbeddings) -> BenchmarkResult:
        """The result on a data set whose clips are embedded."""
        if isinstance(data, ClassificationSet):
            return self._classification(data, clips)
        if isinstance(data, TaggingSet):
            return self._tagging(data, clips)
        if isinstance(data, RetrievalSet):
            return self._retrieval(data, clips)
        raise TypeError(f"no benchmark of a {type(data).__name__}")

    def _retrieval(self, data: RetrievalSet, clips: ClipEmbeddings) -> BenchmarkResult:
        settings = self.settings
        (prompt,) = self._prompts_of(data)
        texts = [prompt.replace(BLANK, text) for text in data.texts]
        measured = evaluate_retrieval(
            score_texts(self._embedded(texts, True), clips),
            data.owner,
            settings.protocol,
            merge_identical=data.texts if settings.merge_identical else None,
            seed=settings.seed,
            bootstrap=settings.bootstrap,
        )
        counted = dict.fromkeys(texts) if settings.merge_identical else texts
        facts = self._facts(data, (prompt,), [(text,) for text in counted])
        return result_of_retrieval(measured, facts, data.names)

    def _classification(self, data: ClassificationSet, clips: ClipEmbeddings) -> BenchmarkResult:
        protocol, drawn = self.settings.protocol, self._resampling
        scores, facts = self._scored_classes(data, clips, protocol.normalise_class_text)
        measured = evaluate_classification(scores.T, data.target, data.fold, data.classes, **drawn)
        return result_of_classification(measured, facts, data.names, protocol.name)

    def _tagging(self, data: TaggingSet, clips: ClipEmbeddings) -> BenchmarkResult:
        n_classes = len(data.classes)
        data, lost = data.with_clips()
        if lost:
            log.warning(
                "%s %s: %d of %d classes have no clip here and are left out; the first is %s",
                *(data.name, data.split, len(lost), n_classes, lost[0]),
            )
        # Cosines under every protocol. Source: VIP-ANT, `cvap/monitor/audioset_clf.py`.
        scores, facts = self._scored_classes(data, clips, True)
        measured = evaluate_tagging(scores, data.tagged, data.classes, **self._resampling)
        return result_of_tagging(measured, facts, data.classes, self.settings.protocol.name)

    @property
    def _resampling(self) -> dict[str, Any]:
        return {"seed": self.settings.seed, "bootstrap": self.settings.bootstrap}

    def _scored_classes(
        self, data: ClassificationSet | TaggingSet, clips: ClipEmbeddings, normalise: bool
    ) -> tuple[Array, RunFacts]:
        """Scores (n_classes, n_clips), and the facts of the run."""
        of_class = self.texts_of_classes(data)
        vectors = self._embedded([text for texts in of_class for text in texts], normalise)
        counts = list(map(len, of_class))
        scores = score_classes(vectors, counts, clips, self.settings.class_score, normalise)
        return scores, self._facts(data, self._prompts_of(data), of_class)

    def texts_of_classes(self, data: ClassificationSet | TaggingSet) -> list[tuple[str, ...]]:
        """Raises BenchmarkError for a class that no text can be made of."""
        names = data.classes
        if isinstance(data, TaggingSet):  # display names, such as "Dog"
            names = tuple(name.lower() for name in names)
        if self.settings.class_texts is not None:
            return self.settings.class_texts.of(names, self.settings.protocol.first_class_texts)
        return prompted(names, self._prompts_of(data))

    def _prompts_of(self, data: DataSet) -> tuple[str, ...]:
        if self.settings.prompts:
            return self.settings.prompts
        prefix = self.settings.protocol.caption_prefix
        if not isinstance(data, RetrievalSet) and not prefix:
            return (self.encoder.bundle.text.prompt,)
        return (prefix + BLANK,)

    def _embedded(self, texts: list[str], normalise: bool) -> Array:
        """Embeddings of texts, (n, dim). Raises BenchmarkError where different ones have the same."""
        vectors = embed_texts(
            self.encoder, texts, self.cache, normalise=normalise, progress=self.progress
        )
        place = {text: i for i, text in enumerate(texts)}
        refuse_collapsed(self.encoder, vectors[list(place.values())], "texts")
        return vectors

    def _facts(
        self, data: DataSet, prompts: tuple[str, ...], counted: Sequence[tuple[str, ...]]
    ) -> RunFacts:
        """counted: the texts of each class, or every caption by itself."""
        bundle, settings = self.encoder.bundle, self.settings
        prompt = " | ".join(prompts)
        if settings.class_texts:
            prompt = settings.class_texts.name
        elif prompt == BLANK:
            prompt = ""
        return RunFacts(
            benchmark=data.name,
            split=data.split,
            model=bundle.name,
            model_version=bundle.version,
            fingerprint=bundle.fingerprint,
            prompt=prompt,
            class_texts=way_in_words(counted, settings.class_score),
            windows=windows_in_words(self.encoder, settings),
            n_listed=data.n_expected,
            n_skipped=data.n_missing,
            n_truncated=self._n_truncated(counted),
            max_tokens=bundle.text.max_tokens,
            command=settings.command,
        )

    def _n_truncated(self, counted: Sequence[tuple[str, ...]]) -> int:
        """How many classes, or captions, have a text that is longer than the encoder reads."""
        is_cut = self.encoder.truncated([text for texts in counted for text in texts])
        first = np.cumsum([0, *map(len, counted)])[:-1]
        return int(np.logical_or.reduceat(is_cut, first).sum())


def windows_in_words(encoder: Encoder, settings: Settings) -> str:
    """How a clip becomes embeddings, and these one score."""
    audio = encoder.bundle.audio
    windows = f"windows of {audio.window_s:g} s every {audio.hop_s:g} s"
    if settings.protocol.one_embedding_per_clip:
        if audio.clip == "centre":
            return f"one stretch of {audio.window_s:g} s at the centre"
        return f"{windows}, mean embedding"
    return f"{windows}, {'mean embedding' if settings.clip_score == 'mean' else 'best window'}"
