"""Store the log-mels of the examples of shards, once, so that training decodes no sound.

Threads decode and compute. The side file of a shard is written atomically. A run skips shards whose
file is complete and fits.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from soundsearch.errors import AudioError, SoundsearchError
from soundsearch.progress import Progress, Silent
from trainer.data.example import ShardError
from trainer.data.log_mels import (
    ShardLogMels,
    SoundLogMel,
    log_mels_path,
    sound_log_mel,
    unusable,
    write_log_mels,
)
from trainer.data.part import Part
from trainer.data.read_ahead import read_in_threads
from trainer.data.shard_folder import Shard, ShardFolder, ShardPaths
from trainer.embed_shards import Report, over_shards
from trainer.front_ends import FrontEnd


class FeaturesError(SoundsearchError):
    """Log-mels that cannot be stored."""


def store_log_mels(
    folder: ShardPaths,
    front_end: FrontEnd,
    *,
    n_workers: int,
    part: Part | None = None,
    progress: Progress | None = None,
) -> Report:
    """Store the log-mels of all examples of the shards in a folder.

    An example whose sound cannot be used is reported and takes no part in training.

    Args:
        folder: Of shards, or several.
        front_end: How to compute them.
        n_workers: Threads.
        part: The shards to work on.
        progress: Is notified of shards and of sounds that cannot be used.

    Returns:
        Counts; n_rows are frames, n_empty examples without any.

    Raises:
        FeaturesError: The front end computes a frame from more than its own samples, or no sound
            can be used.
        ShardError: There are no shards, or a file cannot be written.
    """
    rate = front_end.audio.sample_rate or 16000
    if not front_end.features.frame_step(rate):
        raise FeaturesError(
            f"front end {front_end.name}: its frames depend on samples beyond their own, so those "
            "of a clip are not those of a stretch; train on the sound"
        )
    progress, shards = progress or Silent(), ShardFolder(folder)
    report = Report()
    with ThreadPoolExecutor(n_workers) as threads:

        def rows_of(shard: Shard) -> list[SoundLogMel]:
            def compute(i: int) -> SoundLogMel | str:
                try:
                    return sound_log_mel(*shard.audio(i), front_end)
                except ShardError as error:
                    return str(error)
                except AudioError as error:
                    where = f"{shard.path}: the sound of example {shard.keys[i]}"
                    return f"{where} cannot be used ({error.reason})"

            rows = []
            for found in read_in_threads(threads, compute, range(len(shard))):
                if isinstance(found, str):
                    progress.note(f"skipped {found}")
                    report.n_bad += 1
                    found = unusable(front_end)
                rows.append(found)
                progress.advance(1 / len(shard))
            return rows

        over_shards(
            shards,
            lambda shard: _is_ready(shard, front_end),
            rows_of,
            lambda shard, rows: write_log_mels(
                log_mels_path(shard.path, front_end), rows, front_end, shard.digest
            ),
            report,
            progress,
            part,
        )
    if report.n_examples and report.n_bad == report.n_examples and not report.n_ready:
        raise FeaturesError(f"{shards}: no example has a sound that can be used")
    return report


def _is_ready(shard: Shard, front_end: FrontEnd) -> bool:
    try:
        ShardLogMels(log_mels_path(shard.path, front_end), front_end, shard.digest)
    except ShardError:
        return False
    return True
