"""The words that `soundsearch describe` can answer with: one sound a line, as a caption says it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from soundsearch.errors import SoundsearchError

SHIPPED_NAME = "sounds.txt"


def load_vocabulary(path: Path | None = None) -> list[str]:
    """The lines of the shipped vocabulary, or of the text file at `path`, in order.

    Lines are stripped; blank ones and exact repeats (all but the first) are dropped. In the shipped
    list a line starting with "#" is a heading and is dropped; in a person's own file it is kept,
    since a caption may well begin that way ("#1 hit playing on a radio").

    Raises SoundsearchError if the file is missing, cannot be read, is not UTF-8 text (a byte order
    mark is tolerated) or holds no line.
    """
    if path is None:
        shipped = resources.files(__name__).joinpath(SHIPPED_NAME).read_text(encoding="utf-8-sig")
        return _distinct(line for line in shipped.splitlines() if not line.startswith("#"))
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise SoundsearchError(
            f"{path}: no such vocabulary file; "
            "give a text file with one sound a line, or none for the shipped list"
        ) from error
    except OSError as error:
        raise SoundsearchError(
            f"{path}: cannot read the vocabulary ({error.strerror or error}); "
            "give a readable text file with one sound a line"
        ) from error
    except UnicodeDecodeError as error:
        raise SoundsearchError(
            f"{path}: byte {error.start} (0x{error.object[error.start]:02x}) is not UTF-8 text; "
            "save the vocabulary as UTF-8, one sound a line"
        ) from error
    lines = _distinct(text.splitlines())
    if not lines:
        raise SoundsearchError(
            f"{path}: the vocabulary has no lines; write one sound a line, such as 'dog barking'"
        )
    return lines


def _distinct(lines: Iterable[str]) -> list[str]:
    """Stripped, non-blank lines, each once, in the order of their first appearance."""
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
