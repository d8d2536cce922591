"""Stage: every recording decoded once, to samples that are mapped into memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.recording import AudioFile
from soundsearch.audio.resampling import resample
from soundsearch.audio.windows import AudioConfig, refuse_too_short
from soundsearch.errors import AudioError
from soundsearch.files import write_text
from trainer.data.lines import ManifestError

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]

SAMPLES = "samples.i16"
OFFSETS = "offsets.npy"
FAILED = "failed.json"
#: What an int16 sample of 1.0 is.
FULL_SCALE = 32767.0


class Waveforms:
    """The samples of many recordings, int16 in one file mapped into memory.

    A recording that could not be used has none, and is named in `failed` (path -> reason).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.failed: dict[str, str] = json.loads((folder / FAILED).read_text(encoding="utf-8"))
        self._offsets: NDArray[np.int64] = np.load(folder / OFFSETS, allow_pickle=False)
        self._samples: NDArray[np.int16] = np.memmap(folder / SAMPLES, np.int16, "r")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __reduce__(self) -> tuple[type[Waveforms], tuple[Path]]:
        return Waveforms, (self._folder,)  # another process maps the same file

    def n_samples(self, i: int) -> int:
        """Samples of recording i; 0 if it could not be used."""
        return int(self._offsets[i + 1] - self._offsets[i])

    def __getitem__(self, i: int) -> Array:
        """The samples of recording i, (time,) float32 in [-1, 1] at the encoder's rate."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        samples = self._samples[self._offsets[i] : self._offsets[i + 1]]
        return samples.astype(np.float32) / np.float32(FULL_SCALE)


def decode(
    paths: Sequence[Path],
    folder: Path,
    audio: AudioConfig,
    *,
    longest_s: float,
    n_workers: int = 2,
) -> Waveforms:
    """Decode recordings into a folder, mono and at the encoder's rate.

    Args:
        paths: The recordings.
        folder: Of the stage.
        audio: Rate and channels; the rate is fixed.
        longest_s: Only so many seconds of a recording are taken, the first ones.
        n_workers: Threads.

    Raises:
        ManifestError: Nothing could be decoded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    offsets, failed = [0], {}
    with open(folder / SAMPLES, "wb") as file, ThreadPoolExecutor(n_workers) as pool:
        jobs = pool.map(lambda path: _try_read(path, audio, longest_s), paths)
        for n_done, (path, found) in enumerate(zip(paths, jobs, strict=True), start=1):
            n = 0
            if isinstance(found, AudioError):
                failed[str(path)] = found.reason
            else:
                whole = (found.clip(-1.0, 1.0) * FULL_SCALE).round()
                file.write(whole.astype("<i2").tobytes())
                n = len(found)
            offsets.append(offsets[-1] + n)
            if n_done % 1000 == 0:
                logger.info("decoded %d of %d recordings", n_done, len(paths))
    if offsets[-1] == 0:
        reason = next(iter(failed.values()), "the manifest is empty")
        raise ManifestError(f"none of {len(paths)} recordings could be decoded ({reason})")
    np.save(folder / OFFSETS, np.array(offsets, np.int64), allow_pickle=False)
    write_text(folder / FAILED, json.dumps(failed, indent=2))
    return Waveforms(folder)


def _try_read(path: Path, audio: AudioConfig, longest_s: float) -> Array | AudioError:
    try:
        return read_waveform(path, audio, longest_s)
    except AudioError as error:
        return error


def read_waveform(path: Path, audio: AudioConfig, longest_s: float) -> Array:
    """The first longest_s seconds of a recording, mono, at the encoder's rate. Raises AudioError."""
    rate = audio.sample_rate
    assert rate is not None, "the recipe's encoder has a rate of its own"
    longest = round(longest_s * rate)
    blocks, n_samples = [], 0
    with AudioFile(path) as file:
        for block in resample(file.blocks(audio.channels), file.sample_rate, rate):
            blocks.append(block)
            n_samples += block.size
            if n_samples >= longest:
                break
    waveform: Array = np.concatenate(blocks)[:longest]
    refuse_too_short(waveform.size, rate)
    return waveform
