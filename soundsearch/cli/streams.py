r"""Standard input, output and error as a command can use them, whatever they are connected to.

- A character that the encoding lacks is escaped: `\xe4`, `\u96e8`.
- A reader that goes away (`| head -1`) gets nothing more; the command goes on to its end, and its
  exit code says what it did.
- An output that takes no more for another reason (a full disk, `>&-`) is an OutputError. An error
  stream that takes no more ends nothing: notes are lost, results are not.
- A stream that is closed is opened on the null device: else the next file that is opened would get
  its number, and whatever is written to the stream.
"""

from __future__ import annotations

import codecs
import io
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from typing import Any

import typer

from soundsearch.errors import SoundsearchError
from soundsearch.layout import Look
from soundsearch.render import printable

#: A name for ASCII under which Typer takes it for meant: by its own it would get UTF-8.
ESCAPED_ASCII = "escaped_ascii"


class OutputError(SoundsearchError):
    """Standard output takes no more, so results are lost."""


def note(text: str) -> None:
    """Print one line on stderr; control characters, as in a path, are escaped."""
    typer.echo(printable(text), err=True)


def command_line() -> str:
    """The command as it was typed, for results that say how they were made."""
    return shlex.join(["soundsearch", *sys.argv[1:]])


def look() -> Look:
    """How lines on standard output look: as https://no-color.org and https://force-color.org say."""
    is_terminal = sys.stdout.isatty()
    is_able = is_terminal and os.environ.get("TERM") != "dumb"
    return Look(
        width=shutil.get_terminal_size().columns if is_terminal else None,  # 80 where unknown
        colour=not os.environ.get("NO_COLOR") and (is_able or bool(os.environ.get("FORCE_COLOR"))),
        ellipsis="…" if _can_write("…") else "...",
    )


def _can_write(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def prepare() -> None:
    """Make the process's own streams fit for use; what stands in for them is left alone."""
    if sys.stdin is None:
        _open_null(0, os.O_RDONLY)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is sys.__stdout__:
        if sys.stdout is None:
            _open_null(1, os.O_RDONLY)  # writing fails: results that nobody gets are an error
        sys.stdout = _fit(sys.stdout, 1, _refuse)
    if sys.stderr is sys.__stderr__:
        if sys.stderr is None:
            _open_null(2, os.O_WRONLY)
        sys.stderr = _fit(sys.stderr, 2, _ignore)


def _open_null(descriptor: int, flags: int) -> None:
    null = os.open(os.devnull, flags)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)


def _refuse(error: OSError) -> None:
    raise OutputError(f"standard output: {(error.strerror or str(error)).lower()}") from error


def _ignore(error: OSError) -> None:
    """Notes that cannot be written are lost."""


class _Written(io.RawIOBase):
    """A file that is written; once it takes no more, the rest goes to the null device.

    failed: is called with the error if the reason is another than a reader that went away.
    """

    def __init__(self, raw: io.FileIO, failed: Callable[[OSError], None]) -> None:
        self._raw = raw
        self._failed = failed

    def write(self, data: Any) -> int | None:
        try:
            return self._raw.write(data)
        except OSError as error:
            # What waits in a buffer would fail again, and loudly, when the interpreter ends.
            _open_null(self.fileno(), os.O_WRONLY)
            if not isinstance(error, BrokenPipeError):
                self._failed(error)
            return memoryview(data).nbytes

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()

    def writable(self) -> bool:
        return True


def _fit(stream: Any, descriptor: int, failed: Callable[[OSError], None]) -> Any:
    """A text stream in place of a standard one, on the same descriptor, that writes every text."""
    raw: Any
    if stream is None:
        raw, encoding, line_buffering = io.FileIO(descriptor, "w", closefd=False), "utf-8", False
    else:
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)  # an unbuffered stream has nothing between
        if not isinstance(stream, io.TextIOWrapper) or not isinstance(raw, io.FileIO):
            return stream  # a console of Windows, say
        encoding, line_buffering = stream.encoding, stream.line_buffering
    return io.TextIOWrapper(
        io.BufferedWriter(_Written(raw, failed)),
        encoding=_named(encoding),
        errors="backslashreplace",
        line_buffering=line_buffering,
    )


def _named(encoding: str) -> str:
    """The encoding, by a name that Typer heeds."""
    if codecs.lookup(encoding).name != "ascii":
        return encoding
    codecs.register(_escaped_ascii)
    return ESCAPED_ASCII


def _escaped_ascii(name: str) -> codecs.CodecInfo | None:
    if name != ESCAPED_ASCII:
        return None
    known: Any = codecs.lookup("ascii")
    return codecs.CodecInfo(
        known.encode,
        known.decode,
        incrementalencoder=known.incrementalencoder,
        incrementaldecoder=known.incrementaldecoder,
        name=ESCAPED_ASCII,
    )
