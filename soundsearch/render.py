"""Results to text: lines for people, paths for pipes, JSON for programs.

The JSON is a stable schema, described in docs/json.md; `SCHEMA` changes when a field changes its
meaning or goes away, not when one is added.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundsearch.urls import path_of

if TYPE_CHECKING:
    from indexer.report import Report
    from soundsearch.choices import By
    from soundsearch.duplicates import Duplicates
    from soundsearch.health import Status
    from soundsearch.near_copies import NearDuplicates
    from soundsearch.search.hits import Fit, Hit, Label
    from soundsearch.search.index import Index
    from soundsearch.search.question_parts import Part
    from soundsearch.search.show import Details
    from soundsearch.search.spelling import Spelling
    from soundsearch.store import PinnedEncoder, Words

    #: What becomes JSON.
    Facts = dict[str, Any]

SCHEMA = 1


def printable(path: str | os.PathLike[str]) -> str:
    """A path fit for a terminal: control characters and odd bytes are escaped."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def short_path(path: Path) -> str:
    """A path as it is named from here: relative if it lies below the current folder.

    Everything lies below /: there a path is shown whole.
    """
    try:
        here = Path.cwd()
        return printable(path if here == here.parent else path.relative_to(here))
    except (ValueError, OSError):
        return printable(path)


def timestamp(seconds: float) -> str:
    """Seconds as a player shows them: 0:03.5, 1:02:03.0."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else str(minutes)
    return f"{head}:{rest // 10:02d}.{rest % 10}"


def duration(seconds: float) -> str:
    """A length of sound in words: 45 s, 12 min, 3.4 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def how_fast(audio_s: float, elapsed_s: float) -> str:
    """What a run says of its speed, behind its counts; nothing where it embedded no sound."""
    if not audio_s:
        return ""
    speed = audio_s / max(elapsed_s, 1e-3)
    return f"; {duration(audio_s)} of sound in {elapsed_s:.1f} s ({speed:.0f} times real time)"


def reasons(pairs: Iterable[tuple[Path, str]]) -> list[Facts]:
    """Paths, each with what is wrong with it."""
    return [{"path": path, "reason": reason} for path, reason in pairs]


def endings(counts: Counter[str], n_listed: int) -> str:
    """How many files there are of the most frequent endings: .jpg 120, .txt 30, none 2, +41 more."""
    most = counts.most_common(n_listed)
    parts = [f"{printable(ending) or 'none'} {n}" for ending, n in most]
    n_more = counts.total() - sum(n for _, n in most)
    return ", ".join([*parts, f"+{n_more} more"] if n_more else parts)


def score_text(score: float | None) -> str:
    """A score as it is shown; a dash of a hit that has none."""
    return "-" if score is None else f"{score:.3f}"


def label_lines(labels: Sequence[Label]) -> list[str]:
    """One line per label: rank, score, where it fits best, the text."""
    rows = [(x.rank, x.score, f"{timestamp(x.start_s)}-{timestamp(x.end_s)}") for x in labels]
    rank_width = max((len(str(rank)) for rank, *_ in rows), default=0)
    span_width = max((len(span) for *_, span in rows), default=0)
    return [
        f"{rank:>{rank_width}}  {score_text(score):>6}  {span:>{span_width}}  {label.text}"
        for (rank, score, span), label in zip(rows, labels, strict=True)
    ]


def path_bytes(hits: Iterable[Hit], end: bytes) -> bytes:
    """The paths alone, byte for byte as the file system has them, each followed by `end`."""
    return b"".join(os.fsencode(hit.path) + end for hit in hits)


def hits_facts(query: Mapping[str, Any], encoder: PinnedEncoder, hits: Sequence[Hit]) -> Facts:
    """Hits with the question they answer."""
    return {"query": query, "encoder": asdict(encoder), "hits": [_hit_facts(hit) for hit in hits]}


def text_facts(
    opened: Index, text: str | None, by: By, spelling: Spelling, *, truncated: bool = True
) -> Facts:
    """A question in words. truncated: whether to say if it is longer than the encoder reads."""
    from soundsearch.search.question_parts import words_of

    facts: Facts = {"text": text, "by": by}
    if truncated:
        words = "" if text is None else words_of(text)
        facts["truncated"] = bool(words) and bool(opened.encoder.truncated([words])[0])
    facts["unknown"], facts["did_you_mean"] = list(spelling.unknown), dict(spelling.meant)
    return facts


def notes_on_words(opened: Index, spelling: Spelling, by: By) -> Iterator[str]:
    """What is to be said of the words of a question."""
    if spelling.meant:
        words = ", ".join(f"{meant} for {word}" for word, meant in spelling.meant.items())
        yield f"did you mean {words}?"
    if spelling.is_foreign and by != "words":
        bundle = opened.encoder.bundle
        reads = (
            f"encoder {bundle.name} reads {bundle.language}, says its card"
            if bundle.language
            else f"no language that encoder {bundle.name} reads is known"
        )
        yield f"{reads}; other words are found in names, folders and metadata alone"


def note_on_scores(hits: Sequence[Hit]) -> str | None:
    """What is to be said where no hit fits well."""
    from soundsearch.encoder.calibration import FITS

    if hits and hits[0].relevance is not None and hits[0].relevance < FITS and not hits[0].words:
        return f"nothing fits well, no score reaches {FITS}; the nearest are shown"
    return None


def parts_facts(what: Mapping[str, Any], filters: Sequence[str]) -> Facts:
    """The parts of a question. what: arguments of a search."""
    from soundsearch.search.question_parts import understand

    parts = understand(**what, filters=filters)
    return {
        "plus": [_part_facts(part) for part in parts.plus],
        "minus": [_part_facts(part) for part in parts.minus],
        "filters": [each.source for each in parts.filters],
    }


def _part_facts(part: Part) -> Facts:
    if part.text is not None:
        return {"weight": part.weight, "text": part.text}
    return {
        "weight": part.weight,
        "audio": str(path_of(part.audio).absolute()) if isinstance(part.audio, Path) else "-",
        "start_s": part.start_s,
        "end_s": part.end_s,
    }


def labels_facts(audio: str, encoder: PinnedEncoder, labels: Sequence[Label]) -> Facts:
    """What a recording holds, in words."""
    return {
        "query": {"audio": audio},
        "encoder": asdict(encoder),
        "labels": [_facts(label) for label in labels],
    }


def details_facts(encoder: PinnedEncoder, details: Details) -> Facts:
    """What is known of a recording."""
    return {
        "recording": {
            **asdict(details.recording),
            "words": by_field(details.recording.words),
            "is_present": details.is_present,
            "has_changed": details.has_changed,
        },
        "copies": [asdict(copy) for copy in details.copies],
        "encoder": asdict(encoder),
        "nearest": [_hit_facts(hit) for hit in details.nearest],
    }


def status_facts(status: Status) -> Facts:
    """What an index holds."""
    roots = [root.to_dict() for root in status.roots]
    return {**asdict(status), "roots": roots, "skipped": dict(status.skipped.most_common())}


def report_facts(report: Report) -> Facts:
    """What a run of `index` did."""
    return {
        "dry_run": False,
        "new": report.n_new,
        "changed": report.n_changed,
        "moved": report.n_moved,
        "unchanged": report.n_unchanged,
        "again": report.n_read_again,
        "removed": report.n_removed,
        "failed": report.n_failed,
        "failed_before": report.n_failed_before,
        "causes": dict(report.causes.most_common()),
        "pruned": report.n_pruned,
        "windows": report.n_windows,
        "audio_s": round(report.audio_s, 3),
        "elapsed_s": round(report.elapsed_s, 3),
        "stage_s": {stage: round(seconds, 3) for stage, seconds in report.stage_s.items()},
        "captioned": report.n_captioned,
        "uncaptioned": report.n_uncaptioned,
        "unmatched_captions": report.unmatched_captions,
        "interrupted": report.interrupted,
        "skipped": dict(report.skipped.most_common()),
        "failures": reasons(report.failures),
        "absent": reasons(report.absent),
        "left_behind": reasons(report.left_behind),
        "dropped_roots": report.dropped_roots,
    }


def by_field(words: Words | None) -> dict[str, list[str]]:
    """The words by which a recording is found, by where they stand; the lists may be empty."""
    return {
        field: [] if words is None else getattr(words, field).split()
        for field in ("name", "folders", "metadata")
    }


def duplicates_json(groups: Iterable[Duplicates | NearDuplicates]) -> Iterator[str]:
    """Groups of copies, a part of the JSON at a time: there may be more than memory holds."""
    yield f'{{"schema": {SCHEMA}, "groups": ['
    for i, group in enumerate(groups):
        facts = json.dumps(asdict(group), default=_plain)
        yield f"{',' if i else ''}\n  {facts}"
    yield "\n]}\n"


def _facts(fit: Fit) -> dict[str, Any]:
    return {**asdict(fit), "score": fit.score}


def _hit_facts(hit: Hit) -> dict[str, Any]:
    passages = [{**asdict(passage), "score": passage.score} for passage in hit.passages]
    return {**_facts(hit), "why": hit.why, "passages": passages}


def to_json(facts: Mapping[str, Any]) -> str:
    """JSON in ASCII: bytes of a path that are no UTF-8 come as lone surrogates, as Python has them."""
    return json.dumps({"schema": SCHEMA, **facts}, indent=2, default=_plain)


def _plain(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"no JSON for {type(value).__name__}")
