"""The texts that `soundsearch describe` ranks: one sound a line, worded as in a caption."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from soundsearch.errors import SoundsearchError

SHIPPED_NAME = "sounds.txt"


def load_vocabulary(path: Path | None = None) -> list[str]:
    """Read a vocabulary: stripped lines in order, without blank and repeated ones.

    In the shipped list a line that begins with "#" is a heading and is left out. In a user's own
    file it is a text, since a caption may begin so ("#1 hit playing on a radio").

    Args:
        path: A UTF-8 text file, with or without a byte order mark; None is the shipped list.

    Raises:
        SoundsearchError: The file is missing, cannot be read, is not UTF-8, or has no line.
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
    """Return stripped, non-blank lines, each once, in order of first appearance."""
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
