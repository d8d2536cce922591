"""Near copies: recordings that sound alike throughout and are equally long, but are not the same.

In: one state of an index. Out: groups of recordings, such as a sound and its MP3. No file is read.

Two recordings are near copies if the means of their embeddings have a cosine of NEAR or more and
their lengths differ by LENGTH_S at most. In the order of length, each recording that is in no group
yet begins one, to which all others belong that are near to it. So members of a group are near to
its first, and no chain of small steps makes a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundsearch.arrays import Array
from soundsearch.duplicates import Copy, copy_of
from soundsearch.files import Presence
from soundsearch.progress import SILENT, Progress
from soundsearch.store import Reader

#: Cosine of mean embeddings, and seconds between lengths (docs/how-to/duplicates.md).
NEAR, LENGTH_S = 0.995, 0.15
#: Recordings compared with all others at a time, and how many pairs of them are in memory.
BLOCK_ROWS, BLOCK_PAIRS = 256, 8_000_000
#: Decimals of cosines in results.
DECIMALS = 5


@dataclass(frozen=True, kw_only=True)
class NearCopy(Copy):
    """A recording that is near to the first of its group.

    Attributes:
        sound_hash: Equal for recordings of the same sound.
        cosine: Of its mean embedding and that of the first of the group.
    """

    sound_hash: bytes
    cosine: float


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """Recordings that are near to the first of them.

    Attributes:
        copies: Two recordings or more, the nearest first.
    """

    copies: list[NearCopy]


def near_copies(reader: Reader, progress: Progress = SILENT) -> Iterator[NearDuplicates]:
    """Yield groups of near copies, in the order in which their first recordings were indexed.

    Recordings of the same sound count as one, and are listed with it. In memory is one embedding a
    recording. Recordings that are missing count, too.
    """
    sounds = list(reader.sounds())
    progress.begin("recordings averaged", len(sounds))
    means = np.zeros((len(sounds), reader.encoder().dim), np.float32)
    places = {sound.recording_id: i for i, sound in enumerate(sounds)}
    for recording_id, mean in reader.means(reader.encoder().dim):
        if (place := places.get(recording_id)) is not None:
            means[place] = mean
            progress.advance()
    lengths = np.array([sound.duration_s for sound in sounds])
    groups = group_near(means, lengths, progress)
    is_present = Presence()
    for group in sorted(groups, key=lambda group: min(i for i, _ in group)):
        cosines = {sounds[i].sound_hash: cosine for i, cosine in group}
        copies = [
            NearCopy(
                **vars(copy_of(row, is_present)),
                sound_hash=row.sound_hash,
                cosine=cosines[row.sound_hash],
            )
            for row in reader.copies(cosines, least=1)
        ]
        yield NearDuplicates(copies=sorted(copies, key=lambda copy: (-copy.cosine, copy.path)))


def group_near(
    means: Array, lengths: NDArray[np.float64], progress: Progress = SILENT
) -> list[list[tuple[int, float]]]:
    """Return groups of near recordings, two or more in each.

    means: unit embeddings of n recordings, (n, dim) float32. lengths: of these in seconds, (n,).
    Returns for each group its recordings as numbers from 0, the first of the group first, each with
    the cosine to the first.
    """
    progress.begin("recordings compared", len(means))
    order = np.argsort(lengths, kind="stable")
    means, lengths = means[order], lengths[order]
    is_taken = np.zeros(len(means), bool)
    groups = []
    start = 0
    while start < len(means):
        stop = min(start + BLOCK_ROWS, len(means))
        end = int(np.searchsorted(lengths, lengths[stop - 1] + LENGTH_S, "right"))
        stop = min(stop, start + max(1, BLOCK_PAIRS // (end - start)))
        cosines = means[start:stop] @ means[start:end].T
        for i in range(start, stop):
            row = cosines[i - start]
            is_near = (row >= NEAR) & (lengths[start:end] <= lengths[i] + LENGTH_S)
            others = start + np.flatnonzero(is_near)
            others = others[(others > i) & ~is_taken[others]]
            if not is_taken[i] and len(others):
                is_taken[others] = True
                near = row[others - start].astype(np.float64).round(DECIMALS).tolist()
                groups.append(
                    [(int(order[i]), 1.0), *zip(order[others].tolist(), near, strict=True)]
                )
        progress.advance(stop - start)
        start = stop
    return groups
