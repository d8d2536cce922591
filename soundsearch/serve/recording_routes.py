"""One recording: `/api/recordings/{id}` and what lies below it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import asdict
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from soundsearch.audio.peaks import Peaks
from soundsearch.duplicates import duplicates_of
from soundsearch.errors import AudioError
from soundsearch.files import LARGEST
from soundsearch.hit_files import place_in_name
from soundsearch.render import details_facts
from soundsearch.search.index import Index
from soundsearch.search.show import find_recording
from soundsearch.serve.http_errors import RequestError, json_response
from soundsearch.serve.parameters import Parameter, read
from soundsearch.serve.responses import OpenedFile, attachment
from soundsearch.serve.search_routes import PASSAGE, add_types
from soundsearch.serve.sources import Source, opened, plays_as, source_of
from soundsearch.serve.state import Served
from soundsearch.store import RecordingFacts
from soundsearch.waveforms import peaks_of

DOWNLOAD = Parameter(
    name="download", text="whether to save it as a file", kind="boolean", default=False
)
EXCERPT = (*PASSAGE, DOWNLOAD)
PEAKS = (
    Parameter(
        name="points",
        text="largest number of stretches",
        kind="integer",
        default=1000,
        least=1,
        most=100_000,
    ),
)


async def recording(request: Request) -> Response:
    """All that `show` prints of a recording."""
    served: Served = request.app.state.served
    read((), request.query_params)
    recording_id = recording_id_of(request)

    def answer(index: Index) -> dict[str, object]:
        facts = details_facts(index.pinned, index.show(recording_id))
        add_types(index, [facts["recording"], *facts["nearest"]])
        return facts

    return json_response(await served.search(answer))


async def duplicates(request: Request) -> Response:
    """The recordings with the same sound, as `duplicates` lists them: one group, or none."""
    served: Served = request.app.state.served
    read((), request.query_params)
    recording_id = recording_id_of(request)

    def answer(index: Index) -> dict[str, object]:
        with index.store.snapshot() as reader:
            facts = reader.facts(find_recording(reader, recording_id))
            group = None if facts.sound_hash is None else duplicates_of(reader, facts.sound_hash)
            return {"groups": [] if group is None else [asdict(group)]}

    return json_response(await served.read(answer))


async def peaks(request: Request) -> Response:
    """The outline of a recording's waveform; the file is decoded where none is stored."""
    served: Served = request.app.state.served
    values = read(PEAKS, request.query_params)
    recording_id = recording_id_of(request)

    def stored(index: Index) -> tuple[RecordingFacts, Peaks | None]:
        with index.store.snapshot() as reader:
            known = find_recording(reader, recording_id)
            return reader.facts(known), reader.peaks(known.id)

    def made() -> Peaks:
        with served.index.store.snapshot() as reader:
            source = source_of(reader, recording_id)
        try:
            return peaks_of(
                served.index.store, source.recording, source.path, served.decoders.outline
            )
        except AudioError as error:
            raise RequestError(422, f"{source.path.name}: {error.reason}") from error

    facts, found = await served.read(stored)
    if found is None:
        found = await served.outline(made)
    found = found.reduced(values["points"])
    return json_response(
        {
            "per_second": found.per_second,
            "seconds": facts.duration_s,
            "peaks": b64encode(found.values.tobytes()).decode("ascii"),
        }
    )


async def audio(request: Request) -> Response:
    """The file of a recording, where browsers play its format; with `download`, in any case."""
    served: Served = request.app.state.served
    values = read((DOWNLOAD,), request.query_params)
    recording_id = recording_id_of(request)

    def answer(index: Index) -> Response:
        with index.store.snapshot() as reader:
            source = source_of(reader, recording_id)
        file = opened(source)
        try:
            name = source.path.name
            if values["download"]:
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

    return await served.read(answer)


async def excerpt(request: Request) -> Response:
    """A passage of a recording as a WAV file."""
    served: Served = request.app.state.served
    values = read(EXCERPT, request.query_params)
    recording_id = recording_id_of(request)
    begin, end, longest = values["start"] or 0.0, values["end"], served.limits.excerpt_s
    if end is None or not begin < end <= begin + longest:
        raise RequestError(
            400,
            f"start is {begin:g} and end is {'missing' if end is None else f'{end:g}'}, expected "
            f"seconds, and end at most {longest:g} s after start",
        )

    def find(index: Index) -> Source:
        with index.store.snapshot() as reader:
            return source_of(reader, recording_id)

    source = await served.read(find)

    def answer() -> Response:
        path = source.path
        try:
            stat = path.stat()
            key = (path, stat.st_mtime_ns, stat.st_size, begin, end)
            file = served.excerpts.get(key, partial(served.decoders.cut, path, begin, end, 0.0))
        except AudioError as error:
            raise RequestError(422, f"{path.name}: {error.reason}") from error
        except OSError as error:
            raise RequestError(
                404, f"{path.name}: it cannot be read ({error.strerror or error})"
            ) from error
        name = f"{path.stem} {place_in_name(begin)}.wav"
        return OpenedFile(file, "audio/wav", attachment(name) if values["download"] else {})

    return await served.decode(answer)


def recording_id_of(request: Request) -> int:
    """The id of the recording in a path. Raises RequestError for one that no recording has."""
    number: int = request.path_params["id"]
    if number > LARGEST:
        raise RequestError(404, f"recording {number}: the index has none of this id; search again")
    return number
