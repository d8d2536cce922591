"""What went wrong with a request: an HTTP status, and one line as JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from soundsearch.errors import AudioError, IndexBusyError, QueryError, SoundsearchError
from soundsearch.render import to_json
from soundsearch.search.show import UnknownRecordingError

log = logging.getLogger(__name__)

#: The status of an error: of the first class that it is an instance of.
STATUS: dict[type[SoundsearchError], int] = {
    UnknownRecordingError: 404,
    QueryError: 400,
    AudioError: 422,
    IndexBusyError: 409,
    SoundsearchError: 503,  # an index or an encoder that cannot be used
}


class RequestError(SoundsearchError):
    """A request cannot be answered.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def json_response(facts: dict[str, Any], status: int = 200) -> Response:
    """Return facts in the JSON of the command line; it is never cached."""
    headers = {"cache-control": "no-store"}
    return Response(to_json(facts), status, headers, "application/json")


def error_response(status: int, text: str) -> Response:
    """Return one line as JSON: the thing, the value found, the value expected, the way out."""
    return json_response({"error": text}, status)


async def of_ours(request: Request, error: Exception) -> Response:
    """Return the response for an error of ours."""
    if isinstance(error, RequestError):
        return error_response(error.status, str(error))
    status = next(status for kind, status in STATUS.items() if isinstance(error, kind))
    return error_response(status, str(error))


async def of_http(request: Request, error: Exception) -> Response:
    """Return the response for a path or a method that there is not."""
    assert isinstance(error, HTTPException)
    text = {
        404: f"{request.url.path}: there is no such page; /api/openapi.json lists those there are",
        405: f"{request.url.path}: takes no {request.method}; see /api/openapi.json",
    }.get(error.status_code, error.detail)
    response = error_response(error.status_code, text)
    response.headers.update(error.headers or {})
    return response


async def of_bugs(request: Request, error: Exception) -> Response:
    """Return the response for any other error, which the server's log explains."""
    return error_response(
        500, "the server made a mistake; its log says more; please report it as a bug"
    )


HANDLERS: dict[Any, Callable[..., Any]] = {
    SoundsearchError: of_ours,
    HTTPException: of_http,
    Exception: of_bugs,
}
