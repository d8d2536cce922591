"""One benchmark of one encoder: a data set in, a `BenchmarkResult` out.

    data set -> embed -> scores -> protocol -> result

No number is ever computed over fewer clips than its result states: what cannot be embedded is an
error that names it, or is counted as skipped where that was allowed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soundsearch.arrays import Array
from soundsearch.bench.class_texts import (
    BLANK,
    ListedTexts,
    prompted,
    score_classes,
    way_in_words,
)
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
    require_whole(data, settings.allow_missing)
    if isinstance(
        data, ClassificationSet | TaggingSet
    ):  # a label that cannot be used is refused at once
        _texts_of_classes(encoder, data, settings)
    elif settings.class_texts is not None or len(settings.prompts) > 1:
        raise BenchmarkError(
            f"{data.name} {data.split} has captions, and a caption is one text; several prompts and "
            "texts from a file are for labels"
        )
    protocol = settings.protocol
    found, lost = embed_clips(
        encoder,
        data.clips,
        cache,
        one=protocol.one_embedding_per_clip,
        jobs=settings.jobs,
        progress=progress,
    )
    data = data.without(lost)
    require_whole(data, settings.allow_missing)
    assert found is not None, "a data set without clips is refused"
    _tell_skipped(data)
    refuse_collapsed(encoder, found.vectors, "clips")
    clips = found.mean() if settings.clip_score == "mean" else found
    if isinstance(data, ClassificationSet):
        return _classification(encoder, data, clips, settings, cache, progress)
    if isinstance(data, TaggingSet):
        return _tagging(encoder, data, clips, settings, cache, progress)
    if isinstance(data, RetrievalSet):
        return _retrieval(encoder, data, clips, settings, cache, progress)
    raise TypeError(f"no benchmark of a {type(data).__name__}")


def _tell_skipped(data: DataSet) -> None:
    for clip in data.missing[:NAMED]:
        log.warning("skipped %s: %s", clip.name, clip.reason)
    if data.n_missing:
        log.warning(
            "%s %s: measured over %d of %d clips",
            *(data.name, data.split, len(data.clips), data.n_expected),
        )


def _retrieval(
    encoder: Encoder,
    data: RetrievalSet,
    clips: ClipEmbeddings,
    settings: Settings,
    cache: EmbeddingCache,
    progress: Progress,
) -> BenchmarkResult:
    (prompt,) = _prompts_of(encoder, data, settings)
    texts = [prompt.replace(BLANK, text) for text in data.texts]
    vectors = embed_texts(encoder, texts, cache, progress=progress)
    _refuse_collapsed_texts(encoder, texts, vectors)
    measured = evaluate_retrieval(
        score_texts(vectors, clips),
        data.owner,
        settings.protocol,
        merge_identical=data.texts if settings.merge_identical else None,
        seed=settings.seed,
        bootstrap=settings.bootstrap,
    )
    counted = dict.fromkeys(texts) if settings.merge_identical else texts
    facts = _facts(encoder, data, settings, (prompt,), [(text,) for text in counted])
    return result_of_retrieval(measured, facts, data.names)


def _classification(
    encoder: Encoder,
    data: ClassificationSet,
    clips: ClipEmbeddings,
    settings: Settings,
    cache: EmbeddingCache,
    progress: Progress,
) -> BenchmarkResult:
    normalise = settings.protocol.normalise_class_text
    scores, facts = _scored_classes(encoder, data, clips, settings, cache, progress, normalise)
    measured = evaluate_classification(
        scores.T,
        data.target,
        data.fold,
        data.classes,
        seed=settings.seed,
        bootstrap=settings.bootstrap,
    )
    return result_of_classification(measured, facts, data.names, settings.protocol.name)


def _tagging(
    encoder: Encoder,
    data: TaggingSet,
    clips: ClipEmbeddings,
    settings: Settings,
    cache: EmbeddingCache,
    progress: Progress,
) -> BenchmarkResult:
    n_classes = len(data.classes)
    data, lost = data.with_clips()
    if lost:
        log.warning(
            "%s %s: %d of %d classes have no clip here and are left out; the first is %s",
            *(data.name, data.split, len(lost), n_classes, lost[0]),
        )
    # Cosines under every protocol. Source: VIP-ANT, `cvap/monitor/audioset_clf.py`.
    scores, facts = _scored_classes(encoder, data, clips, settings, cache, progress, True)
    measured = evaluate_tagging(
        scores, data.tagged, data.classes, seed=settings.seed, bootstrap=settings.bootstrap
    )
    return result_of_tagging(measured, facts, data.classes, settings.protocol.name)


def _scored_classes(
    encoder: Encoder,
    data: ClassificationSet | TaggingSet,
    clips: ClipEmbeddings,
    settings: Settings,
    cache: EmbeddingCache,
    progress: Progress,
    normalise: bool,
) -> tuple[Array, RunFacts]:
    """Scores (n_classes, n_clips), and the facts of the run."""
    of_class = _texts_of_classes(encoder, data, settings)
    texts = [text for texts in of_class for text in texts]
    vectors = embed_texts(encoder, texts, cache, normalise=normalise, progress=progress)
    _refuse_collapsed_texts(encoder, texts, vectors)
    counts = list(map(len, of_class))
    scores = score_classes(vectors, counts, clips, settings.class_score, normalise)
    return scores, _facts(encoder, data, settings, _prompts_of(encoder, data, settings), of_class)


def _texts_of_classes(
    encoder: Encoder, data: ClassificationSet | TaggingSet, settings: Settings
) -> list[tuple[str, ...]]:
    """Raises BenchmarkError for a class that no text can be made of."""
    names = data.classes
    if isinstance(data, TaggingSet):  # display names, such as "Dog"
        names = tuple(name.lower() for name in names)
    if settings.class_texts is not None:
        return settings.class_texts.of(names, settings.protocol.first_class_texts)
    return prompted(names, _prompts_of(encoder, data, settings))


def _prompts_of(encoder: Encoder, data: DataSet, settings: Settings) -> tuple[str, ...]:
    if settings.prompts:
        return settings.prompts
    prefix = settings.protocol.caption_prefix
    if not isinstance(data, RetrievalSet) and not prefix:
        return (encoder.bundle.text.prompt,)
    return (prefix + BLANK,)


def _refuse_collapsed_texts(encoder: Encoder, texts: list[str], vectors: Array) -> None:
    place = {text: i for i, text in enumerate(texts)}
    refuse_collapsed(encoder, vectors[list(place.values())], "texts")


def _facts(
    encoder: Encoder,
    data: DataSet,
    settings: Settings,
    prompts: tuple[str, ...],
    counted: Sequence[tuple[str, ...]],
) -> RunFacts:
    """counted: the texts of each class, or every caption by itself."""
    bundle = encoder.bundle
    prompt = " | ".join(prompts)
    return RunFacts(
        benchmark=data.name,
        split=data.split,
        model=bundle.name,
        model_version=bundle.version,
        fingerprint=bundle.fingerprint,
        prompt=(
            settings.class_texts.name
            if settings.class_texts
            else ("" if prompt == BLANK else prompt)
        ),
        class_texts=way_in_words(counted, settings.class_score),
        windows=windows_in_words(encoder, settings),
        n_listed=data.n_expected,
        n_skipped=data.n_missing,
        n_truncated=_n_truncated(encoder, counted),
        max_tokens=bundle.text.max_tokens,
        command=settings.command,
    )


def _n_truncated(encoder: Encoder, counted: Sequence[tuple[str, ...]]) -> int:
    """How many classes, or captions, have a text that is longer than the encoder reads."""
    is_cut = encoder.truncated([text for texts in counted for text in texts])
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
