"""The cache of recordings: each decoded once, through the product's own front end.

Kaldi frames are cut without padding, so frame i of a whole recording equals frame 0 of a window
that starts i hops later, and any window's features are a slice of the recording's frames:
`compute_features` of that window gives the same numbers (a test holds the two together).
Augmentation (`augment.py`) works on these frames, and no step of training decodes anything.
The waveforms are kept beside them: scenes (`scenes.py`) are put together from those.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.features import KaldiFbank
from soundsearch.audio.recording import AudioFile
from soundsearch.audio.resampling import resample
from soundsearch.audio.windows import AudioConfig, refuse_too_short
from soundsearch.errors import AudioError
from soundsearch.files import write_text
from trainer.data.manifests import ManifestError, Recording

logger = logging.getLogger(__name__)

FRAMES = "frames.f16"
OFFSETS = "offsets.npy"
SAMPLES = "samples.i16"
FACTS = "cache.json"
#: What an int16 sample of 1.0 is.
FULL_SCALE = 32767.0


class RecordingCache:
    """Log-mel frames and waveforms of many recordings, in two files mapped into memory.

    Recording i owns the frames offsets[i, 0] to offsets[i + 1, 0], (n_frames, n_mels) float16, the
    natural logarithm of the energies before mean and standard deviation; and the samples
    offsets[i, 1] to offsets[i + 1, 1], int16 at the encoder's rate. A recording that could not be
    used owns none and is named in `failed` (path -> reason).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        self.failed: dict[str, str] = facts["failed"]
        self.n_mels: int = facts["n_mels"]
        self.offsets: NDArray[np.int64] = np.load(folder / OFFSETS, allow_pickle=False)
        self._frames: NDArray[np.float16] = np.memmap(
            folder / FRAMES, np.float16, "r", shape=(int(self.offsets[-1, 0]), self.n_mels)
        )
        self._samples: NDArray[np.int16] = np.memmap(folder / SAMPLES, np.int16, "r")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __reduce__(self) -> tuple[type[RecordingCache], tuple[Path]]:
        return RecordingCache, (self._folder,)  # another process maps the same files

    def n_frames(self, i: int) -> int:
        """Frames of recording i; 0 if it could not be used."""
        return int(self.offsets[i + 1, 0] - self.offsets[i, 0])

    def n_samples(self, i: int) -> int:
        """Samples of recording i, not repeated however short it is; 0 if it could not be used."""
        return int(self.offsets[i + 1, 1] - self.offsets[i, 1])

    def window(self, i: int, start: int, n_frames: int) -> NDArray[np.float16]:
        """Frames start to start + n_frames of recording i, (n_frames, n_mels), a view."""
        first = int(self.offsets[i, 0]) + start
        return self._frames[first : first + n_frames]

    def waveform(self, i: int) -> NDArray[np.float32]:
        """The samples of recording i in [-1, 1], (time,), not repeated however short it is."""
        samples = self._samples[int(self.offsets[i, 1]) : int(self.offsets[i + 1, 1])]
        return samples.astype(np.float32) / FULL_SCALE

    def mean_and_std(self, recordings: Iterable[int]) -> tuple[float, float]:
        """Mean and standard deviation of all values of these recordings, for normalisation."""
        n, total, squares = 0, 0.0, 0.0
        for i in recordings:
            block = self.window(i, 0, self.n_frames(i)).astype(np.float64)
            n, total, squares = (
                n + block.size,
                total + block.sum(),
                squares + np.square(block).sum(),
            )
        mean = total / n
        return mean, math.sqrt(squares / n - mean**2)


def build_cache(
    clips: Sequence[Recording],
    folder: Path,
    audio: AudioConfig,
    features: KaldiFbank,
    *,
    longest_s: float,
    n_workers: int = 2,
) -> RecordingCache:
    """Decode every clip into `folder` and return the cache.

    A recording shorter than one window is repeated, as at search time, to its own length more
    than a window, so that a window can start at any point of it. Only the first longest_s
    seconds of a long recording are taken. Raises ManifestError if nothing could be decoded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    offsets = [(0, 0)]
    failed: dict[str, str] = {}
    with (
        open(folder / FRAMES, "wb") as frames_file,
        open(folder / SAMPLES, "wb") as samples_file,
        ThreadPoolExecutor(n_workers) as pool,
    ):
        jobs = pool.map(lambda clip: _try_read(clip.path, audio, features, longest_s), clips)
        for n_done, (clip, found) in enumerate(zip(clips, jobs, strict=True), start=1):
            n_frames, n_samples = offsets[-1]
            if isinstance(found, AudioError):
                failed[str(clip.path)] = found.reason
            else:
                waveform, frames = found
                frames_file.write(frames.astype("<f2").tobytes())
                whole = (waveform.clip(-1.0, 1.0) * FULL_SCALE).round()
                samples_file.write(whole.astype("<i2").tobytes())
                n_frames, n_samples = n_frames + len(frames), n_samples + len(waveform)
            offsets.append((n_frames, n_samples))
            if n_done % 1000 == 0:
                logger.info("decoded %d of %d recordings", n_done, len(clips))
    if offsets[-1] == (0, 0):
        reason = next(iter(failed.values()), "the manifest is empty")
        raise ManifestError(f"none of {len(clips)} recordings could be decoded ({reason})")
    np.save(folder / OFFSETS, np.array(offsets, np.int64), allow_pickle=False)
    facts = {"n_mels": features.n_mels, "failed": failed}
    write_text(folder / FACTS, json.dumps(facts, indent=2))
    return RecordingCache(folder)


def _try_read(
    path: Path, audio: AudioConfig, features: KaldiFbank, longest_s: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | AudioError:
    try:
        waveform = read_waveform(path, audio, longest_s)
    except AudioError as error:
        return error
    return waveform, frames_of(waveform, audio, features)


def read_waveform(path: Path, audio: AudioConfig, longest_s: float) -> NDArray[np.float32]:
    """The first longest_s seconds of a recording, mono, at the encoder's rate. Raises AudioError."""
    rate = audio.sample_rate
    if rate is None or audio.short != "repeat":
        raise ValueError("the cache needs a fixed sample rate and short recordings repeated")
    longest = round(longest_s * rate)
    blocks, n_samples = [], 0
    with AudioFile(path) as file:
        for block in resample(file.blocks(audio.channels), file.sample_rate, rate):
            blocks.append(block)
            n_samples += block.size
            if n_samples >= longest:
                break
    waveform = np.concatenate(blocks)[:longest]
    refuse_too_short(waveform.size, rate)
    return waveform


def frames_of(
    waveform: NDArray[np.float32], audio: AudioConfig, features: KaldiFbank
) -> NDArray[np.float32]:
    """Log-mel frames (n_frames, n_mels) of a recording at the encoder's rate, at least a window."""
    assert audio.sample_rate is not None
    size = round(audio.window_s * audio.sample_rate)
    if waveform.size < size:
        waveform = np.resize(waveform, size + waveform.size)
    return np.ascontiguousarray(features.log_mel(waveform, audio.sample_rate).T)
