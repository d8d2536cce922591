"""Uploads: bounded in bytes, seconds and time, cut by a process of their own, deleted at once."""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from anyio import fail_after
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from soundsearch.errors import AudioError
from soundsearch.render import printable
from soundsearch.serve.http_errors import RequestError
from soundsearch.serve.parameters import Parameter, read
from soundsearch.serve.state import Limits, Served

#: Bytes of the fields beside the file.
FIELD_BYTES = 20_000
COPY_BYTES = 1 << 20
#: Letters of the name of an upload in messages.
N_LETTERS = 80
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,16}")


@dataclass(frozen=True)
class Upload:
    """The part of an uploaded recording that is meant, as a WAV file.

    Attributes:
        path: Of the WAV file.
        name: As the client calls it; for messages alone.
    """

    path: Path
    name: str

    def opened(self) -> BinaryIO:
        """Return it opened, with the name of the upload."""
        file = io.FileIO(self.path)
        file.name = self.name
        return cast(BinaryIO, file)


@asynccontextmanager
async def received(
    request: Request, served: Served, parameters: Sequence[Parameter]
) -> AsyncIterator[tuple[Mapping[str, Any], Upload | None]]:
    """Receive a form with parameters and a file, which is deleted at the end of the block.

    Yields:
        The values of the parameters, and the upload; None if a recording is named in its place.

    Raises:
        RequestError: It is no such form, too large, too slow, or holds no sound that can be used.
    """
    limits = served.limits
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise RequestError(
            415, "the body is no form, expected multipart/form-data with the field file"
        )
    async with served.uploads:
        try:
            with fail_after(limits.receive_s):
                form = await request.form(max_files=1, max_fields=100, max_part_size=FIELD_BYTES)
        except TimeoutError as error:
            raise RequestError(
                408, f"the upload took longer than {limits.receive_s:g} s; send a smaller file"
            ) from error
        except HTTPException as error:
            raise RequestError(400, f"the form cannot be read: {error.detail}") from error
        try:
            file = form.get("file")
            rest = FormData([item for item in form.multi_items() if item[0] != "file"])
            values = with_end(read(parameters, rest), limits)
            if (file is None) == (values["recording"] is None):
                raise RequestError(
                    400, "expected a field file with a recording, or recording with the id of one"
                )
            if file is None:
                yield values, None
                return
            if not isinstance(file, UploadFile):
                raise RequestError(400, "file is a text, expected a file with its name")
            with tempfile.TemporaryDirectory(prefix="upload-", dir=served.folder) as folder:
                yield values, await served.decode(partial(_cut, file, Path(folder), values, served))
        finally:
            await form.close()


def with_end(values: Mapping[str, Any], limits: Limits) -> Mapping[str, Any]:
    """Return the values of parameters, with an end for a passage that begins somewhere.

    Raises:
        RequestError: It ends before it begins, or is too long.
    """
    begin, end = values["start"], values["end"]
    if end is None:
        return values if begin is None else {**values, "end": begin + limits.upload_s}
    begin = begin or 0.0
    if end <= begin:
        raise RequestError(400, f"end is {end:g}, expected more than start, which is {begin:g}")
    if end - begin > limits.upload_s:
        raise RequestError(
            400,
            f"the passage lasts {end - begin:g} s, expected at most {limits.upload_s:g} s; "
            "take a part of it",
        )
    return values


def _cut(file: UploadFile, folder: Path, values: Mapping[str, Any], served: Served) -> Upload:
    """Cut the part out of an upload that is searched by. Raises RequestError (422)."""
    name = printable(file.filename or "the upload")[:N_LETTERS]
    suffix = Path(file.filename or "").suffix
    path = folder / f"upload{suffix if SUFFIX.fullmatch(suffix) else ''}"
    with path.open("wb") as copy:
        shutil.copyfileobj(file.file, copy, COPY_BYTES)
    file.file.close()
    begin = values["start"] or 0.0
    end = values["end"] or begin + served.limits.upload_s
    part = folder / "part.wav"
    try:
        served.decoders.cut(path, begin, end, 0.0, part)
    except AudioError as error:
        raise RequestError(422, f"{name}: {error.reason}") from error
    finally:
        path.unlink()
    return Upload(part, name)
