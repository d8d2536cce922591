"""The library: `/api/status`, `/api/library` and the run of `index`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response, StreamingResponse

from soundsearch.health import status as status_of
from soundsearch.render import status_facts, to_json
from soundsearch.search.index import Index
from soundsearch.serve.http_errors import RequestError, json_response
from soundsearch.serve.parameters import Call, Parameter
from soundsearch.store import Reader

FAILURES = (
    Parameter("cause", "only those that failed for this cause"),
    Parameter("k", "files wanted", "integer", default=100, least=1, most=1000),
    Parameter("offset", "files before the first one", "integer", default=0, least=0, most=10**9),
)
RUN = (Parameter("retry", "whether to try files again that failed", "boolean", default=False),)


async def status(call: Call) -> Response:
    """What the index holds, as `status` prints it."""
    return json_response(await call.served.read(_status))


async def library(call: Call) -> Response:
    """What the index holds, and the run of `index` that goes on, or the last one."""
    return json_response({**await call.served.read(_status), "run": call.served.run.facts})


async def failures(call: Call) -> Response:
    """Files that failed, by path, each with its cause."""
    cause, offset, n = (call.values[name] for name in ("cause", "offset", "k"))
    found = await call.served.read_rows(lambda reader: reader.failures(cause, offset, n + 1))
    keys = ("recording_id", "path", "cause", "error")
    listed = [dict(zip(keys, row, strict=True)) for row in found[:n]]
    return json_response({"failures": listed, "more": len(found) > n})


async def start(call: Call) -> Response:
    """Start a run of `index` over all roots."""
    run = call.served.run
    if not await call.served.read_rows(Reader.roots):
        raise RequestError(
            409, "nothing has been indexed yet; add a folder with: soundsearch index FOLDER"
        )
    await call.served.read(lambda index: run.start(retry=call.values["retry"]))
    return json_response({"run": run.facts}, 202)


async def cancel(call: Call) -> Response:
    """End the run; what was finished is kept."""
    call.served.run.cancel()
    return json_response({"run": call.served.run.facts}, 202)


async def events(call: Call) -> Response:
    """What the run reports while it goes on, as server-sent events."""

    async def lines() -> AsyncIterator[str]:
        yield "retry: 2000\n\n"
        async for event in call.served.run.events():
            # One line of it: a line break would end the event.
            yield ": \n\n" if event is None else f"data: {_on_one_line(event)}\n\n"

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(lines(), headers=headers, media_type="text/event-stream")


def _on_one_line(event: dict[str, Any]) -> str:
    return json.dumps(json.loads(to_json(event)))


def _status(index: Index) -> dict[str, Any]:
    return status_facts(status_of(index.store))
