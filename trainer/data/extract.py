"""Write shards of the examples that the videos of a folder give."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from soundsearch.progress import Progress, Silent
from trainer.data.cutting import ExtractConfig, read_examples
from trainer.data.manifest_examples import file_digest
from trainer.data.pack import Report, Sources, pack
from trainer.data.part import Part
from trainer.data.shard_writer import EXAMPLES_PER_SHARD
from trainer.data.videos import Video, WholeVideos, segmented_videos


def extract(
    folder: Path,
    out: Path,
    config: ExtractConfig,
    *,
    segments: Path | None = None,
    examples_per_shard: int = EXAMPLES_PER_SHARD,
    n_workers: int | None = None,
    part: Part | None = None,
    progress: Progress | None = None,
) -> Report:
    """Shards in `out` of the examples of all videos below a folder; an interrupted run goes on.

    segments: a CSV file that names the examples; default: each video from beginning to end.
    n_workers: videos decoded at a time; default: one a core. part: the videos to work on.
    Raises ShardError as `pack` does, and ManifestError for the CSV file.
    """
    progress = progress or Silent()
    progress.begin("finding videos")
    videos: Sources[Video]
    if segments is None:
        videos = whole = WholeVideos(folder)
        which = {"videos": len(whole), "videos_digest": whole.digest()}
    else:
        videos = segmented_videos(segments, folder)
        which = {"videos": len(videos), "segments_digest": file_digest(segments)}
    return pack(
        videos,
        lambda video: read_examples(video, config),
        out,
        {"command": "train extract", **which, **asdict(config)},
        examples_per_shard=examples_per_shard,
        n_workers=n_workers or os.cpu_count() or 1,
        part=part,
        progress=progress,
    )
