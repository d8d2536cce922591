"""Manifests to examples: CSV files, Clotho's captions and VIP-ANT's index files, recognised by content.

    audio,image[,caption][,labels]   rows with the same audio are frames of one example
    audio,caption[,labels]           rows with the same audio are captions of one example
    file_name,caption_1..caption_5   Clotho as it is published
    {"id": ..., "dir": ...}          one JSON object a line, as in VIP-ANT's data folder, where a
                                     example's files are <root>/<dir>/aclip/<id>.<suffix> and
                                     <root>/<dir>/frame/<id>.<suffix>

A manifest is gone through once to be checked and indexed; then rows are read where they lie, so
that millions of them need 16 bytes each.
"""

from __future__ import annotations

import array
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.recording import unreadable
from soundsearch.audio.windows import SHORTEST_S
from soundsearch.bench.datasets.audio_folder import AudioFolder
from soundsearch.bench.datasets.audiocaps import AUDIOCAPS_SECONDS, audiocaps_stems
from soundsearch.bench.datasets.audioset import Segment, is_segments, parse_segment
from soundsearch.errors import AudioError
from soundsearch.files import open_regular
from soundsearch.progress import Progress, Silent
from soundsearch.tables import Row, Table, listed
from trainer.data.example import Example, ExampleFacts, image_suffix
from trainer.data.lines import Lines, ManifestError
from trainer.data.pack import Mapped, Outcome, Problem, Report, Sources, pack
from trainer.data.part import Part
from trainer.data.shard_writer import EXAMPLES_PER_SHARD
from trainer.data.sound_files import Sound, flac, read_sound

#: Columns that hold one caption a row.
CAPTIONS = ("caption", "audio_caption")
CLOTHO_CAPTIONS = tuple(f"caption_{i}" for i in range(1, 6))
#: Between labels in one field; the names of AudioSet's classes hold commas.
LABEL_SEPARATOR = ";"
#: Keys of VIP-ANT's index under which an example's sound stands; the folder has the same name.
SOUND_KEYS = ("aclip", "clip")
EXPECTED = (
    "audio,image or audio,caption (labels too), Clotho's file_name,caption_1, AudioCaps' "
    "youtube_id,start_time,caption, AudioSet's # YTID, start_seconds, or a JSON object a line with "
    "id, dir and aclip"
)
AUDIOCAPS = ("youtube_id", "start_time", "caption")
#: A recording that is longer than its segment by more than this is one that holds it.
SPARE_S = 1.0

Array = NDArray[np.float32]
Cells = dict[str, str]


@dataclass(frozen=True)
class Entry:
    """An example as a manifest names it.

    audio: its file below the root, or several of which the first that is there is taken. images:
    files of its frames in order. source: what it was cut from. end_s: None: as long as its sound.
    stems: in place of audio, names without ending, likeliest first, of a recording anywhere below
    the root; it is the segment, or holds it.
    """

    audio: tuple[str, ...]
    source: str
    images: tuple[str, ...] = ()
    begin_s: float = 0.0
    end_s: float | None = None
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    stems: tuple[str, ...] = ()


class GroupedRows:
    """Rows of a table that share what stands in some columns, in the order of their first rows.

    They are read where they lie when they are asked for; cells come without blanks around them.

    Args:
        table: the table.
        columns: what the rows of a group share; no cell of them may be empty.
        check: called once for every row with its place; raises ManifestError for a bad one.

    Raises:
        ManifestError: the table cannot be read or has no rows.
    """

    def __init__(
        self,
        table: Table,
        columns: Sequence[str],
        check: Callable[[Cells, str], None] | None = None,
    ) -> None:
        self._table = table
        offsets, keys = array.array("q"), array.array("q")
        for row in table.rows(columns):
            cells = _stripped(row)
            if check is not None:
                check(cells, table.where(row))
            offsets.append(row.offset)
            shared = "\0".join(cells[column] for column in columns)
            digest = hashlib.blake2b(shared.encode(), digest_size=8).digest()
            keys.append(int.from_bytes(digest, "little", signed=True))
        _, first, group = np.unique(np.array(keys), return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first))  # groups by their first rows
        order = np.argsort(rank[group], kind="stable")
        self._offsets: NDArray[np.int64] = np.array(offsets, np.int64)[order]
        self._ends: NDArray[np.int64] = np.cumsum(np.bincount(rank[group]))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, i: int) -> list[Cells]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        first = int(self._ends[i - 1]) if i else 0
        offsets = self._offsets[first : int(self._ends[i])].tolist()
        return [_stripped(row) for row in self._table.rows_at(offsets)]


def _stripped(row: Row) -> Cells:
    return {column: cell.strip() for column, cell in row.cells.items()}


def file_digest(path: Path) -> str:
    """A short hash of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


class Manifest(Mapped[Entry]):
    """The examples of a manifest, read when they are asked for. digest: a short hash of the file."""

    def __init__(self, path: Path) -> None:
        super().__init__(*_open_manifest(path))
        self.digest = file_digest(path)


def _open_manifest(path: Path) -> tuple[Sources[Any], Callable[[Any], Entry]]:
    """The records of a manifest, and what makes an entry of one. Raises ManifestError."""
    try:
        with open_regular(path) as file:  # it is opened again and again: no pipe
            beginning = file.read(1000)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror})") from error
    if beginning.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return Lines(path, _parse_object), _of_object
    if is_segments(beginning):
        return Lines(path, parse_segment), _of_segment
    table = Table(path, ManifestError)
    if {"file_name", CLOTHO_CAPTIONS[0]} <= set(table.columns):
        return GroupedRows(table, ["file_name"]), _of_clotho_rows
    if set(AUDIOCAPS) <= set(table.columns):
        return GroupedRows(table, AUDIOCAPS[:2], _check_start), _of_audiocaps_rows
    if "audio" in table.columns and {"image", "labels", *CAPTIONS} & set(table.columns):
        return GroupedRows(table, ["audio"]), _of_rows
    raise ManifestError(
        f"{path}: not a manifest of a known kind; its columns are "
        f"{listed(table.columns)}; expected {EXPECTED}"
    )


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))


def captions_of(rows: Sequence[Cells]) -> tuple[str, ...]:
    """The distinct captions of rows."""
    return _distinct(row.get(name, "") for row in rows for name in CAPTIONS)


def labels_of(rows: Sequence[Cells]) -> tuple[str, ...]:
    """The distinct labels of rows, which stand in one field with semicolons between them."""
    return _distinct(
        label for row in rows for label in row.get("labels", "").split(LABEL_SEPARATOR)
    )


def _of_rows(rows: list[Cells]) -> Entry:
    audio = rows[0]["audio"]
    images = _distinct(row.get("image", "") for row in rows)
    return Entry((audio,), audio, images, captions=captions_of(rows), labels=labels_of(rows))


def _of_clotho_rows(rows: list[Cells]) -> Entry:
    audio = rows[0]["file_name"]
    captions = _distinct(row.get(name, "") for row in rows for name in CLOTHO_CAPTIONS)
    return Entry((audio,), audio, captions=captions)


def _check_start(row: Cells, where: str) -> None:
    as_seconds(row["start_time"], f"{where}: start_time")


def _of_audiocaps_rows(rows: list[Cells]) -> Entry:
    ytid, start = rows[0]["youtube_id"], rows[0]["start_time"]
    numbers = [row["audiocap_id"] for row in rows if row.get("audiocap_id")]
    return Entry(
        (),
        ytid,
        begin_s=float(start),
        end_s=float(start) + AUDIOCAPS_SECONDS,
        captions=captions_of(rows),
        stems=tuple(audiocaps_stems(ytid, start, numbers)),
    )


def _of_segment(segment: Segment) -> Entry:
    return Entry(
        (),
        segment.ytid,
        begin_s=segment.begin_s,
        end_s=segment.end_s,
        labels=segment.labels,
        stems=segment.stems,
    )


def _parse_object(line: bytes, where: str) -> dict[str, Any]:
    """A line of VIP-ANT's index, with every field of the kind it should be."""
    try:
        found = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        raise ManifestError(f"{where}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ManifestError(f"{where}: must be a JSON object, not {type(found).__name__}")
    sound = next((key for key in SOUND_KEYS if key in found), None)
    if sound is None:
        raise ManifestError(f"{where}: lacks aclip (or clip); it has {', '.join(found)}")
    for key in ("id", "dir"):
        if not isinstance(found.get(key), str):
            raise ManifestError(f"{where}: {key} must be a text, not {found.get(key)!r}")
    if isinstance(found.get("frame"), str):  # as their older files have it
        found["frame"] = [found["frame"]]
    for key in (sound, "frame", "labels", "captions"):
        values = found.setdefault(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise ManifestError(f"{where}: {key} must be a list of texts, not {values!r}")
    if not found[sound]:
        raise ManifestError(f"{where}: {sound} names no file")
    for key in ("bos", "eos"):
        value = found.get(key)
        found[key] = None if value is None else as_seconds(value, f"{where}: {key}")
    return found


def as_seconds(value: object, where: str) -> float:
    """A number of seconds, also where it is written as a text. Raises ManifestError."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ManifestError(f"{where} must be a number of seconds, not {value!r}")
    return seconds


def _of_object(found: Mapping[str, Any]) -> Entry:
    key = next(key for key in SOUND_KEYS if key in found)
    name = found["id"]
    folder = f"{found['dir']}/".lstrip("/")  # below the root, or the root itself
    folders = dict.fromkeys((key, SOUND_KEYS[0]))
    return Entry(
        audio=tuple(f"{folder}{sub}/{name}.{found[key][0]}" for sub in folders),
        source=name,
        images=tuple(f"{folder}frame/{name}.{suffix}" for suffix in found["frame"]),
        begin_s=found["bos"] or 0.0,
        end_s=found["eos"],
        captions=_distinct(found["captions"]),
        labels=_distinct(found["labels"]),
    )


def read_entry(entry: Entry, folder: AudioFolder) -> Iterator[Outcome]:
    """The example of an entry, and a problem for each file that cannot be used.

    An example needs its sound, and a picture unless it has captions or labels.
    """
    root = folder.path
    if entry.stems:
        there = folder.with_stem(entry.stems)
        if there is None:
            names = f"{entry.source} or {entry.source}_{entry.begin_s:g}"
            yield Problem(entry.source, f"no recording called {names} below {root}")
            return
        audio = str(there.relative_to(root))
    else:
        audio = next((name for name in entry.audio if (root / name).exists()), entry.audio[0])
    frames = []
    for name in entry.images:
        found = _image(root / name)
        if isinstance(found, bytes):
            frames.append(found)
        else:
            yield Problem(name, found)
    if entry.images and not (frames or entry.captions or entry.labels):
        yield Problem(audio, "none of its pictures can be used")
        return
    try:
        sound = read_sound(root / audio)
    except AudioError as error:
        yield Problem(audio, error.reason)
        return
    channels = _segment_of(sound, entry) if entry.stems else sound.channels
    duration_s = channels.shape[1] / sound.sample_rate
    if duration_s < SHORTEST_S:
        found_s = sound.channels.shape[1] / sound.sample_rate
        beyond = f"its segment from {entry.begin_s:g} s on lies beyond its end ({found_s:.1f} s)"
        yield Problem(audio, beyond if entry.stems else f"it lasts {1000 * duration_s:.2g} ms")
        return
    facts = ExampleFacts(
        source=entry.source,
        begin_s=entry.begin_s,
        end_s=entry.begin_s + duration_s if entry.end_s is None else entry.end_s,
        sample_rate=sound.sample_rate,
        captions=entry.captions,
        labels=entry.labels,
    )
    yield Example(facts, flac(channels, sound.sample_rate, sound.bits), tuple(frames))
    if sound.damage is not None:
        yield Problem(audio, sound.damage, 1)


def _segment_of(sound: Sound, entry: Entry) -> Array:
    """The samples (channel, time) of an entry's segment: the recording, or the part of it."""
    assert entry.end_s is not None
    rate = sound.sample_rate
    if sound.channels.shape[1] <= (entry.end_s - entry.begin_s + SPARE_S) * rate:
        return sound.channels
    return sound.channels[:, round(entry.begin_s * rate) : round(entry.end_s * rate)]


def _image(path: Path) -> bytes | str:
    """The bytes of a picture that can be decoded, or what is wrong with it."""
    from PIL import Image

    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        return unreadable(error).reason
    if image_suffix(content) is None:
        return "no JPEG, PNG or WebP picture" if content else "the file is empty (0 bytes)"
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"a damaged picture ({error})"
    return content


def pack_manifest(
    path: Path,
    out: Path,
    *,
    root: Path | None = None,
    examples_per_shard: int = EXAMPLES_PER_SHARD,
    n_workers: int | None = None,
    part: Part | None = None,
    progress: Progress | None = None,
) -> Report:
    """Shards in `out` of all examples of a manifest; an interrupted run goes on.

    root: where its paths begin; default: its own folder. n_workers: default: one a core. part: the
    entries to work on.
    Raises ManifestError, and ShardError as `pack` does.
    """
    progress = progress or Silent()
    progress.begin(f"reading {path.name}")
    manifest, folder = Manifest(path), AudioFolder(root or path.parent)
    return pack(
        manifest,
        lambda entry: read_entry(entry, folder),
        out,
        {"command": "train shards", "manifest": manifest.digest},
        examples_per_shard=examples_per_shard,
        n_workers=n_workers or os.cpu_count() or 1,
        part=part,
        progress=progress,
    )
