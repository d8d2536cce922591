"""`soundsearch show`: all that the index knows of one recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.cli.options import IndexFolder, Json
from soundsearch.layout import hit_lines
from soundsearch.render import by_field, details_facts, printable, short_path, timestamp, to_json

if TYPE_CHECKING:
    from soundsearch.search.show import Details
    from soundsearch.store import RecordingFacts

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def show(
    file: Annotated[Path, typer.Argument(readable=False, help="An indexed recording.")],
    index: IndexFolder = None,
    json: Json = False,
) -> None:
    """Show what the index knows of a recording.

    File, sound, metadata, the blocks of a UCS name, captions, the words it is found by, exact
    copies, and the five recordings that sound most like it. The file is not read, and need not be
    there.

    Example: soundsearch show takes/door_03.wav
    """
    import soundsearch

    with soundsearch.open_index(index) as opened:
        details = opened.show(file)
        if json:
            typer.echo(to_json(details_facts(opened.pinned, details)))
            return
    for label, text in _lines(details):
        typer.echo(f"{label:<12}{printable(text)}")


def _lines(details: Details) -> Iterator[tuple[str, str]]:
    """What is shown, each fact with its label; a fact that is not known is left out."""
    facts = details.recording
    yield "path", f"{facts.path}{_mark(details.is_present)}"
    yield "root", str(facts.root)
    yield from _state(facts)
    changed = ", changed since it was indexed" if details.has_changed else ""
    yield "file", f"{facts.size_bytes:,} bytes of {_modified(facts.mtime_ns)}{changed}"
    if facts.content_hash is not None:
        yield "content", facts.content_hash.hex()
    if facts.sound_hash is not None and facts.sound_hash != facts.content_hash:
        yield "samples", facts.sound_hash.hex()
    if facts.duration_s is not None:
        channels = "1 channel" if facts.n_channels == 1 else f"{facts.n_channels} channels"
        length = f"{timestamp(facts.duration_s)} ({facts.duration_s:.3f} s)"
        yield "sound", f"{length}, {facts.sample_rate} Hz, {channels}, {facts.format}"
    yield "indexed", facts.indexed_at
    for field, text in facts.metadata.items():
        yield "metadata", f"{field}: {text}"
    if facts.ucs is not None:
        for block, text in asdict(facts.ucs).items():
            if text:
                yield "UCS name", f"{block}: {text}"
    for field, text in facts.captions.items():
        yield "captions", f"{field}: {text}"
    for field, words in by_field(facts.words).items():
        if words:
            yield "words", f"{field}: {' '.join(words)}"
    if facts.start_s is not None and facts.end_s is not None:
        span = f"{timestamp(facts.start_s)}-{timestamp(facts.end_s)}"
        yield "windows", f"{facts.n_windows} ({span})"
    for copy in details.copies:
        yield "copy", f"{short_path(copy.path)}{_mark(copy.is_present)}"
    for line in hit_lines(details.nearest):
        yield "nearest", line


def _state(facts: RecordingFacts) -> Iterator[tuple[str, str]]:
    """The state, and why it is so where there is a reason."""
    yield "state", facts.state
    reason = ": ".join(text for text in (facts.cause, facts.error) if text)
    if reason:
        yield "why" if facts.state == "failed" else "note", reason


def _modified(mtime_ns: int) -> str:
    """A time of the file system in ISO 8601 (UTC)."""
    moment = EPOCH + timedelta(microseconds=mtime_ns // 1000)
    return moment.isoformat(timespec="seconds")


def _mark(is_present: bool) -> str:
    return "" if is_present else " (not there now)"
