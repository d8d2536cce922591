"""One recording: `/api/recordings/{id}` and what lies below it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

from starlette.responses import Response

from soundsearch.audio.peaks import Peaks
from soundsearch.duplicates import duplicates_of
from soundsearch.errors import AudioError
from soundsearch.hit_files import place_in_name
from soundsearch.render import details_facts
from soundsearch.search.index import Index
from soundsearch.search.show import find_recording
from soundsearch.serve.http_errors import RequestError, json_response
from soundsearch.serve.parameters import Call, Parameter
from soundsearch.serve.responses import OpenedFile, attachment
from soundsearch.serve.search_routes import PASSAGE, add_types
from soundsearch.serve.sources import opened, plays_as, source_of
from soundsearch.store import Reader, RecordingFacts
from soundsearch.waveforms import peaks_of

DOWNLOAD = Parameter("download", "whether to save it as a file", "boolean", default=False)
EXCERPT = (*PASSAGE, DOWNLOAD)
PEAKS = (
    Parameter(
        "points", "largest number of stretches", "integer", default=1000, least=1, most=100_000
    ),
)


async def recording(call: Call) -> Response:
    """All that `show` prints of a recording."""

    def answer(index: Index) -> dict[str, object]:
        facts = details_facts(index.pinned, index.show(call.values["id"]))
        add_types(index, [facts["recording"], *facts["nearest"]])
        return facts

    return json_response(await call.served.search(answer))


async def duplicates(call: Call) -> Response:
    """The recordings with the same sound, as `duplicates` lists them: one group, or none."""

    def answer(reader: Reader) -> dict[str, object]:
        facts = reader.facts(find_recording(reader, call.values["id"]))
        group = None if facts.sound_hash is None else duplicates_of(reader, facts.sound_hash)
        return {"groups": [] if group is None else [asdict(group)]}

    return json_response(await call.served.read_rows(answer))


async def peaks(call: Call) -> Response:
    """The outline of a recording's waveform; the file is decoded where none is stored."""
    served, store = call.served, call.served.index.store

    def stored(reader: Reader) -> tuple[RecordingFacts, Peaks | None]:
        known = find_recording(reader, call.values["id"])
        return reader.facts(known), reader.peaks(known.id)

    def made() -> Peaks:
        with store.snapshot() as reader:
            source = source_of(reader, call.values["id"])
        with _unusable(source.path.name):
            return peaks_of(store, source.recording, source.path, served.decoders.outline)

    facts, found = await served.read_rows(stored)
    if found is None:
        found = await served.outline(made)
    found = found.reduced(call.values["points"])
    return json_response(
        {
            "per_second": found.per_second,
            "seconds": facts.duration_s,
            "peaks": b64encode(found.values.tobytes()).decode("ascii"),
        }
    )


async def audio(call: Call) -> Response:
    """The file of a recording, where browsers play its format; with `download`, in any case."""
    recording_id = call.values["id"]

    def answer(reader: Reader) -> Response:
        source = source_of(reader, recording_id)
        file = opened(source)
        try:
            name = source.path.name
            if call.values["download"]:
                return OpenedFile(file, "application/octet-stream", attachment(name))
            type_ = plays_as(file, source)
            if type_ is None:
                raise RequestError(
                    415,
                    f"{name}: browsers do not play its format ({source.format}); take "
                    f"/api/recordings/{recording_id}/excerpt?start=0&end=60",
                )
            return OpenedFile(file, type_, {})
        except BaseException:
            file.close()
            raise

    return await call.served.read_rows(answer)


async def excerpt(call: Call) -> Response:
    """A passage of a recording as a WAV file."""
    served, values = call.served, call.values
    begin, end, longest = values["start"] or 0.0, values["end"], served.limits.excerpt_s
    if end is None or not begin < end <= begin + longest:
        raise RequestError(
            400,
            f"start is {begin:g} and end is {'missing' if end is None else f'{end:g}'}, expected "
            f"seconds, and end at most {longest:g} s after start",
        )

    path = (await served.read_rows(lambda reader: source_of(reader, values["id"]))).path

    def answer() -> Response:
        with _unusable(path.name):
            stat = path.stat()
            key = (path, stat.st_mtime_ns, stat.st_size, begin, end)
            file = served.excerpts.get(key, partial(served.decoders.cut, path, begin, end, 0.0))
        name = f"{path.stem} {place_in_name(begin)}.wav"
        return OpenedFile(file, "audio/wav", attachment(name) if values["download"] else {})

    return await served.decode(answer)


@contextmanager
def _unusable(name: str) -> Iterator[None]:
    """A file that cannot be decoded, or read, as a RequestError."""
    try:
        yield
    except AudioError as error:
        raise RequestError(422, f"{name}: {error.reason}") from error
    except OSError as error:
        raise RequestError(404, f"{name}: it cannot be read ({error.strerror or error})") from error
