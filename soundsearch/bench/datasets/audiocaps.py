"""Read AudioCaps: the tables of its authors, and recordings under the names that programs give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from soundsearch.bench.datasets.assemble import (
    first_file,
    refuse_duplicates,
    require_choice,
    retrieval_set,
)
from soundsearch.bench.datasets.audio_folder import AudioFolder
from soundsearch.bench.datasets.kinds import DataSetError, RetrievalSet
from soundsearch.choices import AudioCapsSplit
from soundsearch.tables import Row, Table

#: Captions of one clip; there is one where it is for training.
N_CAPTIONS = 5
#: Seconds of a clip, as some programs write them into names.
AUDIOCAPS_SECONDS = 10


def read_audiocaps(
    root: Path, split: str = "test", *, table: Path | None = None, audio: Path | None = None
) -> RetrievalSet:
    """A split of AudioCaps: five captions for each clip, of `train` one.

    A recording is found by its name, with any common ending: ID, YID, ID_START, ID_START_END in
    seconds or milliseconds, or the audiocap_id of one of its captions.
    Source: C. D. Kim et al., AudioCaps: generating captions for audios in the wild, NAACL 2019.

    Args:
        root: holds SPLIT.csv or audiocaps_SPLIT.csv (also in dataset/ or csv_files/), and the
            recordings in audio/SPLIT/, SPLIT/, audio/ or the folder itself.
        split: train, val or test.
        table: the CSV, where it lies elsewhere.
        audio: the folder of the recordings, where it lies elsewhere.

    Raises:
        DataSetError: there is no such split, its table is not right, or none of its recordings
            is there.
    """
    require_choice("audiocaps", split, get_args(AudioCapsSplit))
    if table is None:
        places = [
            f"{folder}{stem}{split}.csv"
            for folder in ("", "dataset/", "csv/", "csv_files/", "csv_files_v1/")
            for stem in ("", "audiocaps_")
        ]
        table = first_file(root, places, "audiocaps")
    by_clip = _rows_by_clip(table, split)
    if audio is None:
        folder = AudioFolder.first(root, (f"audio/{split}", split, "audio", "."), "audiocaps")
    else:
        folder = AudioFolder.first(audio, (".",), "audiocaps")
    starts = Counter(youtube_id for youtube_id, _ in by_clip)
    captions_of, stems_of = {}, {}
    for (youtube_id, start), rows in by_clip.items():
        stems = audiocaps_stems(youtube_id, start, [row["audiocap_id"] for row in rows])
        if starts[youtube_id] > 1:  # a name without the start could be either
            stems = [stem for stem in stems if stem not in (youtube_id, f"Y{youtube_id}")]
        name = f"{youtube_id}_{start}"
        stems_of[name] = stems
        captions_of[name] = tuple(row["caption"] for row in rows)
    return retrieval_set(
        "audiocaps",
        split,
        table,
        folder,
        captions_of,
        lambda name: folder.with_stem(stems_of[name]),
    )


def _rows_by_clip(table: Path, split: str) -> dict[tuple[str, str], list[Row]]:
    """The rows of each clip, which its video and its start name."""
    columns = ("audiocap_id", "youtube_id", "start_time", "caption")
    rows = list(Table(table, DataSetError).rows(columns))
    refuse_duplicates(table, (row["audiocap_id"] for row in rows))
    by_clip: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_clip.setdefault((row["youtube_id"], row["start_time"]), []).append(row)
    for (youtube_id, _), of_clip in by_clip.items():
        if split != "train" and len(of_clip) != N_CAPTIONS:
            raise DataSetError(
                f"{table}: {youtube_id} has {len(of_clip)} captions, expected {N_CAPTIONS}; is the file cut off?"
            )
    return by_clip


def audiocaps_stems(
    youtube_id: str, start: str, audiocap_ids: Sequence[str], duration_s: float = AUDIOCAPS_SECONDS
) -> list[str]:
    """Names without ending under which a clip of AudioCaps is commonly stored, likeliest first.

    start: seconds into the video, as in the CSV. duration_s: of the clip; those of AudioSet have
    the same names. Raises DataSetError if start is no number.
    """
    try:
        begin = float(start)
    except ValueError as error:
        raise DataSetError(
            f"audiocaps: start_time of {youtube_id} is {start!r}, expected seconds"
        ) from error
    end = begin + duration_s
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
