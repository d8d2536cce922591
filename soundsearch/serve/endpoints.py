"""All requests that the API answers, with what each takes and returns: routes and documents in one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import soundsearch
from soundsearch.files import LARGEST
from soundsearch.serve import basket_routes, library_routes, recording_routes, search_routes
from soundsearch.serve.http_errors import RequestError, json_response
from soundsearch.serve.parameters import Call, Parameter, read
from soundsearch.serve.safety import OWN_HEADER, SAFE_METHODS


class _NumberConvertor(IntegerConvertor):
    """A whole number of a length that Python converts."""

    regex = "[0-9]{1,30}"


register_url_convertor("number", _NumberConvertor())

#: What a body is: a form with a file and the parameters, or a list of passages.
Body = Literal["form", "passages"]
JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One path and method.

    Attributes:
        path: As Starlette writes it.
        handler: What answers; the first line of its docstring says what.
        method: Of HTTP.
        parameters: What it takes.
        body: What its body is, if it takes one.
        type: Of the content that it returns.
        status: Where all goes well.
    """

    path: str
    handler: Callable[[Call], Awaitable[Response]]
    method: str = "GET"
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    type: str = JSON
    status: int = 200


def _endpoints() -> list[Endpoint]:
    one = "/api/recordings/{id:number}"
    basket: Any = {"method": "POST", "body": "passages"}
    form: Any = {"method": "POST", "body": "form"}
    similar, describe = search_routes.similar, search_routes.describe
    return [
        Endpoint(path="/api/search", handler=search_routes.search, parameters=search_routes.SEARCH),
        Endpoint(path="/api/similar", handler=similar, parameters=search_routes.SIMILAR),
        Endpoint(path="/api/similar", handler=similar, parameters=search_routes.SIMILAR, **form),
        Endpoint(path="/api/describe", handler=describe, parameters=search_routes.DESCRIBE),
        Endpoint(path="/api/describe", handler=describe, parameters=search_routes.DESCRIBE, **form),
        Endpoint(path=one, handler=recording_routes.recording),
        Endpoint(path=f"{one}/duplicates", handler=recording_routes.duplicates),
        Endpoint(
            path=f"{one}/peaks",
            handler=recording_routes.peaks,
            parameters=recording_routes.PEAKS,
        ),
        Endpoint(
            path=f"{one}/audio",
            handler=recording_routes.audio,
            parameters=(recording_routes.DOWNLOAD,),
            type="audio/*",
        ),
        Endpoint(
            path=f"{one}/excerpt",
            handler=recording_routes.excerpt,
            parameters=recording_routes.EXCERPT,
            type="audio/wav",
        ),
        Endpoint(path=f"{one}/reveal", handler=basket_routes.reveal, method="POST"),
        Endpoint(
            path="/api/basket.zip",
            handler=basket_routes.zip_file,
            type="application/zip",
            **basket,
        ),
        Endpoint(path="/api/basket.csv", handler=basket_routes.table, type="text/csv", **basket),
        Endpoint(
            path="/api/basket.m3u",
            handler=basket_routes.playlist,
            type="audio/x-mpegurl",
            **basket,
        ),
        Endpoint(path="/api/status", handler=library_routes.status),
        Endpoint(path="/api/library", handler=library_routes.library),
        Endpoint(
            path="/api/library/failures",
            handler=library_routes.failures,
            parameters=library_routes.FAILURES,
        ),
        Endpoint(
            path="/api/library/index",
            handler=library_routes.start,
            method="POST",
            parameters=library_routes.RUN,
            status=202,
        ),
        Endpoint(
            path="/api/library/index", handler=library_routes.cancel, method="DELETE", status=202
        ),
        Endpoint(
            path="/api/library/events", handler=library_routes.events, type="text/event-stream"
        ),
        Endpoint(path="/api/openapi.json", handler=openapi),
    ]


async def openapi(call: Call) -> Response:
    """An OpenAPI document of all this."""
    return json_response(document())


ENDPOINTS: Sequence[Endpoint] = _endpoints()


def routes() -> list[Route]:
    """The routes of the API: one for each path and handler."""
    alike: dict[tuple[str, Any], list[Endpoint]] = {}
    for endpoint in ENDPOINTS:
        alike.setdefault((endpoint.path, endpoint.handler), []).append(endpoint)
    return [
        Route(path, _answering(some), methods=[endpoint.method for endpoint in some])
        for (path, _), some in alike.items()
    ]


def _answering(endpoints: Sequence[Endpoint]) -> Callable[[Request], Awaitable[Response]]:
    """What answers the requests of endpoints that share path and handler: checks, then calls it."""
    by_method = {endpoint.method: endpoint for endpoint in endpoints}

    async def answer(request: Request) -> Response:
        endpoint = by_method.get(request.method, endpoints[0])  # HEAD is a GET
        values: dict[str, Any] = {}
        if endpoint.body != "form":
            values = read(endpoint.parameters, request.query_params)
        if "id" in request.path_params:
            values["id"] = number = request.path_params["id"]
            if number > LARGEST:
                raise RequestError(
                    404, f"recording {number}: the index has none of this id; search again"
                )
        return await endpoint.handler(Call(request, request.app.state.served, values))

    return answer


def document() -> dict[str, Any]:
    """The OpenAPI document (3.1) of the API."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        path = endpoint.path.replace(":number}", "}")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "soundsearch",
            "version": soundsearch.__version__,
            "description": "Search and listen over an index. The JSON is that of the command "
            "line, see docs/json.md and docs/rest.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"token": bearer},
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["schema", "error"],
                    "properties": {"schema": {"type": "integer"}, "error": {"type": "string"}},
                },
                "Passages": _PASSAGES,
            },
        },
        "security": [{}, {"token": []}],
    }


_PASSAGES = {
    "type": "array",
    "minItems": 1,
    "maxItems": basket_routes.MOST_ITEMS,
    "items": {
        "type": "object",
        "required": ["recording_id"],
        "additionalProperties": False,
        "properties": {
            "recording_id": {"type": "integer"},
            "start": {"type": "number", "minimum": 0, "default": 0},
            "end": {"type": "number", "description": "by default the end of the recording"},
        },
    },
}


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    summary = (endpoint.handler.__doc__ or "").strip().splitlines()[0].rstrip(".")
    parameters: list[dict[str, Any]] = []
    if "{id" in endpoint.path:
        number = {"type": "integer", "minimum": 0}
        parameters.append(
            {"name": "id", "in": "path", "required": True, "schema": number}
            | {"description": "recording_id of a hit"}
        )
    if endpoint.method not in SAFE_METHODS:
        for name, value in (("Origin", {"format": "uri"}), (OWN_HEADER, {"const": "1"})):
            schema = {"type": "string", **value}
            parameters.append({"name": name, "in": "header", "required": True, "schema": schema})
    if endpoint.body != "form":
        parameters += [
            {
                "name": parameter.name,
                "in": "query",
                "required": parameter.is_needed,
                "schema": _schema(parameter),
                "description": parameter.text,
            }
            for parameter in endpoint.parameters
        ]
    error = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    found: dict[str, Any] = {
        "summary": summary,
        "operationId": f"{endpoint.method.lower()}_{endpoint.handler.__name__}",
        "parameters": parameters,
        "responses": {
            str(endpoint.status): {"description": summary, "content": {endpoint.type: {}}},
            "default": {"description": "one line on what is wrong", "content": error},
        },
    }
    if endpoint.body == "passages":
        content: dict[str, Any] = {JSON: {"schema": {"$ref": "#/components/schemas/Passages"}}}
        found["requestBody"] = {"required": True, "content": content}
    elif endpoint.body == "form":
        fields: dict[str, Any] = {
            parameter.name: _schema(parameter) | {"description": parameter.text}
            for parameter in endpoint.parameters
        }
        fields["file"] = {
            "type": "string",
            "format": "binary",
            "description": "a recording; or recording with the id of one",
        }
        content = {"multipart/form-data": {"schema": {"type": "object", "properties": fields}}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _schema(parameter: Parameter) -> dict[str, Any]:
    one: dict[str, Any] = {"type": parameter.kind}
    if parameter.choices:
        one["enum"] = list(parameter.choices)
    for key, value in (("minimum", parameter.least), ("maximum", parameter.most)):
        if value is not None:
            one[key] = value
    if parameter.is_repeated:
        return {"type": "array", "items": one}
    return one if parameter.default is None else {**one, "default": parameter.default}
