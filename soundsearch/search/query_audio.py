"""Embed a recording that is given as a query: a file, or a stream of bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from soundsearch.arrays import Array
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError, Cause
from soundsearch.files import StreamTooLongError, spooled
from soundsearch.urls import path_of


def embed_query_audio(
    encoder: Encoder, audio: str | Path | BinaryIO, passage: tuple[float, float] | None = None
) -> tuple[list[tuple[float, float]], Array]:
    """Embed all windows of a query recording, or of a passage of it, that are not silent.

    Args:
        encoder: Embeds the windows.
        audio: Path of a sound file, or an open stream of one, which is copied to a temporary file.
        passage: (start_s, end_s) in seconds of a player's clock; the end may be infinite.

    Returns:
        The n windows as (start_s, end_s), and their unit embeddings, (n, dim) float32; n >= 1.

    Raises:
        AudioError: The recording cannot be used; the message names it.
    """
    name = str(audio) if isinstance(audio, str | Path) else _name_of(audio)
    try:
        with _path_of(audio) as path:
            return encoder.embed_file(path, name=name, passage=passage)
    except AudioError as error:
        reason = "no such file" if error.cause is Cause.VANISHED else error.reason
        raise AudioError(error.cause, f"{name}: {reason}") from error


def _name_of(stream: BinaryIO) -> str:
    name = getattr(stream, "name", None)
    if name in ("<stdin>", 0):
        return "standard input"
    return name if isinstance(name, str) else "the stream"


@contextlib.contextmanager
def _path_of(audio: str | Path | BinaryIO) -> Iterator[Path]:
    """Yield a path of the recording that is valid inside the block. Raises AudioError."""
    if isinstance(audio, str | Path):
        yield path_of(audio)
        return
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(spooled(audio))
        except StreamTooLongError as error:
            reason = f"it holds {error.strerror}; save it to a file and name that"
            raise AudioError(Cause.UNREADABLE, reason) from error
        except OSError as error:
            reason = f"it cannot be copied to a temporary file ({error.strerror or error})"
            raise AudioError(Cause.UNREADABLE, reason) from error
        yield path
