"""Benchmark data sets as they lie on disk: folders and CSV files to clips, captions and labels.

In: a folder in the layout its authors publish, or a CSV of one's own. Out: a `RetrievalSet` or a
`ClassificationSet`. Only the CSV is read and the folder listed; no recording is opened. What the
data set should hold and the folder does not is kept as `missing`, never passed over in silence.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import io
import os
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from soundsearch.choices import AudioCapsSplit, ClothoSplit
from soundsearch.errors import BenchmarkError

#: Clips of each split as published; Clotho's development split grew from version 1 to 2.
PUBLISHED_CLIPS: Mapping[str, tuple[int, ...]] = {
    "clotho/development": (2893, 3839),
    "clotho/validation": (1045,),
    "clotho/evaluation": (1045,),
    "audiocaps/train": (49838,),
    "audiocaps/val": (495,),
    "audiocaps/test": (975,),
    "esc-50": (2000,),
    "urbansound8k": (8732,),
}
#: Captions of one clip; AudioCaps has one where it is for training.
N_CAPTIONS = 5
#: Endings of recordings, for finding AudioCaps clips by the stem of their names.
AUDIO_ENDINGS = frozenset(
    [
        ".wav",
        ".flac",
        ".mp3",
        ".ogg",
        ".opus",
        ".m4a",
        ".aac",
        ".aif",
        ".aiff",
        ".webm",
        ".mp4",
        ".mkv",
    ]
)
#: Seconds of an AudioCaps clip, as some programs write them into names.
AUDIOCAPS_SECONDS = 10


class DataSetError(BenchmarkError):
    """A benchmark data set that is not there, not whole, or not of the layout expected."""


@dataclass(frozen=True)
class Missing:
    """A clip that the data set should hold and that cannot be measured. name: as the CSV has it."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DataSet(ABC):
    """Clips of one split of one data set: a `RetrievalSet` or a `ClassificationSet`.

    names: what the CSV calls each clip, each once. clips: their recordings, in that order.
    n_expected: clips of the whole split, as published or as its CSV lists them.
    """

    name: str
    split: str
    names: tuple[str, ...]
    clips: tuple[Path, ...]
    n_expected: int
    missing: tuple[Missing, ...] = ()

    @property
    def n_missing(self) -> int:
        """Clips that cannot be measured, whether or not the CSV lists them."""
        return self.n_expected - len(self.clips)

    def without(self, lost: Mapping[int, str]) -> Self:
        """The set without some clips. lost: place among the clips -> why it cannot be measured."""
        kept = [i for i in range(len(self.clips)) if i not in lost]
        gone = [Missing(self.names[i], reason) for i, reason in sorted(lost.items())]
        return dataclasses.replace(
            self,
            names=tuple(self.names[i] for i in kept),
            clips=tuple(self.clips[i] for i in kept),
            missing=(*self.missing, *gone),
            **self._facts_of(kept),
        )

    @abstractmethod
    def _facts_of(self, kept: list[int]) -> dict[str, Any]:
        """What a subclass knows of these clips, by field."""


@dataclass(frozen=True, kw_only=True)
class RetrievalSet(DataSet):
    """Clips with captions. captions: those of each clip, one or more."""

    captions: tuple[tuple[str, ...], ...]

    @property
    def texts(self) -> list[str]:
        """All captions, clip by clip."""
        return [caption for captions in self.captions for caption in captions]

    @property
    def owner(self) -> NDArray[np.int64]:
        """(n_texts,) int64: the clip that each text belongs to."""
        counts = [len(captions) for captions in self.captions]
        return np.repeat(np.arange(len(counts), dtype=np.int64), counts)

    def _facts_of(self, kept: list[int]) -> dict[str, Any]:
        return {"captions": tuple(self.captions[i] for i in kept)}


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassificationSet(DataSet):
    """Clips with one label each.

    target: (n_clips,) int64 into classes. classes: labels as the data set spells them, in the
    order of its own class numbers; a class stays when all its clips are missing. fold: (n_clips,)
    int64, or None.
    """

    target: NDArray[np.int64]
    classes: tuple[str, ...]
    fold: NDArray[np.int64] | None

    def _facts_of(self, kept: list[int]) -> dict[str, Any]:
        fold = None if self.fold is None else self.fold[kept]
        return {"target": self.target[kept], "fold": fold}


def require_whole(data: DataSet, allow_missing: bool) -> None:
    """Raise DataSetError unless the set is whole, or may be in part; an empty one never passes."""
    if not data.n_missing or (allow_missing and data.clips):
        return
    if data.missing:
        first = f"the first is {data.missing[0].name}: {data.missing[0].reason}"
    else:
        first = f"the CSV lists {len(data.clips)}"
    way_out = "; get them, or measure what is there with --allow-missing" if data.clips else ""
    raise DataSetError(
        f"{data.name} {data.split}: {data.n_missing} of {data.n_expected} clips cannot be measured "
        f"({first}){way_out}"
    )


def read_clotho(root: Path, split: str = "evaluation") -> RetrievalSet:
    """A split of Clotho, version 1 or 2: five captions for each clip.

    root: holds clotho_captions_SPLIT.csv and the recordings in SPLIT/ or clotho_audio_SPLIT/
    (also one in the other, as the archives unpack). Raises DataSetError.
    Source: K. Drossos, S. Lipping, T. Virtanen, Clotho: an audio captioning dataset, ICASSP 2020.
    """
    _require_choice("clotho", split, get_args(ClothoSplit))
    table = f"clotho_captions_{split}.csv"
    path = _first_file(root, (table, f"clotho_csv_files/{table}"), "clotho")
    columns = [f"caption_{i}" for i in range(1, N_CAPTIONS + 1)]
    rows = list(_rows(path, ["file_name", *columns]))
    names = [row["file_name"] for row in rows]
    _refuse_duplicates(path, names)
    folder = _AudioFolder.first(
        root,
        (
            split,
            f"clotho_audio_{split}/{split}",
            f"clotho_audio_{split}",
            f"clotho_audio_files/{split}",
        ),
        "clotho",
    )
    found = [folder.named(name) for name in names]
    folder.refuse_other_split(path, names, found)
    captions = [tuple(row[column] for column in columns) for row in rows]
    there, missing = _sorted_out(names, found, captions, folder)
    return RetrievalSet(
        name="clotho",
        split=split,
        names=tuple(clip.name for clip in there),
        clips=tuple(clip.path for clip in there),
        captions=tuple(clip.fact for clip in there),
        n_expected=_expected(f"clotho/{split}", len(rows)),
        missing=missing,
    )


def read_audiocaps(
    root: Path, split: str = "test", *, table: Path | None = None, audio: Path | None = None
) -> RetrievalSet:
    """A split of AudioCaps: five captions for each clip, of `train` one.

    root: holds SPLIT.csv or audiocaps_SPLIT.csv (also in dataset/ or csv_files/), and the recordings in
    audio/SPLIT/, SPLIT/, audio/ or the folder itself. table, audio: where they lie elsewhere.
    A recording is found by its name, with any common ending: ID, YID, ID_START, ID_START_END in
    seconds or milliseconds, or the audiocap_id of one of its captions. Raises DataSetError.
    Source: C. D. Kim et al., AudioCaps: generating captions for audios in the wild, NAACL 2019.
    """
    _require_choice("audiocaps", split, get_args(AudioCapsSplit))
    if table is None:
        places = [
            f"{folder}{stem}{split}.csv"
            for folder in ("", "dataset/", "csv/", "csv_files/", "csv_files_v1/")
            for stem in ("", "audiocaps_")
        ]
        table = _first_file(root, places, "audiocaps")
    rows = list(_rows(table, ["audiocap_id", "youtube_id", "start_time", "caption"]))
    _refuse_duplicates(table, (row["audiocap_id"] for row in rows))
    by_clip: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        by_clip.setdefault((row["youtube_id"], row["start_time"]), []).append(row)
    for (youtube_id, _), of_clip in by_clip.items():
        if split != "train" and len(of_clip) != N_CAPTIONS:
            raise DataSetError(
                f"{table}: {youtube_id} has {len(of_clip)} captions, expected {N_CAPTIONS}; is the file cut off?"
            )
    if audio is None:
        folder = _AudioFolder.first(root, (f"audio/{split}", split, "audio", "."), "audiocaps")
    else:
        folder = _AudioFolder.first(audio, (".",), "audiocaps")
    starts = Counter(youtube_id for youtube_id, _ in by_clip)
    names, found = [], []
    for (youtube_id, start), of_clip in by_clip.items():
        stems = audiocaps_stems(youtube_id, start, [row["audiocap_id"] for row in of_clip])
        if starts[youtube_id] > 1:  # a name without the start could be either
            stems = [stem for stem in stems if stem not in (youtube_id, f"Y{youtube_id}")]
        names.append(f"{youtube_id}_{start}")
        found.append(folder.with_stem(stems))
    folder.refuse_other_split(table, names, found)
    captions = [tuple(row["caption"] for row in of_clip) for of_clip in by_clip.values()]
    there, missing = _sorted_out(names, found, captions, folder)
    return RetrievalSet(
        name="audiocaps",
        split=split,
        names=tuple(clip.name for clip in there),
        clips=tuple(clip.path for clip in there),
        captions=tuple(clip.fact for clip in there),
        n_expected=_expected(f"audiocaps/{split}", len(by_clip)),
        missing=missing,
    )


def audiocaps_stems(youtube_id: str, start: str, audiocap_ids: Sequence[str]) -> list[str]:
    """Names without ending under which a clip of AudioCaps is commonly kept, likeliest first.

    start: seconds into the video, as in the CSV. Raises DataSetError if it is no number.
    """
    try:
        begin = float(start)
    except ValueError as error:
        raise DataSetError(
            f"audiocaps: start_time of {youtube_id} is {start!r}, expected seconds"
        ) from error
    end = begin + AUDIOCAPS_SECONDS
    spans = [
        f"{begin:.0f}",
        f"{begin:.0f}_{end:.0f}",
        f"{begin:.1f}",
        f"{begin:.1f}_{end:.1f}",
        f"{begin:.3f}_{end:.3f}",
        f"{1000 * begin:.0f}",
        f"{1000 * begin:.0f}_{1000 * end:.0f}",
    ]
    stems = [f"{prefix}{youtube_id}" for prefix in ("", "Y")]
    stems += [f"{prefix}{youtube_id}_{span}" for span in spans for prefix in ("", "Y")]
    return [*stems, *audiocap_ids]


def read_esc50(root: Path) -> ClassificationSet:
    """ESC-50: 2,000 clips of 50 classes in 5 folds.

    root: holds meta/esc50.csv and audio/. Raises DataSetError.
    Source: K. J. Piczak, ESC: dataset for environmental sound classification, ACM MM 2015.
    """
    path = _first_file(root, ("meta/esc50.csv",), "esc50")
    rows = list(_rows(path, ["filename", "fold", "target", "category"]))
    folder = _AudioFolder.first(root, ("audio",), "esc50")
    return _classification(
        "esc-50",
        path,
        folder,
        names=[row["filename"] for row in rows],
        found=[folder.named(row["filename"]) for row in rows],
        numbers=[row["target"] for row in rows],
        labels=[row["category"] for row in rows],
        folds=[row["fold"] for row in rows],
    )


def read_urbansound8k(root: Path) -> ClassificationSet:
    """UrbanSound8K: 8,732 clips of 10 classes in 10 folds.

    root: holds metadata/UrbanSound8K.csv and audio/fold1/ to audio/fold10/. Raises DataSetError.
    Source: J. Salamon, C. Jacoby, J. P. Bello, A dataset and taxonomy for urban sound research,
    ACM MM 2014.
    """
    path = _first_file(root, ("metadata/UrbanSound8K.csv",), "urbansound8k")
    rows = list(_rows(path, ["slice_file_name", "fold", "classID", "class"]))
    folder = _AudioFolder.first(root, ("audio",), "urbansound8k")
    names = [f"fold{row['fold']}/{row['slice_file_name']}" for row in rows]
    return _classification(
        "urbansound8k",
        path,
        folder,
        names=names,
        found=[folder.named(name) for name in names],
        numbers=[row["classID"] for row in rows],
        labels=[row["class"] for row in rows],
        folds=[row["fold"] for row in rows],
    )


def read_manifest(path: Path, *, split: str | None = None, ask: str | None = None) -> DataSet:
    """A CSV of one's own: columns file and caption, or file and label, perhaps with fold.

    split: only the rows that have this in their column split. ask: caption or label, where the CSV
    has both. Paths are taken from the folder of the CSV. Rows of one file are its captions; a file has one
    label. Classes stand in the order in which they first appear. Other columns are ignored.
    Raises DataSetError.
    """
    columns = _columns(path)
    asked = [ask] if ask else [column for column in ("caption", "label") if column in columns]
    if "file" not in columns or not asked or asked[0] not in columns:
        raise DataSetError(
            f"{path}: its columns are {', '.join(columns)}; "
            f"expected file and {ask or 'caption, or file and label (and fold)'}"
            + _semicolons(columns)
        )
    if len(asked) > 1:
        raise DataSetError(
            f"{path}: has captions and labels; choose with --ask caption or --ask label"
        )
    part = path.stem if split is None else f"{path.stem}/{split}"
    if asked == ["caption"]:
        by_file: dict[str, list[str]] = {}
        for row in _rows_of_split(path, ["file", "caption"], split):
            captions = by_file.setdefault(row["file"], [])
            if row["caption"] in captions:
                raise DataSetError(
                    f"{path}: {row['file']} has the caption {row['caption']!r} twice"
                )
            captions.append(row["caption"])
        names = list(by_file)
        folder = _AudioFolder(path.parent)
        found = [folder.at(file) for file in names]
        folder.refuse_other_split(path, names, found)
        every = [tuple(captions) for captions in by_file.values()]
        there, missing = _sorted_out(names, found, every, folder)
        return RetrievalSet(
            name="manifest",
            split=part,
            names=tuple(clip.name for clip in there),
            clips=tuple(clip.path for clip in there),
            captions=tuple(clip.fact for clip in there),
            n_expected=len(names),
            missing=missing,
        )
    with_fold = "fold" in columns
    wanted = ["file", "label", *(["fold"] if with_fold else [])]
    rows = list(_rows_of_split(path, wanted, split))
    numbers = {label: str(i) for i, label in enumerate(dict.fromkeys(row["label"] for row in rows))}
    folder = _AudioFolder(path.parent)
    return _classification(
        "manifest",
        path,
        folder,
        split=part,
        names=[row["file"] for row in rows],
        found=[folder.at(row["file"]) for row in rows],
        numbers=[numbers[row["label"]] for row in rows],
        labels=[row["label"] for row in rows],
        folds=[row["fold"] for row in rows] if with_fold else None,
    )


def _classification(
    name: str,
    path: Path,
    folder: _AudioFolder,
    *,
    names: Sequence[str],
    found: Sequence[Path | None],
    numbers: Sequence[str],
    labels: Sequence[str],
    folds: Sequence[str] | None,
    split: str = "all",
) -> ClassificationSet:
    _refuse_duplicates(path, names)
    folder.refuse_other_split(path, names, found)
    label_of: dict[int, str] = {}
    for clip, number, label in zip(names, _integers(path, numbers, "class"), labels, strict=True):
        if label_of.setdefault(number, label) != label:
            raise DataSetError(
                f"{path}: class {number} is {label_of[number]!r}, and {label!r} at {clip}; one of them is wrong"
            )
    order = sorted(label_of)
    classes = tuple(label_of[number] for number in order)
    twice = [label for label, count in Counter(classes).items() if count > 1]
    if twice:
        raise DataSetError(f"{path}: {twice[0]!r} is the name of two classes; one of them is wrong")
    by_looks: dict[str, str] = {}
    for label in classes:
        other = by_looks.setdefault(unicodedata.normalize("NFC", label), label)
        if other != label:
            first, second = _apart(other, label)
            raise DataSetError(
                f"{path}: the labels {first} and {second} look alike, and differ in Unicode form "
                "alone; write both as one"
            )
    place = {number: i for i, number in enumerate(order)}
    targets = [place[number] for number in _integers(path, numbers, "class")]
    fold_of = [0] * len(names) if folds is None else _integers(path, folds, "fold")
    facts = list(zip(targets, fold_of, strict=True))
    there, missing = _sorted_out(names, found, facts, folder)
    return ClassificationSet(
        name=name,
        split=split,
        names=tuple(clip.name for clip in there),
        clips=tuple(clip.path for clip in there),
        target=np.array([clip.fact[0] for clip in there], np.int64),
        classes=classes,
        fold=None if folds is None else np.array([clip.fact[1] for clip in there], np.int64),
        n_expected=_expected(name, len(names)),
        missing=missing,
    )


# ---- the folder of recordings


class _AudioFolder:
    """A folder of recordings, found by name in any Unicode normal form, or by stem."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listings: dict[Path, dict[str, list[str]]] = {}

    @classmethod
    def first(cls, root: Path, names: Sequence[str], what: str) -> _AudioFolder:
        """The first of these folders in root that is there and holds something."""
        folders = [cls(root / name) for name in names]
        for folder in folders:
            if folder.path.is_dir() and folder._names:
                return folder
        looked = " or ".join(str(folder.path) for folder in folders)
        raise DataSetError(f"{what}: no recordings at {looked}; unpack them there")

    @functools.cached_property
    def _names(self) -> dict[str, list[Path]]:
        """Every file below the folder by its path from there, in normal form."""
        found: dict[str, list[Path]] = {}
        for folder, subfolders, files in os.walk(self.path, onerror=_cannot_list):
            subfolders.sort()
            for file in sorted(files):
                path = Path(folder, file)
                found.setdefault(_normal(path.relative_to(self.path).as_posix()), []).append(path)
        return found

    @functools.cached_property
    def _stems(self) -> dict[str, Path]:
        return {
            path.stem: path
            for paths in self._names.values()
            for path in paths
            if path.suffix.lower() in AUDIO_ENDINGS
        }

    def named(self, name: str) -> Path | None:
        """The file of this name, or of the name without blanks at its ends."""
        for each in (name, name.strip()):
            exact = self.path / _on_disk(each)
            alike = self._names.get(_normal(_on_disk(each)), [])
            if exact in alike or len(alike) == 1:
                return exact if exact in alike else alike[0]
        return None

    def at(self, name: str) -> Path | None:
        """The file at this path from the folder, or at an absolute one."""
        exact = self.path / _on_disk(name)
        path = exact if os.path.isfile(exact) else self._alike(exact)
        return path if path is not None and os.path.isfile(path) else None

    def _alike(self, path: Path) -> Path | None:
        """The one path that is there and differs from this one in Unicode form alone."""
        there = Path(path.anchor)
        for part in path.relative_to(there).parts:
            if os.path.lexists(there / part):
                there /= part
                continue
            alike = self._listed(there).get(_normal(part), [])
            if len(alike) != 1:
                return None
            there /= alike[0]
        return there

    def _listed(self, folder: Path) -> dict[str, list[str]]:
        """What a folder holds, by names in normal form; nothing if it cannot be listed."""
        if folder not in self._listings:
            names: dict[str, list[str]] = {}
            with contextlib.suppress(OSError):
                for name in sorted(os.listdir(folder)):
                    names.setdefault(_normal(name), []).append(name)
            self._listings[folder] = names
        return self._listings[folder]

    def with_stem(self, stems: Iterable[str]) -> Path | None:
        """The file of the first of these names that there is, with any audio ending."""
        return next((self._stems[stem] for stem in stems if stem in self._stems), None)

    def refuse_other_split(
        self, table: Path, names: Sequence[str], found: Sequence[Path | None]
    ) -> None:
        """Raise DataSetError if not one of the recordings wanted is here."""
        if not names:
            raise DataSetError(f"{table}: it lists no clips")
        if not any(found):
            raise DataSetError(
                f"{self.path}: none of the {len(names)} recordings of {table.name} is here "
                f"(the first is {names[0]}); is this the audio of another split or data set?"
            )


def _cannot_list(error: OSError) -> None:
    raise DataSetError(f"{error.filename}: cannot be listed ({error.strerror})") from error


def _normal(name: str) -> str:
    """The name of a file in the one Unicode form in which names are compared, in any locale."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "surrogateescape"))


def _on_disk(name: str) -> str:
    """A name of a CSV as Python has names of files: the locale may know no UTF-8."""
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))


def _apart(*names: str) -> list[str]:
    """Names for one message: escaped where they look alike, so that they do so no more."""
    look_alike = len({unicodedata.normalize("NFC", name) for name in names}) < len(set(names))
    return [ascii(name) if look_alike else name for name in names]


# ---- the table


def _rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV, these columns alone; none of their cells is empty."""
    found = _columns(path)
    lacking = [column for column in columns if column not in found]
    if lacking:
        raise DataSetError(
            f"{path}: column {lacking[0]} is missing, found {', '.join(found)}{_semicolons(found)}"
        )
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    next(reader)
    try:
        for row in reader:
            if not row:
                continue
            if len(row) != len(found):
                raise DataSetError(
                    f"{path}: line {reader.line_num} has {len(row)} cells, expected {len(found)} "
                    f"({', '.join(found)}); a caption with a comma stands in quotes"
                )
            cells = dict(zip(found, row, strict=True))
            for column in columns:
                if not cells[column].strip():
                    raise DataSetError(f"{path}: line {reader.line_num}: {column} is empty")
            yield {column: cells[column] for column in columns}
    except csv.Error as error:
        raise DataSetError(f"{path}: line {reader.line_num}: not CSV ({error})") from error


def _rows_of_split(
    path: Path, columns: Sequence[str], split: str | None
) -> Iterator[dict[str, str]]:
    """`_rows`, of one split where one is asked for; there must be some."""
    if split is None:
        yield from _rows(path, columns)
        return
    seen = set()
    for row in _rows(path, [*columns, "split"]):
        seen.add(row["split"])
        if row["split"] == split:
            yield row
    if split not in seen:
        _require_choice(str(path), split, sorted(seen))


def _columns(path: Path) -> list[str]:
    try:
        header = next(csv.reader(io.StringIO(_text(path), newline=""), strict=True), [])
    except csv.Error as error:
        raise DataSetError(f"{path}: line 1: not CSV ({error})") from error
    if not header:
        raise DataSetError(f"{path}: it is empty, expected a CSV with a first line of column names")
    columns = [column.strip() for column in header]
    if len(set(columns)) < len(columns):
        raise DataSetError(f"{path}: two columns have one name: {', '.join(columns)}")
    return columns


def _text(path: Path) -> str:
    """The text of a CSV: UTF-8, with or without a byte order mark."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataSetError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataSetError(
            f"{path}: not UTF-8 (line {line} holds byte 0x{raw[error.start]:02x}, as Latin-1 or "
            "UTF-16 would); save it as UTF-8"
        ) from error


def _semicolons(columns: Sequence[str]) -> str:
    is_one = len(columns) == 1 and any(mark in columns[0] for mark in ";\t")
    return "; its columns must be separated by commas" if is_one else ""


def _first_file(root: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (root / name).is_file():
            return root / name
    if not root.is_dir():
        raise DataSetError(f"{root}: no such folder; expected the root of {what}")
    raise DataSetError(f"{root}: no {' or '.join(names[:2])} here; expected the root of {what}")


def _integers(path: Path, texts: Sequence[str], what: str) -> list[int]:
    for text in texts:
        if not text.strip().isdecimal():
            raise DataSetError(f"{path}: {what} {text!r} is no whole number")
    return [int(text) for text in texts]


def _refuse_duplicates(path: Path, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise DataSetError(f"{path}: {name} is listed {count} times, expected once")


def _require_choice(what: str, split: str, splits: Sequence[str]) -> None:
    if split not in splits:
        raise DataSetError(f"{what} has no split {split!r}; there is: {', '.join(splits)}")


Fact = TypeVar("Fact")


@dataclass(frozen=True)
class _There(Generic[Fact]):
    """A clip whose recording was found. fact: what the CSV tells of it."""

    name: str
    path: Path
    fact: Fact


def _sorted_out(
    names: Sequence[str],
    found: Sequence[Path | None],
    facts: Sequence[Fact],
    folder: _AudioFolder,
) -> tuple[list[_There[Fact]], tuple[Missing, ...]]:
    """The clips that are there and those that are not; no two of them share a recording."""
    there: list[_There[Fact]] = []
    missing = []
    name_of: dict[Path, str] = {}
    for name, path, fact in zip(names, found, facts, strict=True):
        if path is None:
            missing.append(Missing(name, f"not in {folder.path}"))
            continue
        if path in name_of:
            first, second = _apart(name_of[path], name)
            raise DataSetError(f"{path}: two clips share it, {first} and {second}")
        name_of[path] = name
        there.append(_There(name, path, fact))
    return there, tuple(missing)


def _expected(key: str, n_listed: int) -> int:
    """Clips of the published split that this list must be a part of, else those of the list."""
    return min((n for n in PUBLISHED_CLIPS.get(key, ()) if n >= n_listed), default=n_listed)
