"""Captions that the VIP-ANT authors found for AudioSet's clips by their images, as they publish them.

    *_map.csv   [12, "text"]                       a caption and its number, a line
    *_cap.csv   ["ID.p0.4_01", [12, 7, ...]]       the captions of an image of clip ID, a line
    or          {"ID": [12, 7, ...], ...}          the captions of each clip

Source: `note/audiotxt.md` of their companion repository audioset-dl.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsearch.errors import SoundsearchError
from soundsearch.files import open_regular

Ids = NDArray[np.int32]

#: The id of an image: that of its clip, the clip's number in the video, and its own.
IMAGE_ID = re.compile(r"(.+)\.[pn]\d+\.\d+_\d+")


class AuthorsCaptionsError(SoundsearchError):
    """A file of captions or of their choice that cannot be used."""


def read_map(path: Path) -> tuple[list[str], dict[int, int]]:
    """Return the distinct captions of a map, and the place of each number's caption among them.

    Raises AuthorsCaptionsError naming the line.
    """
    places: dict[str, int] = {}
    numbers: dict[int, int] = {}
    for found, where in _records(path):
        match found:
            case [int(number), str(text)] if text.strip():
                text = " ".join(text.split())
                numbers[number] = places.setdefault(text, len(places))
            case _:
                raise AuthorsCaptionsError(
                    f'{where}: expected [number, "caption"], found {found!r}'
                )
    if not places:
        raise AuthorsCaptionsError(f"{path}: holds no captions")
    return list(places), numbers


def read_choice(path: Path, numbers: dict[int, int]) -> dict[str, Ids]:
    """Return for each clip the places of its captions, each once, in the order of its images.

    Args:
        path: A list of images, or an object of clips.
        numbers: Of captions -> their places, as `read_map` gives them.

    Raises:
        AuthorsCaptionsError: The file is of another kind, or a number is in no map.
    """
    chosen: dict[str, list[int]] = {}
    for clip, of_clip, where in _choices(path):
        try:
            places = [numbers[number] for number in of_clip]
        except (KeyError, TypeError) as error:
            raise AuthorsCaptionsError(
                f"{where}: {clip} has caption {error}, which the map does not have; give the map "
                "that belongs to it"
            ) from error
        chosen.setdefault(clip, []).extend(places)
    if not chosen:
        raise AuthorsCaptionsError(f"{path}: holds no clips")
    return {clip: np.array(list(dict.fromkeys(p)), np.int32) for clip, p in chosen.items()}


def _choices(path: Path) -> Iterator[tuple[str, list[Any], str]]:
    """Yield a clip's id, numbers of captions, and where they stand."""
    for found, where in _records(path):
        match found:
            case [str(image), list(numbers)]:
                name = IMAGE_ID.fullmatch(image)
                yield (name[1] if name else image), numbers, where
            case dict() if all(isinstance(numbers, list) for numbers in found.values()):
                yield from ((str(clip), numbers, where) for clip, numbers in found.items())
            case _:
                raise AuthorsCaptionsError(
                    f'{where}: expected ["image", [numbers]] or {{"clip": [numbers]}}, '
                    f"found {str(found)[:60]!r}"
                )


def _records(path: Path) -> Iterator[tuple[Any, str]]:
    """Yield the JSON values of a file, one a line or one over all lines, each with its place."""
    try:
        with open_regular(path) as file:
            is_object = file.read(1000).removeprefix(BOM_UTF8).lstrip().startswith(b"{")
            file.seek(0)
            if is_object:
                yield _parsed(file.read(), f"{path}"), f"{path}"
                return
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"{path}: line {number}"
                    yield _parsed(line, where), where
    except OSError as error:
        raise AuthorsCaptionsError(f"{path}: cannot be read ({error.strerror or error})") from error


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content.removeprefix(BOM_UTF8))
    except ValueError as error:  # not UTF-8 either
        raise AuthorsCaptionsError(f"{where}: not JSON ({error})") from error
