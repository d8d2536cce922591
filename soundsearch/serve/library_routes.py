"""The library: `/api/status`, `/api/library` and the run of `index`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from soundsearch.health import status as status_of
from soundsearch.render import status_facts, to_json
from soundsearch.search.index import Index
from soundsearch.serve.http_errors import RequestError, json_response
from soundsearch.serve.parameters import Parameter, read
from soundsearch.serve.state import Served

FAILURES = (
    Parameter(name="cause", text="only those that failed for this cause"),
    Parameter(name="k", text="files wanted", kind="integer", default=100, least=1, most=1000),
    Parameter(
        name="offset",
        text="files before the first one",
        kind="integer",
        default=0,
        least=0,
        most=10**9,
    ),
)
RUN = (
    Parameter(
        name="retry", text="whether to try files again that failed", kind="boolean", default=False
    ),
)


async def status(request: Request) -> Response:
    """What the index holds, as `status` prints it."""
    served: Served = request.app.state.served
    read((), request.query_params)
    return json_response(await served.read(_status))


async def library(request: Request) -> Response:
    """What the index holds, and the run of `index` that goes on, or the last one."""
    served: Served = request.app.state.served
    read((), request.query_params)
    return json_response({**await served.read(_status), "run": served.run.facts})


async def failures(request: Request) -> Response:
    """Files that failed, by path, each with its cause."""
    served: Served = request.app.state.served
    values = read(FAILURES, request.query_params)

    def answer(index: Index) -> dict[str, Any]:
        with index.store.snapshot() as reader:
            found = reader.failures(values["cause"], values["offset"], values["k"] + 1)
        keys = ("recording_id", "path", "cause", "error")
        listed = [dict(zip(keys, row, strict=True)) for row in found[: values["k"]]]
        return {"failures": listed, "more": len(found) > values["k"]}

    return json_response(await served.read(answer))


async def start(request: Request) -> Response:
    """Start a run of `index` over all roots."""
    served: Served = request.app.state.served
    values = read(RUN, request.query_params)

    def has_roots(index: Index) -> bool:
        with index.store.snapshot() as reader:
            return bool(reader.roots())

    if not await served.read(has_roots):
        raise RequestError(
            409, "nothing has been indexed yet; add a folder with: soundsearch index FOLDER"
        )
    await served.read(lambda index: served.run.start(retry=values["retry"]))
    return json_response({"run": served.run.facts}, 202)


async def cancel(request: Request) -> Response:
    """End the run; what was finished is kept."""
    served: Served = request.app.state.served
    read((), request.query_params)
    served.run.cancel()
    return json_response({"run": served.run.facts}, 202)


async def events(request: Request) -> Response:
    """What the run reports while it goes on, as server-sent events."""
    served: Served = request.app.state.served
    read((), request.query_params)

    async def lines() -> AsyncIterator[str]:
        yield "retry: 2000\n\n"
        async for event in served.run.events():
            # One line of it: a line break would end the event.
            yield ": \n\n" if event is None else f"data: {_on_one_line(event)}\n\n"

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(lines(), headers=headers, media_type="text/event-stream")


def _on_one_line(event: dict[str, Any]) -> str:
    return json.dumps(json.loads(to_json(event)))


def _status(index: Index) -> dict[str, Any]:
    return status_facts(status_of(index.store))
