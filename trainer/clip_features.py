"""Features of recordings that training uses again and again, computed once.

Log-mels lie in files of a folder, in parts, and are mapped from there, so that memory is bounded. A
folder that was begun goes on. Where a stretch has to be computed from its sound (see
`trainer/data/log_mels.py`), the recording is decoded each time.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from soundsearch.errors import AudioError
from soundsearch.progress import Progress
from trainer.checks import features_of
from trainer.data.example import ShardError
from trainer.data.log_mels import (
    ShardLogMels,
    SoundLogMel,
    cut_log_mel,
    sound_log_mel,
    unusable,
    write_log_mels,
)
from trainer.data.read_ahead import read_in_threads
from trainer.data.recently_used import RecentlyUsed
from trainer.data.sound_files import read_sound
from trainer.front_ends import FrontEnd, extract_features

#: Folder of log-mels within that of a run.
LOG_MELS = "log-mels"
#: Recordings of a part: at most 65 MB of ten seconds each.
PART = 256
#: Parts that stay mapped.
OPEN_PARTS = 4096


class StoredClips:
    """The features of recordings, from a folder that gets their log-mels.

    lost: place of a recording among the paths -> why it cannot be used.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        front_end: FrontEnd,
        folder: Path,
        *,
        n_workers: int,
        progress: Progress,
    ) -> None:
        """Compute what is not there yet, with n_workers threads. Raises ShardError if that fails."""
        self._paths, self._front_end, self._folder = paths, front_end, folder
        self._place = {path: i for i, path in enumerate(paths)}
        self._parts = RecentlyUsed(self._open, OPEN_PARTS)
        folder.mkdir(parents=True, exist_ok=True)
        progress.begin("reading clips", len(paths))
        self.lost: dict[int, str] = {}
        with ThreadPoolExecutor(max(1, n_workers)) as threads:
            for number in range(-(-len(paths) // PART)):
                own = self._own(number)
                try:
                    part = self._open(number)
                    progress.advance(len(own))
                except ShardError:  # not there yet, cut off, or of other recordings
                    rows = self._rows(own, threads, progress)
                    write_log_mels(self._file(number), rows, front_end, self._digest(number))
                    part = self._open(number)
                for i in np.flatnonzero(part.hop == 0).tolist():
                    self.lost[number * PART + i] = self._why_unusable(own[i])

    def __call__(
        self, paths: Sequence[Path], generator: np.random.Generator | None = None
    ) -> Tensor:
        """Features (n, n_mels, n_frames) of some of the recordings; generator as `extract_features`.

        Raises TrainingError for one that cannot be read.
        """
        shape = self._front_end.features.n_mels, self._front_end.features.n_frames
        features = np.empty((len(paths), *shape), np.float32)
        for row, path in zip(features, paths, strict=True):
            number, i = divmod(self._place[path], PART)
            clip = self._parts(number).of(i)
            if len(clip):
                cut_log_mel(clip, self._front_end, generator, row)
            else:
                row[:] = features_of([path], self._front_end, generator)[0].numpy()
        return torch.from_numpy(features)

    def delete(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._folder)

    def _own(self, number: int) -> Sequence[Path]:
        return self._paths[number * PART : (number + 1) * PART]

    def _file(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}.safetensors"

    def _open(self, number: int) -> ShardLogMels:
        return ShardLogMels(self._file(number), self._front_end, self._digest(number))

    def _digest(self, number: int) -> str:
        """Changes where a recording does, by its size or the time of its last change."""
        lines = []
        for path in self._own(number):
            try:
                facts = path.stat()
            except OSError:
                lines.append(f"{path}")
            else:
                lines.append(f"{path}\t{facts.st_size}\t{facts.st_mtime_ns}")
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def _rows(
        self, paths: Sequence[Path], threads: ThreadPoolExecutor, progress: Progress
    ) -> list[SoundLogMel]:
        rows = []
        for row in read_in_threads(threads, lambda i: self._row(paths[i]), range(len(paths))):
            rows.append(row)
            progress.advance()
        return rows

    def _row(self, path: Path) -> SoundLogMel:
        try:
            return self._log_mel(path)
        except AudioError:
            return unusable(self._front_end)

    def _log_mel(self, path: Path) -> SoundLogMel:
        sound, front_end = read_sound(path), self._front_end
        if front_end.features.frame_step(front_end.audio.rate_for(sound.sample_rate)):
            return sound_log_mel(sound.channels, sound.sample_rate, front_end)
        extract_features(sound.channels, sound.sample_rate, front_end, None)
        return SoundLogMel(unusable(front_end).frames, np.zeros(0, np.int32), 0, 1.0)

    def _why_unusable(self, path: Path) -> str:
        try:
            self._log_mel(path)
        except AudioError as error:
            return error.reason
        return "could not be read before"
