"""The result of one benchmark run: numbers with everything they hang on.

Shares are between 0 and 1, ranks count from 1. docs/benchmarks.md describes every field. No result
can be made whose numbers were computed over other counts than it states: see `BenchmarkResult`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from soundsearch import __version__
from soundsearch.bench.evaluation import (
    ClassificationResult,
    Measured,
    Number,
    RetrievalResult,
    TaggingResult,
)
from soundsearch.bench.metrics import TiedRanks
from soundsearch.bench.protocols import AUDIO_TO_TEXT, CLASSIFICATIONS, PROTOCOLS, TAGGINGS, TIES
from soundsearch.config import fill
from soundsearch.errors import BenchmarkError, ConfigError

SCHEMA = 1

#: Decimals of shares and ranks in JSON and CSV.
DECIMALS = 8


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What was measured, with what, and how: all a reader needs to run it again."""

    benchmark: str
    split: str
    model: str
    model_version: str
    fingerprint: str
    """Of the encoder, as in the index that it makes."""
    prompt: str
    """Template of class texts, several with | between them, or the file that lists these texts; or
    what stands before captions; "" for none."""
    windows: str
    """How a clip becomes embeddings, and how these become one score, in words."""
    n_listed: int
    """Clips the split lists."""
    n_skipped: int = 0
    """Listed clips that could not be used; n_listed - n_skipped were."""
    n_truncated: int = 0
    """Texts that are longer than the encoder reads: their ends had no effect."""
    max_tokens: int | None = None
    """So much of a text the encoder reads; None where an older result does not say."""
    class_texts: str = ""
    """How several texts of a class make its score, in words; "" where each has one."""
    command: str = ""
    soundsearch: str = __version__


@dataclass(frozen=True, eq=False)
class QueryRanks:
    """Where the relevant candidates of every query of one direction stood.

    queries, clips: names, (n_queries,). A query that is a caption is named CLIP#N, N counting the
    captions of the clip from 0.
    """

    queries: tuple[str, ...]
    clips: tuple[str, ...]
    ranks: TiedRanks


@dataclass(frozen=True, kw_only=True)
class DirectionResult:
    """The numbers of one direction; queries is None where only the JSON was read."""

    name: str
    n_queries: int
    n_candidates: int
    numbers: Mapping[str, Number]
    queries: QueryRanks | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """One run. Raises BenchmarkError when its counts contradict each other.

    `classes` (name, clips, accuracy, mistaken for), `folds` and `confusion` belong to
    classification and are empty for retrieval; tagging has `classes` (name, clips, average
    precision) alone.
    """

    run: RunFacts
    protocol: str
    n_clips: int
    n_texts: int
    """Captions, or classes."""
    merged_identical: bool
    directions: tuple[DirectionResult, ...]
    seed: int
    bootstrap: int
    ties: str = TIES
    folds: Mapping[str, float] = field(default_factory=dict)
    fold_mean: float | None = None
    fold_std: float | None = None
    classes: tuple[Mapping[str, Any], ...] = ()
    confusion: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        run = self.run
        if run.n_skipped < 0 or run.n_listed - run.n_skipped != self.n_clips:
            raise BenchmarkError(
                f"{run.benchmark} {run.split}: {run.n_listed} clips are listed and {run.n_skipped} were skipped, "
                f"but the numbers are over {self.n_clips}"
            )
        for direction in self.directions:
            clips_ask = direction.name in (AUDIO_TO_TEXT, *CLASSIFICATIONS)
            wanted = (self.n_clips, self.n_texts) if clips_ask else (self.n_texts, self.n_clips)
            found = (direction.n_queries, direction.n_candidates)
            if found != wanted:
                raise BenchmarkError(
                    f"{run.benchmark} {run.split}, {direction.name}: {found[0]} queries and {found[1]} candidates "
                    f"do not belong to {self.n_clips} clips and {self.n_texts} texts"
                )
            rows = direction.queries and len(direction.queries.queries)
            if rows is not None and rows != direction.n_queries:
                raise BenchmarkError(
                    f"{run.benchmark} {run.split}, {direction.name}: ranks of {rows} queries are given, "
                    f"but the numbers are over {direction.n_queries}"
                )
        if self.task == "tagging" and len(self.classes) != self.n_texts:
            raise BenchmarkError(
                f"{run.benchmark} {run.split}: {len(self.classes)} classes are listed, "
                f"but the numbers are over {self.n_texts}"
            )
        of_classes = (
            sum(each["n_clips"] for each in self.classes),
            len(self.classes),
            len(self.confusion),
        )
        if self.task == "classification" and of_classes != (
            self.n_clips,
            self.n_texts,
            self.n_texts,
        ):
            raise BenchmarkError(
                f"{run.benchmark} {run.split}: {of_classes[1]} classes with {of_classes[0]} clips in all "
                f"do not belong to {self.n_clips} clips and {self.n_texts} classes"
            )

    @property
    def task(self) -> str:
        """The word retrieval, classification or tagging."""
        name = self.directions[0].name
        if name in CLASSIFICATIONS:
            return "classification"
        return "tagging" if name in TAGGINGS else "retrieval"

    def direction(self, name: str) -> DirectionResult | None:
        """The direction of that name, if it was measured."""
        return next((each for each in self.directions if each.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """The documented object, without the ranks of single queries."""
        run = self.run
        data = {
            "schema": SCHEMA,
            "task": self.task,
            "benchmark": run.benchmark,
            "split": run.split,
            "model": {
                "name": run.model,
                "version": run.model_version,
                "fingerprint": run.fingerprint,
                "max_tokens": run.max_tokens,
            },
            "protocol": self.protocol,
            "ties": self.ties,
            "merged_identical": self.merged_identical,
            "prompt": run.prompt,
            "class_texts": run.class_texts,
            "windows": run.windows,
            "counts": {
                "listed_clips": run.n_listed,
                "skipped_clips": run.n_skipped,
                "clips": self.n_clips,
                "texts": self.n_texts,
                "truncated_texts": run.n_truncated,
            },
            "directions": [
                {
                    "name": each.name,
                    "n_queries": each.n_queries,
                    "n_candidates": each.n_candidates,
                    "numbers": {name: asdict(number) for name, number in each.numbers.items()},
                }
                for each in self.directions
            ],
            "bootstrap": {"samples": self.bootstrap, "seed": self.seed, "level": 0.95},
            "soundsearch": run.soundsearch,
            "command": run.command,
        }
        if self.task == "classification":
            data["folds"] = {
                "accuracy": dict(self.folds),
                "mean": self.fold_mean,
                "std": self.fold_std,
            }
            data["confusion"] = [list(row) for row in self.confusion]
        if self.classes:
            data["classes"] = [dict(each) for each in self.classes]
        rounded: dict[str, Any] = _rounded(data)
        return rounded


def result_of_retrieval(
    measured: RetrievalResult, run: RunFacts, clip_names: Sequence[str]
) -> BenchmarkResult:
    """A retrieval as a result. clip_names: (n_clips,), distinct, in the order of the scores."""
    _check_names(clip_names, measured.n_clips)
    to_audio, to_text = measured.directions
    return BenchmarkResult(
        run=run,
        protocol=measured.protocol.name,
        n_clips=measured.n_clips,
        n_texts=measured.n_texts,
        merged_identical=measured.merged_identical,
        directions=(
            _direction(to_audio, _caption_names(to_audio, clip_names), clip_names),
            _direction(to_text, [clip_names[i] for i in to_text.query], clip_names),
        ),
        seed=measured.seed,
        bootstrap=measured.bootstrap,
    )


def result_of_classification(
    measured: ClassificationResult, run: RunFacts, clip_names: Sequence[str], protocol: str
) -> BenchmarkResult:
    """A classification as a result. protocol: the name of the one whose text rule was followed."""
    _check_names(clip_names, measured.n_clips)
    return BenchmarkResult(
        run=run,
        protocol=protocol,
        n_clips=measured.n_clips,
        n_texts=len(measured.class_names),
        merged_identical=False,
        directions=(_direction(measured.measured, list(clip_names), clip_names),),
        seed=measured.seed,
        bootstrap=measured.bootstrap,
        folds={str(fold): accuracy for fold, accuracy in measured.folds.items()},
        fold_mean=measured.fold_mean,
        fold_std=measured.fold_std,
        classes=tuple(asdict(each) for each in measured.classes),
        confusion=tuple(tuple(map(float, row)) for row in measured.confusion),
    )


def result_of_tagging(
    measured: TaggingResult, run: RunFacts, class_names: Sequence[str], protocol: str
) -> BenchmarkResult:
    """A tagging as a result, whose queries are the classes; protocol as for a classification."""
    return BenchmarkResult(
        run=run,
        protocol=protocol,
        n_clips=measured.n_clips,
        n_texts=len(class_names),
        merged_identical=False,
        directions=(_direction(measured.tagging, list(class_names), class_names),),
        seed=measured.seed,
        bootstrap=measured.bootstrap,
        classes=tuple(asdict(each) for each in measured.classes),
    )


def result_from_json(data: Any) -> BenchmarkResult:
    """A result from what `to_json` gave. Raises BenchmarkError for anything else."""
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else None
        raise BenchmarkError(f"not a benchmark result of schema {SCHEMA} (its schema is {found!r})")
    if data.get("protocol") not in PROTOCOLS:
        raise BenchmarkError(f"a result of protocol {data.get('protocol')!r}, which is not known")
    try:
        counts, model, bootstrap = data["counts"], data["model"], data["bootstrap"]
        folds = data.get("folds") or {}
        return BenchmarkResult(
            run=RunFacts(
                benchmark=data["benchmark"],
                split=data["split"],
                model=model["name"],
                model_version=model["version"],
                fingerprint=model["fingerprint"],
                prompt=data["prompt"],
                class_texts=data.get("class_texts", ""),
                windows=data["windows"],
                n_listed=counts["listed_clips"],
                n_skipped=counts["skipped_clips"],
                n_truncated=counts.get("truncated_texts", 0),
                max_tokens=model.get("max_tokens"),
                command=data["command"],
                soundsearch=data["soundsearch"],
            ),
            protocol=data["protocol"],
            ties=data["ties"],
            n_clips=counts["clips"],
            n_texts=counts["texts"],
            merged_identical=data["merged_identical"],
            directions=tuple(
                DirectionResult(
                    name=each["name"],
                    n_queries=each["n_queries"],
                    n_candidates=each["n_candidates"],
                    numbers={
                        name: fill(Number, number, f"{name}.")
                        for name, number in each["numbers"].items()
                    },
                )
                for each in data["directions"]
            ),
            seed=bootstrap["seed"],
            bootstrap=bootstrap["samples"],
            folds=folds.get("accuracy", {}),
            fold_mean=folds.get("mean"),
            fold_std=folds.get("std"),
            classes=tuple(data.get("classes", ())),
            confusion=tuple(tuple(row) for row in data.get("confusion", ())),
        )
    except ConfigError as error:
        raise BenchmarkError(f"not a whole benchmark result: {error}") from error
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise BenchmarkError(f"not a whole benchmark result: {error!r} is at fault") from error


def _direction(
    measured: Measured, queries: Sequence[str], clip_names: Sequence[str]
) -> DirectionResult:
    return DirectionResult(
        name=measured.name,
        n_queries=measured.n_queries,
        n_candidates=measured.n_candidates,
        numbers=measured.numbers,
        queries=QueryRanks(
            tuple(queries), tuple(clip_names[i] for i in measured.clip), measured.ranks
        ),
    )


def _caption_names(measured: Measured, clip_names: Sequence[str]) -> list[str]:
    """CLIP#N for every query, N counting those of its clip from 0."""
    seen: Counter[int] = Counter()
    names = []
    for clip in measured.clip.tolist():
        names.append(f"{clip_names[clip]}#{seen[clip]}")
        seen[clip] += 1
    return names


def _check_names(clip_names: Sequence[str], n_clips: int) -> None:
    if len(clip_names) != n_clips:
        raise BenchmarkError(f"{len(clip_names)} names are given for {n_clips} clips")
    if twice := [name for name, n in Counter(clip_names).items() if n > 1]:
        raise BenchmarkError(f"the name {twice[0]!r} is given to more than one clip")


def _rounded(value: Any) -> Any:
    """The same data with every float cut to DECIMALS."""
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
