"""Do what the options of a search ask for: play, open or reveal a hit, write files of the hits."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from soundsearch import hit_files
from soundsearch.cli.hit_options import HitOptions
from soundsearch.cli.streams import note
from soundsearch.desktop import open_file, reveal, started
from soundsearch.errors import AudioError, SoundsearchError
from soundsearch.files import is_absent
from soundsearch.render import short_path
from soundsearch.urls import is_url

if TYPE_CHECKING:
    from soundsearch.search.hits import Hit

#: Player -> its arguments for a path, which is absolute, and a second; in the order of preference.
PLAYERS: dict[str, Callable[[str, str], list[str]]] = {
    "ffplay": lambda path, second: [
        *("-nodisp", "-autoexit", "-hide_banner", "-loglevel", "error"),
        *("-ss", second, "-i", path),
    ],
    "mpv": lambda path, second: ["--no-video", f"--start={second}", "--", path],
    "cvlc": lambda path, second: ["--quiet", "--play-and-exit", f"--start-time={second}", path],
    "vlc": lambda path, second: ["--quiet", "--play-and-exit", f"--start-time={second}", path],
}
#: Players that know few formats or no second to start at: they get the passage alone, as WAV.
WAV_PLAYERS = ("play", "afplay", "pw-play", "paplay", "aplay")


def act(hits: Sequence[Hit], options: HitOptions) -> None:
    """Write the files asked for, then reveal, open and play.

    Args:
        hits: As they were printed.
        options: What is asked for.

    Raises:
        SoundsearchError: A hit has no such number or is not there now, a file cannot be written,
            or there is no program for it.
    """
    chosen = [
        (action, _numbered(hits, option, number))
        for option, number, action in (
            ("--reveal", options.reveal, lambda hit: reveal(hit.path)),
            ("--open", options.open, lambda hit: open_file(hit.path)),
            ("--play", options.play, play),
        )
        if number is not None
    ]
    _write_lists(hits, options)
    _write_folders(hits, options)
    for action, hit in chosen:
        action(hit)


def _numbered(hits: Sequence[Hit], option: str, number: int) -> Hit:
    """The hit with this number, whose file is there."""
    hit = next((hit for hit in hits if hit.rank == number), None)
    if hit is None:
        found = f"there are {len(hits)} hits" if len(hits) != 1 else "there is 1 hit"
        raise SoundsearchError(
            f"{option} {number}: {found}; give a number of the list, or more hits with --top-k"
            if hits
            else f"{option} {number}: nothing was found; try other words"
        )
    if is_url(hit.path):
        raise SoundsearchError(
            f"{option} {number}: {hit.path} lies at a URL; download it, and open the copy"
        )
    if is_absent(hit.path):
        raise SoundsearchError(
            f"{option} {number}: {hit.path} is not there now; mount its disk, or bring the index "
            "up to date with: soundsearch index"
        )
    return hit


def _write_lists(hits: Sequence[Hit], options: HitOptions) -> None:
    for path, write in (
        (options.csv, hit_files.write_table),
        (options.m3u, hit_files.write_playlist),
        (options.labels, hit_files.write_labels),
    ):
        if path is not None:
            note(f"written: {short_path(write(hits, path))}")
    n_absent = sum(not hit.is_present for hit in hits)
    if options.m3u is not None and n_absent:
        note(f"left out of the playlist, not there now: {n_absent}")


def _write_folders(hits: Sequence[Hit], options: HitOptions) -> None:
    for folder, write, what in (
        (options.copy_to, hit_files.copy_recordings, "copies"),
        (options.link_to, hit_files.link_recordings, "links"),
        (options.excerpts, hit_files.write_excerpts, "excerpts"),
    ):
        if folder is not None:
            written = write(hits, folder.absolute())
            for line in written.left_out:
                note(f"left out: {line}")
            note(f"{what} written to {short_path(folder.absolute())}: {len(written.paths)}")


def play(hit: Hit) -> None:
    """Play a recording from the second of the hit, until the player ends.

    Raises:
        SoundsearchError: There is no player, or it fails.
    """
    for name, arguments in PLAYERS.items():
        if program := shutil.which(name):
            _play_with(program, arguments(str(hit.path), f"{hit.start_s:.3f}"))
            return
    for name in WAV_PLAYERS:
        if program := shutil.which(name):
            _play_excerpt(program, hit)
            return
    looked_for = ", ".join([*PLAYERS, *WAV_PLAYERS])
    raise SoundsearchError(
        f"no player was found (looked for {looked_for}); install one, such as FFmpeg with ffplay, "
        "or write the passages with --excerpts"
    )


def _play_excerpt(program: str, hit: Hit) -> None:
    from soundsearch.audio.excerpts import excerpt

    try:
        content = excerpt(hit.path, hit.start_s, hit.end_s)
    except AudioError as error:
        raise SoundsearchError(f"{hit.path}: {error.reason}") from error
    with tempfile.TemporaryDirectory(prefix="soundsearch-") as folder:
        passage = Path(folder, "passage.wav")
        passage.write_bytes(content)
        _play_with(program, [str(passage)])


def _play_with(program: str, arguments: list[str]) -> None:
    code = started(program, arguments).wait()
    if code != 0:
        raise SoundsearchError(f"the player failed: {program} ended with exit code {code}")
