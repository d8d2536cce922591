"""The basket: passages that a person collected, as a table, a playlist or a zip of excerpts."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from anyio import fail_after
from starlette.requests import Request
from starlette.responses import Response

from soundsearch import hit_files
from soundsearch.arguments import described, is_number
from soundsearch.desktop import reveal as reveal_file
from soundsearch.errors import SoundsearchError
from soundsearch.files import LARGEST, Presence
from soundsearch.search.hits import Hit
from soundsearch.search.index import Index
from soundsearch.search.question_parts import MOST_SECONDS
from soundsearch.search.show import find_recording
from soundsearch.serve.http_errors import RequestError, json_response
from soundsearch.serve.parameters import Call
from soundsearch.serve.responses import OpenedFile, attachment
from soundsearch.serve.sources import source_of
from soundsearch.store import Reader

#: Passages of a basket.
MOST_ITEMS = 1000
#: Bytes of its JSON.
MOST_BYTES = 1 << 20
#: What a zip may hold: about half an hour of stereo.
MOST_ZIP_S = 1800.0


async def zip_file(call: Call) -> Response:
    """A zip of excerpts, and of a text that says what is left out."""
    served = call.served
    hits = await _hits(call, files=True)
    total_s = sum(min(hit.end_s - hit.start_s, hit_files.LONGEST_EXCERPT_S) for hit in hits)
    if total_s > MOST_ZIP_S:
        raise RequestError(
            400, f"the excerpts last {total_s:.0f} s, expected at most {MOST_ZIP_S:.0f} s together"
        )

    def cut(path: Path, start_s: float, end_s: float, handle_s: float) -> bytes:
        with tempfile.TemporaryDirectory(prefix="cut-", dir=served.folder) as folder:
            part = Path(folder, "part.wav")
            served.decoders.cut(path, start_s, end_s, handle_s, part)
            return part.read_bytes()

    def answer() -> BinaryIO:
        file = tempfile.TemporaryFile(dir=served.folder)  # noqa: SIM115 - the response closes it
        with tempfile.TemporaryDirectory(prefix="basket-", dir=served.folder) as folder:
            written = hit_files.write_excerpts(hits, Path(folder), cut)
            with zipfile.ZipFile(file, "w") as archive:  # sound is hardly compressed
                for path in written.paths:
                    archive.write(path, _name_in_zip(path))
                if written.left_out:
                    text = "".join(f"{line}\n" for line in written.left_out)
                    archive.writestr("left out.txt", text.encode("utf-8", "backslashreplace"))
        return file

    return OpenedFile(await served.decode(answer), "application/zip", attachment("soundsearch.zip"))


def _name_in_zip(path: Path) -> str:
    """The name of a file in a zip, as every system unpacks it: a backslash makes folders on some."""
    return os.fsencode(path.name).decode("utf-8", "replace").replace("\\", "_")


async def table(call: Call) -> Response:
    """A table, as `query --csv` writes it."""
    return await _listed(call, hit_files.write_table, "soundsearch.csv", "text/csv")


async def playlist(call: Call) -> Response:
    """A playlist, as `query --m3u` writes it."""
    return await _listed(call, hit_files.write_playlist, "soundsearch.m3u8", "audio/x-mpegurl")


async def reveal(call: Call) -> Response:
    """Show the folder of a recording in the file manager of this machine."""
    if not call.served.is_local:
        raise RequestError(
            403, "folders are shown on the server's own screen alone; copy the path instead"
        )

    def answer(reader: Reader) -> dict[str, Any]:
        path = source_of(reader, call.values["id"]).path
        try:
            reveal_file(path)
        except SoundsearchError as error:
            raise RequestError(
                501, f"{path.parent}: it cannot be shown; copy the path instead ({error})"
            ) from error
        return {"path": path}

    return json_response(await call.served.read_rows(answer))


async def _listed(
    call: Call, write: Callable[[list[Hit], Path], Path], name: str, type_: str
) -> Response:
    served = call.served
    hits = await _hits(call, files=False)

    def answer(index: Index) -> bytes:
        with tempfile.TemporaryDirectory(prefix="basket-", dir=served.folder) as folder:
            return write(hits, Path(folder, name)).read_bytes()

    return Response(await served.read(answer), headers=attachment(name), media_type=type_)


async def _hits(call: Call, *, files: bool) -> list[Hit]:
    """The passages that a request lists, in its order.

    files: whether their files will be opened, so that each must lie in its root.
    """
    try:
        with fail_after(call.served.limits.receive_s):
            items = await _items(call.request)
    except TimeoutError as error:
        raise RequestError(408, "the list took too long to arrive; send it again") from error

    def answer(reader: Reader) -> list[Hit]:
        is_present = Presence()
        return [_hit(reader, rank, item, files, is_present) for rank, item in enumerate(items, 1)]

    return await call.served.read_rows(answer)


async def _items(request: Request) -> list[Any]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise RequestError(413, f"the list is longer than {MOST_BYTES:,} bytes; send less")
    try:
        items = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is no JSON ({error}), expected a list") from error
    if not isinstance(items, list) or not 1 <= len(items) <= MOST_ITEMS:
        found = f"a list of {len(items)}" if isinstance(items, list) else described(items)
        raise RequestError(400, f"the body is {found}, expected a list of 1 to {MOST_ITEMS} items")
    return items


def _hit(reader: Reader, rank: int, item: Any, files: bool, is_present: Presence) -> Hit:
    """What an item of a list names. Raises RequestError."""
    expected = "expected {recording_id, start, end} with an id and seconds, end after start"
    if not isinstance(item, dict) or item.keys() - {"recording_id", "start", "end"}:
        raise RequestError(400, f"item {rank} is {described(item)}, {expected}")
    number, begin, end = item.get("recording_id"), item.get("start", 0), item.get("end")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= LARGEST:
        raise RequestError(400, f"recording_id of item {rank} is {described(number)}, {expected}")
    facts = reader.facts(find_recording(reader, number))
    end = facts.duration_s or 0.0 if end is None else end
    if not (is_number(begin) and is_number(end) and 0 <= begin < end <= MOST_SECONDS):
        raise RequestError(400, f"item {rank} is {described(item)}, {expected}")
    if files:
        try:
            source_of(reader, number)
        except RequestError as error:
            if error.status != 404:  # what is not there is left out, and said to be
                raise
    relative = "." if facts.path == facts.root else str(facts.path.relative_to(facts.root))
    return Hit(
        rank=rank,
        recording_id=number,
        path=facts.path,
        start_s=float(begin),
        end_s=float(end),
        cosine=None,
        relevance=None,
        duration_s=facts.duration_s or 0.0,
        is_present=is_present(str(facts.root), relative),
    )
