"""The app: routes, and what begins and ends with it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from soundsearch.serve.endpoints import routes
from soundsearch.serve.http_errors import HANDLERS
from soundsearch.serve.safety import Access, Guard
from soundsearch.serve.state import NoteKeeper, Served

PAGE = Path(__file__).parent / "page"
#: Bytes of a form beside the file that it carries.
FORM_BYTES = 1 << 20


class _PageFiles(StaticFiles):
    """The files of the page; a browser asks each time whether they have changed."""

    def file_response(self, *arguments: object, **options: object) -> Response:
        response = super().file_response(*arguments, **options)  # type: ignore[arg-type]
        response.headers["cache-control"] = "no-cache"
        return response


async def _page(request: Request) -> Response:
    return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})


def make_app(served: Served, access: Access) -> Guard:
    """Return the app that serves an index, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        keeper = NoteKeeper(logging.WARNING)
        logger = logging.getLogger("soundsearch")
        propagated = logger.propagate  # another app of this process may have the warnings already
        logger.addHandler(keeper)
        logger.propagate = False
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(served.warm_up)
                yield
                tasks.cancel_scope.cancel()
        finally:
            logger.propagate = propagated
            logger.removeHandler(keeper)
            await anyio.to_thread.run_sync(served.close)

    app = Starlette(
        routes=[Route("/", _page), *routes(), Mount("/page", _PageFiles(directory=PAGE))],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    app.state.served = served
    return Guard(app, access, served.limits.upload_bytes + FORM_BYTES)
