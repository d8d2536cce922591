"""Hits to files: a table, a playlist, labels, copies, links, excerpts.

In: hits. Out: new files. Recordings are only read, and no file is overwritten: where a name is
taken, the new file gets a number.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from soundsearch.descriptors import stop_if_ran_out
from soundsearch.errors import AudioError, SoundsearchError
from soundsearch.files import AtUrlError, open_regular, write_atomically
from soundsearch.render import printable, score_text
from soundsearch.urls import is_url

if TYPE_CHECKING:
    from soundsearch.search.hits import Hit, Passage

#: Columns of the table.
COLUMNS = ("rank", "score", "start_s", "end_s", "duration_s", "words", "path")
#: With these first, a spreadsheet takes a text for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
#: Seconds of an excerpt before and after the passage.
HANDLE_S = 0.5
#: An excerpt of a longer passage is its beginning: a passage may be a recording of hours.
LONGEST_EXCERPT_S = 60.0
#: Bytes of a file name that every common file system takes.
NAME_BYTES = 255
BLOCK_BYTES = 1 << 20


@dataclass
class Written:
    """What was written into a folder.

    Attributes:
        paths: The new files.
        left_out: One line for each recording that cannot be read.
    """

    paths: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class _SourceError(Exception):
    """A recording cannot be read; the text says why."""


def write_table(hits: Sequence[Hit], path: Path) -> Path:
    """Write hits as CSV (UTF-8, a comma between columns) with a header: a row for each passage.

    Words that a spreadsheet would take for a formula get an apostrophe before them. A path is
    absolute, and so is none.

    Args:
        hits: In the order of the rows.
        path: Of the file; a number is added to the name if it is taken.

    Returns:
        The path of the new file.

    Raises:
        SoundsearchError: The file cannot be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for hit in hits:
        words = " ".join(hit.words)
        if words.startswith(FORMULA_STARTS):
            words = f"'{words}"
        for place in _passages(hit):
            times = (place.start_s, place.end_s, hit.duration_s)
            rows.writerow([hit.rank, place.score, *times, words, hit.path])
    return _write_list(path, text.getvalue().encode("utf-8", "surrogateescape"))


def _passages(hit: Hit) -> Sequence[Passage]:
    """The passages of a hit in order of time; its best window where it has none."""
    return hit.passages or (hit,)


def write_playlist(hits: Sequence[Hit], path: Path) -> Path:
    """Write hits that exist now as an extended M3U8 playlist with absolute paths.

    VLC starts each at the second of the hit. A path that a line of UTF-8 cannot hold becomes a file: address.
    Arguments, result and errors are those of `write_table`.
    """
    lines = ["#EXTM3U"]
    for hit in hits:
        if hit.is_present:
            lines += [
                f"#EXTINF:{round(hit.duration_s)},{printable(hit.path.name)}",
                f"#EXTVLCOPT:start-time={hit.start_s:.3f}",
                _line_of(hit.path),
            ]
    return _write_list(path, ("\n".join(lines) + "\n").encode("utf-8"))


def _line_of(path: Path) -> str:
    text = str(path)
    is_plain = printable(text) == text and text == text.strip()
    return text if is_plain else path.as_uri()


def write_labels(hits: Sequence[Hit], path: Path) -> Path:
    """Write passages as a label track that Audacity imports: start, end and text, by tabs.

    The text is rank and score; between them stands the name where the hits lie in several
    recordings. Arguments, result and errors are those of `write_table`.
    """
    is_one = len({hit.path for hit in hits}) == 1
    lines = []
    for hit in hits:
        name = "" if is_one else f"{printable(hit.path.name)} "
        lines += [
            f"{place.start_s:.6f}\t{place.end_s:.6f}\t{hit.rank} {name}({score_text(place.score)})\n"
            for place in _passages(hit)
        ]
    return _write_list(path, "".join(lines).encode("utf-8"))


def _write_list(path: Path, content: bytes) -> Path:
    path = path.absolute()
    try:
        with _new_file(path.parent, path.stem, path.suffix) as (temporary, written):
            temporary.write_bytes(content)
    except OSError as error:
        stop_if_ran_out(error)
        raise SoundsearchError(
            f"{path}: it cannot be written ({error.strerror or error}); name a file in a folder "
            "that is there, with room, and that you may write into"
        ) from error
    return written


def copy_recordings(hits: Sequence[Hit], folder: Path) -> Written:
    """Copy recordings into a folder, with their times of change. Each recording once.

    Args:
        hits: What to copy.
        folder: Is made if it does not exist.

    Returns:
        The copies, and a line for each recording that cannot be read.

    Raises:
        SoundsearchError: The folder cannot be written.
    """

    def copy(hit: Hit) -> Iterator[Path]:
        try:
            source = open_regular(hit.path)
        except OSError as error:
            raise _unreadable(error) from error
        with source, _new_file(folder, hit.path.stem, hit.path.suffix) as (temporary, to):
            with open(temporary, "wb") as copied:
                for block in _blocks(source):
                    copied.write(block)
            facts = os.fstat(source.fileno())
            os.utime(temporary, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        yield to

    return _write_each(_once(hits), folder, copy)


def _blocks(source: BinaryIO) -> Iterator[bytes]:
    while True:
        try:
            block = source.read(BLOCK_BYTES)
        except OSError as error:
            raise _unreadable(error) from error
        if not block:
            return
        yield block


def link_recordings(hits: Sequence[Hit], folder: Path) -> Written:
    """Make symbolic links to recordings in a folder. Each recording once.

    Arguments, result and errors are those of `copy_recordings`; also where a disk takes no links.
    """

    def link(hit: Hit) -> Iterator[Path]:
        try:
            if is_url(hit.path):
                raise AtUrlError(hit.path)
            os.stat(hit.path)
        except OSError as error:
            raise _unreadable(error) from error
        for to in _free_paths(folder, hit.path.stem, hit.path.suffix):
            with contextlib.suppress(FileExistsError):
                to.symlink_to(hit.path)
                yield to
                return

    return _write_each(_once(hits), folder, link)


def write_excerpts(
    hits: Sequence[Hit],
    folder: Path,
    cut: Callable[[Path, float, float, float], bytes] | None = None,
) -> Written:
    """Write the passages of each hit as WAV files, with HANDLE_S before and after.

    Of a passage that lasts longer than LONGEST_EXCERPT_S, the beginning is written.

    Args:
        hits: Whose passages to write.
        folder: Is made if it does not exist.
        cut: What makes the content of each; by default `soundsearch.audio.excerpts.excerpt`.

    Returns:
        The excerpts, and a line for each recording that cannot be read.

    Raises:
        SoundsearchError: The folder cannot be written.
    """
    from soundsearch.audio.excerpts import excerpt

    cut_passage = cut or excerpt
    width = max(2, len(str(max((hit.rank for hit in hits), default=1))))

    def write(hit: Hit) -> Iterator[Path]:
        for place in _passages(hit):
            end_s = min(place.end_s, place.start_s + LONGEST_EXCERPT_S)
            try:
                content = cut_passage(hit.path, place.start_s, end_s, HANDLE_S)
            except AudioError as error:
                raise _SourceError(error.reason) from error
            except OSError as error:
                raise _unreadable(error) from error
            stem, second = (
                f"{hit.rank:0{width}d} {hit.path.stem}",
                f" {place_in_name(place.start_s)}",
            )
            with _new_file(folder, stem, ".wav", second) as (temporary, to):
                temporary.write_bytes(content)
            yield to

    return _write_each(hits, folder, write)


def place_in_name(seconds: float) -> str:
    """A place in a recording, fit for a file name: 14m33s, 1h02m03s."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}h{minute:02d}m{second:02d}s" if hours else f"{minute}m{second:02d}s"


def _once(hits: Sequence[Hit]) -> list[Hit]:
    """The first hit in each recording."""
    first: dict[Path, Hit] = {}
    for hit in hits:
        first.setdefault(hit.path, hit)
    return list(first.values())


def _write_each(
    hits: Sequence[Hit], folder: Path, write: Callable[[Hit], Iterator[Path]]
) -> Written:
    """Write files for each hit; a recording that cannot be read costs one line."""
    written = Written()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for hit in hits:
            try:
                written.paths += write(hit)
            except _SourceError as error:
                written.left_out.append(f"{hit.path}: {error}")
    except OSError as error:
        stop_if_ran_out(error)
        raise SoundsearchError(
            f"{folder}: it cannot be written ({error.strerror or error}), written so far: "
            f"{len(written.paths)} of {len(hits)}; name a folder with room that you may write into"
        ) from error
    return written


def _unreadable(error: OSError) -> _SourceError:
    stop_if_ran_out(error)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _SourceError("not there now")
    return _SourceError(f"cannot be read ({error.strerror or error})")


@contextlib.contextmanager
def _new_file(folder: Path, stem: str, suffix: str, place: str = "") -> Iterator[tuple[Path, Path]]:
    """Write a new file atomically: yields the temporary path and the one to come.

    An empty file reserves the name meanwhile, so that no other process takes it.
    """
    to = _reserved(folder, stem, suffix, place)
    try:
        with write_atomically(to) as temporary:
            yield temporary, to
    except BaseException:
        with contextlib.suppress(OSError):
            to.unlink()
        raise


def _reserved(folder: Path, stem: str, suffix: str, place: str) -> Path:
    for path in _free_paths(folder, stem, suffix, place):
        with contextlib.suppress(FileExistsError):
            path.open("xb").close()
            return path
    raise AssertionError("there is always another number")


def _free_paths(folder: Path, stem: str, suffix: str, place: str = "") -> Iterator[Path]:
    """Paths in a folder that are not taken: the name as it is, then with (2), (3) and so on.

    Too long a stem is cut; what comes after it stays.
    """
    number = 1
    while True:
        tail = place + (suffix if number == 1 else f" ({number}){suffix}")
        path = folder / f"{_shortened(stem, tail)}{tail}"
        if not os.path.lexists(path):
            yield path
        number += 1


def _shortened(stem: str, tail: str) -> str:
    """The stem, cut so that a file system takes the whole name."""
    while stem and len(os.fsencode(stem + tail)) > NAME_BYTES:
        stem = stem[:-1]
    return stem
