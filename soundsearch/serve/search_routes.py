"""Questions: `/api/search`, `/api/similar` and `/api/describe`."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from starlette.responses import Response

from soundsearch.choices import PASSAGES, By
from soundsearch.errors import QueryError
from soundsearch.files import LARGEST
from soundsearch.render import (
    hits_facts,
    labels_facts,
    note_on_scores,
    notes_on_words,
    parts_facts,
    text_facts,
)
from soundsearch.search.describe import labels_of
from soundsearch.search.index import Index
from soundsearch.search.question_parts import MOST_SECONDS, Weighted, split_weight, words_of
from soundsearch.search.spelling import Spelling
from soundsearch.serve.http_errors import RequestError, json_response
from soundsearch.serve.parameters import Call, Parameter
from soundsearch.serve.sources import browser_type, source_of
from soundsearch.serve.state import kept_notes
from soundsearch.serve.uploads import Upload, received, with_end
from soundsearch.store import Reader
from soundsearch.vocabulary import load_vocabulary

#: How a part of a question names a recording of the index.
RECORDING = "recording:"
#: No list goes on beyond so many hits.
MOST_HITS = 2000

SEARCH = (
    Parameter("q", "what to hear, in words, with filters among them"),
    Parameter("k", "hits wanted", "integer", default=20, least=1, most=200),
    Parameter(
        "offset",
        "hits before the first one that is wanted",
        "integer",
        default=0,
        least=0,
        most=MOST_HITS - 200,
    ),
    Parameter("filter", "a filter, such as duration:<3", is_repeated=True),
    Parameter("in", "only recordings in this folder", is_repeated=True),
    Parameter(
        "plus",
        f"what hits should fit as well: a text or {RECORDING}ID, after a weight: 2:rain",
        is_repeated=True,
    ),
    Parameter("minus", "what they should not fit, likewise", is_repeated=True),
    Parameter("by", "what a text is searched by", default="both", choices=get_args(By)),
    Parameter("min_score", "leave out hits with a lower score", "number", least=-1, most=1),
    Parameter(
        "passages", "passages of each recording", "integer", default=PASSAGES, least=0, most=1000
    ),
    Parameter(
        "unique", "whether recordings of the same sound are one hit", "boolean", default=True
    ),
)
PASSAGE = (
    Parameter(
        "start", "where its passage begins, in seconds", "number", least=0, most=MOST_SECONDS
    ),
    Parameter("end", "where it ends", "number", least=0, most=MOST_SECONDS),
)
OF_RECORDING = Parameter(
    "recording", "id of an indexed recording", "integer", least=0, most=LARGEST
)
SIMILAR = (OF_RECORDING, *PASSAGE, *SEARCH)
DESCRIBE = (
    OF_RECORDING,
    *PASSAGE,
    Parameter("k", "texts wanted", "integer", default=10, least=1, most=1000),
)


async def search(call: Call) -> Response:
    """Answer a question in words."""
    notes = kept_notes()
    return json_response(
        await call.served.search(
            lambda index: _answer(index, call.values, notes), call.request.is_disconnected
        )
    )


async def similar(call: Call) -> Response:
    """Answer a question by example: an indexed recording, or an upload."""
    return await _by_example(call, SIMILAR, _answer)


async def describe(call: Call) -> Response:
    """Describe an indexed recording, or an upload."""
    return await _by_example(call, DESCRIBE, _describe)


async def _by_example(
    call: Call, parameters: Sequence[Parameter], answer: Callable[..., dict[str, Any]]
) -> Response:
    served, notes = call.served, kept_notes()
    if call.request.method == "POST":
        async with received(call.request, served, parameters) as (values, upload):
            return json_response(
                await served.search(lambda index: answer(index, values, notes, upload))
            )
    if call.values["recording"] is None:
        raise RequestError(400, "recording is missing, expected the id of one; POST takes a file")
    values = with_end(call.values, served.limits)
    return json_response(await served.search(lambda index: answer(index, values, notes)))


def _answer(
    index: Index, values: Mapping[str, Any], notes: list[str], upload: Upload | None = None
) -> dict[str, Any]:
    """The hits of a question, as docs/rest.md describes them."""
    began = time.perf_counter()
    first, n = values["offset"], values["k"]
    with index.store.snapshot() as reader:
        what = _parts(reader, values)
    with_audio = dict(what)
    if upload is not None:  # its passage was cut out already
        with_audio |= {"audio": upload.opened(), "start_s": None, "end_s": None}
        what["audio"] = io.BytesIO()  # the source of an upload is "-", as that of a stream
    try:
        hits = index.search(
            **with_audio,
            top_k=first + n + 1,
            min_score=values["min_score"],
            within=values["in"] or None,
            by=values["by"],
            passages=values["passages"],
            unique=values["unique"],
            filters=values["filter"],
        )
    finally:
        if upload is not None:
            with_audio["audio"].close()
    text = what["text"]
    spelling = index.check_spelling(text) if text and words_of(text) else Spelling()
    query: dict[str, Any] = {}
    if "audio" in what:
        query["audio"] = "-" if upload is not None else str(what["audio"])
    if text is not None or "audio" not in what:
        query |= text_facts(index, text, values["by"], spelling)
    query |= parts_facts(what, values["filter"])
    notes += notes_on_words(index, spelling, values["by"])
    if (line := note_on_scores(hits)) is not None:
        notes.append(line)
    facts = hits_facts(query, index.pinned, hits[first : first + n])
    add_types(index, facts["hits"])
    return {
        **facts,
        "more": len(hits) > first + n,
        "notes": notes,
        "elapsed_ms": round(1000 * (time.perf_counter() - began), 1),
    }


def _parts(reader: Reader, values: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a question, as arguments of a search."""
    what: dict[str, Any] = {
        "text": values["q"] or None,
        "plus": [_part(reader, "plus", value) for value in values["plus"]],
        "minus": [_part(reader, "minus", value) for value in values["minus"]],
    }
    if values.get("recording") is not None:
        what["audio"] = _path_of(reader, values["recording"])
        what["start_s"], what["end_s"] = values["start"], values["end"]
    return what


def _part(reader: Reader, name: str, value: str) -> Weighted:
    """What a value of plus or minus means; no path is ever one, since it may be any file."""
    part: Weighted
    if value.startswith(RECORDING):
        weight, part = None, value
    else:
        weight, part = split_weight(name, value)
    if part.startswith(RECORDING):
        number = part.removeprefix(RECORDING)
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise QueryError(f"{name} is {value!r}, expected {RECORDING}ID with the id of one")
        part = _path_of(reader, int(number))
    return part if weight is None else (weight, part)


def _path_of(reader: Reader, recording_id: int) -> Path:
    """The path of a recording, inside its root if it is there; its embeddings are stored anyway."""
    try:
        return source_of(reader, recording_id).path
    except RequestError as error:
        if error.status != 404:
            raise
        known = reader.recording(recording_id)
        assert known is not None
        return reader.facts(known).path


def add_types(index: Index, hits: Sequence[dict[str, Any]]) -> None:
    """Add to hits whether browsers play them, and as which type of content."""
    with index.store.snapshot() as reader:
        formats = reader.formats(hit["recording_id"] for hit in hits)
    for hit in hits:
        type_ = browser_type(hit["path"], formats.get(hit["recording_id"]))
        hit |= {"playable": type_ is not None, "audio_type": type_}


def _describe(
    index: Index, values: Mapping[str, Any], notes: list[str], upload: Upload | None = None
) -> dict[str, Any]:
    """The texts that fit a recording best; of an indexed one by what is stored of it."""
    texts = load_vocabulary()
    if upload is not None:
        with upload.opened() as stream:
            labels = index.describe(stream, texts, top_k=values["k"], as_labels=True)
        return {**labels_facts("-", index.pinned, labels), "notes": notes}
    with index.store.snapshot() as reader:
        recording = reader.recording(values["recording"])
        path = _path_of(reader, values["recording"])
        assert recording is not None
        ids, _ = reader.windows_of([recording.id])
        spans = reader.spans(ids)
        begin, end = values["start"] or 0.0, values["end"] or math.inf
        ids = ids[[spans[i][0] < end and begin < spans[i][1] for i in ids.tolist()]]
        if not len(ids):
            raise QueryError(f"{path}: nothing of it is indexed at this passage")
        embeddings = reader.embeddings(ids, reader.encoder().dim)
    labels = labels_of(
        index.encoder,
        [spans[i] for i in ids.tolist()],
        embeddings,
        texts,
        top_k=values["k"],
        as_labels=True,
    )
    return {**labels_facts(str(path), index.pinned, labels), "notes": notes}
