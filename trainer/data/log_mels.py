"""Log-mels of the examples of a shard, in a side file that training reads in place of sound.

Beside shard-000000.tar lies shard-000000.log-mel.FRONT_END.safetensors with the tensors

    frames        (total, n_mels) float16, normalised; all frames of a sound, also where it is
                  longer than the stretch that training takes of it
    first         (n_examples + 1,) int64; example i owns the rows first[i] to first[i + 1]
    starts        (total,) int32; where a stretch begins that was drawn at frame 0, 1, 2 ... of a
                  sound: there, or at the first or the last place where it is too quiet
                  (`soundsearch.audio.clips.guarded`)
    first_start   (n_examples + 1,) int64; example i owns starts[first_start[i]:first_start[i + 1]]
    spare         (n_examples,) int64; samples by which a sound is longer than a stretch
    hop           (n_examples,) float64; samples of the sound from frame to frame, 0 for one that cannot
                  be used

and, as metadata, the fingerprint of the front end and the digest of the shard. A sound without
frames and with a hop is read from its sound: its log-mels depend on where a stretch begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.clips import QUIET_SHARE, cut_clip, n_samples_of_stretch
from soundsearch.audio.features import QUIET_LEVEL, FeatureConfig, lifted
from soundsearch.audio.mixdown import in_one
from soundsearch.audio.resampling import resample
from trainer.data.example import ShardError
from trainer.data.order import Numbers
from trainer.data.recently_used import RecentlyUsed
from trainer.data.shard_folder import ShardFolder
from trainer.data.side_files import SideFile, firsts_of, write_side_file
from trainer.front_ends import FrontEnd, mask

Array = NDArray[np.float32]

KIND = "log-mel"
#: Log-mels of so many shards stay mapped: those of all of AudioSet, which is shuffled as a whole.
OPEN_SHARDS = 4096


@dataclass(frozen=True)
class SoundLogMel:
    """The log-mel of a whole sound, and what cutting a stretch of it takes; see the module.

    frames: (n, n_mels) float16, n = 0 where a stretch has to be computed from its sound.
    starts: (n_starts,) int32. spare: in samples. hop: in samples, 0 if the sound cannot be used.
    """

    frames: NDArray[np.float16]
    starts: NDArray[np.int32]
    spare: int
    hop: float

    def __len__(self) -> int:
        return len(self.frames)


def unusable(front_end: FrontEnd) -> SoundLogMel:
    """What stands for a sound that cannot be used."""
    return SoundLogMel(_no_frames(front_end), np.zeros(0, np.int32), 0, 0.0)


def _no_frames(front_end: FrontEnd) -> NDArray[np.float16]:
    return np.zeros((0, front_end.features.n_mels), np.float16)


def sound_log_mel(channels: Array, sample_rate: int, front_end: FrontEnd) -> SoundLogMel:
    """Compute the log-mel of a whole sound.

    Args:
        channels: (channel, time) float32 in [-1, 1]. Not modified.
        sample_rate: In Hz.
        front_end: How to compute it; each frame must depend on its own samples alone.

    Raises:
        AudioError: The sound is too short, or its rate too low.
    """
    audio, features = front_end.audio, front_end.features
    rate = audio.rate_for(sample_rate)
    step = features.frame_step(rate)
    hop = step * sample_rate / rate
    size = n_samples_of_stretch(sample_rate, audio)
    spare = channels.shape[1] - size
    if spare <= 0:
        waveform = cut_clip(channels, sample_rate, audio)
        if audio.clip == "windows":
            waveform = lifted(waveform)
        frames = _normalised(waveform, rate, features)[: features.n_frames]
        return SoundLogMel(frames, np.zeros(1, np.int32), 0, hop)
    mono = in_one(channels, sample_rate, audio.channels)
    waveform = np.concatenate(list(resample([mono], sample_rate, rate)))
    n_samples = n_samples_of_stretch(rate, audio)
    plain = audio.channels == "first" or np.allclose(mono, channels.mean(axis=0), atol=1e-6)
    quiet = audio.clip == "windows" and _is_quiet_somewhere(waveform, n_samples, step)
    # A stretch may be mixed, amplified or levelled otherwise than the whole.
    if quiet or not plain or features.by_window:
        return SoundLogMel(_no_frames(front_end), np.zeros(0, np.int32), spare, hop)
    frames = _normalised(waveform, rate, features)
    n_in_stretch = len(_normalised(np.zeros(n_samples, np.float32), rate, features))
    n_starts = max(1, len(frames) - n_in_stretch + 1)
    return SoundLogMel(frames, _guarded_starts(channels, size, hop, n_starts), spare, hop)


def _normalised(waveform: Array, rate: int, features: FeatureConfig) -> NDArray[np.float16]:
    """(n_frames, n_mels) of all of a waveform."""
    log_mel = features.log_mel(waveform, rate)
    normalised = (log_mel - np.float32(features.mean)) / np.float32(features.std)
    return np.ascontiguousarray(normalised.T.astype(np.float16))


def _is_quiet_somewhere(waveform: Array, n_samples: int, step: int) -> bool:
    """Whether `lifted` could amplify a stretch of n_samples, or a little less, at any step."""
    hops = waveform[: waveform.size // step * step].reshape(-1, step)
    n_hops = max(1, min(n_samples // step, len(hops)))
    highest, lowest = (
        np.lib.stride_tricks.sliding_window_view(extremes, n_hops)
        for extremes in (hops.max(axis=1), hops.min(axis=1))
    )
    levels = 0.5 * (highest.max(axis=1) - lowest.min(axis=1))
    return bool((levels < QUIET_LEVEL).any())


def _guarded_starts(channels: Array, size: int, hop: float, n_starts: int) -> NDArray[np.int32]:
    """The frames where stretches of `size` samples begin, of those drawn at frames 0, 1, 2 ...

    As `guarded`, with deviations from sums up to every sample.
    """
    n = channels.shape[1]
    sums = np.zeros((2, n + 1))
    np.cumsum(channels.sum(axis=0, dtype=np.float64), out=sums[0, 1:])
    np.cumsum(np.square(channels, dtype=np.float64).sum(axis=0), out=sums[1, 1:])

    def deviation(begin: NDArray[Any], end: NDArray[Any]) -> NDArray[np.float64]:
        total, squares = sums[:, end] - sums[:, begin]
        count = (end - begin) * len(channels)
        variance = (squares - total**2 / count) / np.maximum(1, count - 1)
        found: NDArray[np.float64] = np.sqrt(np.maximum(0.0, variance))
        return found

    drawn = np.arange(n_starts)
    begins = np.minimum(np.rint(drawn * hop).astype(np.int64), n - size)
    found = deviation(begins, begins + size)
    whole, first = deviation(np.array([0, 0]), np.array([n, size]))
    too_quiet = found < QUIET_SHARE * whole
    last = min(n_starts - 1, round((n - size) / hop))
    starts = np.where(too_quiet, np.where(found > first, last, 0), drawn)
    return starts.astype(np.int32)


def log_mels_path(shard: Path, front_end: FrontEnd) -> Path:
    """The side file beside a shard."""
    return shard.with_name(f"{shard.stem}.{KIND}.{front_end.slug}.safetensors")


def write_log_mels(path: Path, sounds: list[SoundLogMel], front_end: FrontEnd, digest: str) -> None:
    """Write the log-mels of a shard's examples in order. Raises ShardError if that fails."""
    tensors = {
        "frames": np.concatenate([sound.frames for sound in sounds]),
        "first": firsts_of(sound.frames for sound in sounds),
        "starts": np.concatenate([sound.starts for sound in sounds]),
        "first_start": firsts_of(sound.starts for sound in sounds),
        "spare": np.array([sound.spare for sound in sounds], np.int64),
        "hop": np.array([sound.hop for sound in sounds], np.float64),
    }
    write_side_file(path, tensors, {"fingerprint": front_end.fingerprint}, digest)


class ShardLogMels(SideFile):
    """The log-mels of one shard. hop: (n_examples,), see the module."""

    def __init__(self, path: Path, front_end: FrontEnd, digest: str) -> None:
        """Map a file; arguments and errors as `SideFile`, also for another front end's."""
        super().__init__(path, digest, _remedy(path.parent, front_end))
        made_by = self.metadata.get("fingerprint", "")
        if made_by != front_end.fingerprint:
            raise self.unfit(
                f"made by the front end {made_by[:12]}, not {front_end.fingerprint[:12]}"
            )
        self._frames, self._first = self.rows("frames")
        self._starts, self._first_start = self.rows("starts", "first_start")
        self._spare, self.hop = (np.array(self.tensor(name)) for name in ("spare", "hop"))
        n = len(self._first)
        if {n, len(self._first_start), len(self._spare) + 1, len(self.hop) + 1} != {n}:
            raise self.unfit("damaged, its tensors do not fit each other")

    def of(self, i: int) -> SoundLogMel:
        """The log-mel of example i; its arrays are views of the file."""
        return SoundLogMel(
            self._frames[self._first[i] : self._first[i + 1]],
            self._starts[self._first_start[i] : self._first_start[i + 1]],
            int(self._spare[i]),
            float(self.hop[i]),
        )


def cut_log_mel(
    sound: SoundLogMel,
    front_end: FrontEnd,
    generator: np.random.Generator | None,
    out: NDArray[np.floating],
) -> None:
    """Write the features of a stretch of a sound, as `extract_features` computes them from its sound.

    The same random numbers are drawn. A stretch begins at the frame nearest to the sample that was
    drawn, half a hop (5 ms) away at most.

    Args:
        sound: With frames.
        front_end: That of the log-mels.
        generator: As of `extract_features`.
        out: (n_mels, n_frames), overwritten.
    """
    start = 0
    if sound.spare > 0:
        spare = sound.spare
        drawn = round(0.5 * spare) if generator is None else int(generator.integers(spare))
        start = int(sound.starts[min(round(drawn / sound.hop), len(sound.starts) - 1)])
    by_frame = out.T  # (n_frames, n_mels), as the frames are stored
    n = min(len(by_frame), len(sound.frames) - len(sound.starts) + 1)
    by_frame[:n] = sound.frames[start : start + n]
    by_frame[n:] = front_end.padding
    if generator is not None:
        mask(out, front_end, generator)


class StoredLogMels:
    """The log-mels of all shards of a folder by one front end, each mapped when it is used."""

    def __init__(self, folder: ShardFolder, front_end: FrontEnd) -> None:
        self._folder, self.front_end = folder, front_end
        self._open = RecentlyUsed(self._open_shard, OPEN_SHARDS)

    def _open_shard(self, shard: int) -> ShardLogMels:
        path = log_mels_path(self._folder.shards[shard], self.front_end)
        return ShardLogMels(path, self.front_end, self._folder.digest(shard))

    def usable(self, shard: int) -> Numbers:
        """Numbers of the shard's examples whose sound can be used. Raises ShardError."""
        return np.flatnonzero(self._open(shard).hop)

    def of(self, shard: int, example: int) -> SoundLogMel:
        """The log-mel of an example."""
        return self._open(shard).of(example)


def whole_log_mels(folder: ShardFolder, front_end: FrontEnd) -> StoredLogMels | None:
    """The log-mels of this front end if all shards of the folder have them."""
    there = all(log_mels_path(path, front_end).exists() for path in folder.shards)
    return StoredLogMels(folder, front_end) if there else None


def find_log_mels(folder: ShardFolder, front_end: FrontEnd) -> StoredLogMels | None:
    """The log-mels of this front end, or None if the folder holds no log-mels at all.

    Raises ShardError if only some shards have them, or only those of another front end are there.
    """
    if found := whole_log_mels(folder, front_end):
        return found
    missing = [path for path in folder.shards if not log_mels_path(path, front_end).exists()]
    remedy = _remedy(missing[0].parent, front_end)
    if n_stored := len(folder.shards) - len(missing):
        raise ShardError(
            f"{folder}: {n_stored} of {len(folder.shards)} shards have log-mels of "
            f"{front_end.slug}, {missing[0].name} has none; {remedy}, or train with --from-sound"
        )
    others = {
        path.name.split(".")[-2]
        for one in folder.folders
        for path in one.glob(f"*.{KIND}.*.safetensors")
    }
    if others:
        raise ShardError(
            f"{folder}: holds log-mels of {', '.join(sorted(others))}, this front end is "
            f"{front_end.slug}; {remedy}, or train with --from-sound"
        )
    return None


def _remedy(folder: Path, front_end: FrontEnd) -> str:
    return f"run `soundsearch train features {folder} --front-end {front_end.name}`"
