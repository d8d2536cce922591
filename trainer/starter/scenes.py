"""Scenes: windows of sound put together from recordings, and heard once by the tagger.

Recordings are few, what can be made of them is endless: one played slower in a hall, two at once,
one after the other. Each scene is mixed as a waveform, so that a teacher that listens to waveforms
hears what the student will see: its log-mel frames. Captions of scenes are composed of the captions
of their members (`captions_of`); the last scenes are bent out of shape (`bend.py`) and have none.
"""

from __future__ import annotations

import io
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import IntEnum
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import signal

from soundsearch.audio.features import KaldiFbank
from soundsearch.audio.windows import AudioConfig
from trainer.data.manifests import Recording
from trainer.starter.bend import bend, made_up
from trainer.starter.cache import RecordingCache
from trainer.starter.tagger import Teacher

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]

FRAMES = "scenes.f16"
LOGITS = "logits.f16"
MEMBERS = "members.i32"
KINDS = "kinds.i8"
#: Most recordings in a scene.
MOST = 3
#: Scenes given to the workers together.
AT_ONCE = 1024
#: A score's logit is kept within this.
LARGEST_LOGIT = 12.0


class Kind(IntEnum):
    """How the members of a scene stand to each other."""

    SINGLE = 0
    TOGETHER = 1
    BEHIND = 2
    SEQUENCE = 3
    BENT = 4


#: What a scene of two is called, its members' captions put in.
FORMS = {
    Kind.TOGETHER: ("{a} and {b}", "{b} and {a}", "{a} while {b}", "{a} with {b}"),
    Kind.BEHIND: ("{a} with {b} in the background", "{a} and {b}", "{a} while {b}"),
    Kind.SEQUENCE: ("{a}, then {b}", "{a} followed by {b}", "{b} after {a}", "{a} and {b}"),
}
FORM_OF_THREE = "{a}, {b} and {c}"


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """How many scenes, and how they are made.

    n_scenes: with a caption; n_bent: more, without one. made_up_share: of their sounds, how many are
    not of a recording; pair_share: how many of them are two sounds. kinds: share of each `Kind` but
    the last. three_share: of the scenes of sounds together, how many have three. caption_power,
    source_power: see `draw_weights`. apart_db: largest level difference of members; behind_db: how far
    the background lies below. speed: largest change, as a factor's logarithm. Then the shares of
    members, or of scenes, that are sped up or slowed down, put into a room, cut to a band, coded as
    MP3, and laid over noise at noise_db above it.
    """

    n_scenes: int = 60_000
    n_bent: int = 40_000
    made_up_share: float = 0.2
    pair_share: float = 0.25
    kinds: tuple[float, float, float, float] = (0.45, 0.3, 0.1, 0.15)
    three_share: float = 0.2
    caption_power: float = -0.5
    source_power: float = -0.3
    apart_db: float = 6.0
    behind_db: tuple[float, float] = (6.0, 15.0)
    speed: float = 0.25
    speed_share: float = 0.4
    room_share: float = 0.2
    band_share: float = 0.1
    coded_share: float = 0.08
    noise_share: float = 0.2
    noise_db: tuple[float, float] = (5.0, 35.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if abs(sum(self.kinds) - 1) > 1e-6:
            raise ValueError(f"kinds are shares of all scenes and make 1, not {sum(self.kinds):g}")


class Scenes:
    """Finished scenes, mapped into memory.

    members (n, MOST) int32: numbers of clips, -1 where there are fewer or none. kinds (n,) int8.
    frames (n, n_frames, n_mels) float16, as `RecordingCache` has them. logits (n, n_classes) float16:
    the teacher's scores as log-odds.
    """

    def __init__(self, folder: Path, features: KaldiFbank) -> None:
        self.kinds: NDArray[np.int8] = np.fromfile(folder / KINDS, np.int8)
        n = len(self.kinds)
        self.members: NDArray[np.int32] = np.fromfile(folder / MEMBERS, np.int32).reshape(n, MOST)
        self.frames: NDArray[np.float16] = np.memmap(
            folder / FRAMES, np.float16, "r", shape=(n, features.n_frames, features.n_mels)
        )
        logits = np.memmap(folder / LOGITS, np.float16, "r")
        self.logits: NDArray[np.float16] = logits.reshape(n, -1)

    def __len__(self) -> int:
        return len(self.members)


def draw_weights(
    clips: Sequence[Recording], caption_power: float, source_power: float
) -> NDArray[np.float64]:
    """For each clip, (clips of its caption) ** caption_power * (clips of its source) ** source_power."""
    weights = np.ones(len(clips))
    for of_clip, power in (
        ([clip.caption for clip in clips], caption_power),
        ([clip.source for clip in clips], source_power),
    ):
        _, numbers, counts = np.unique(of_clip, return_inverse=True, return_counts=True)
        weights *= counts[numbers].astype(np.float64) ** power
    return weights


#: Kind, members, log-mel frames (n_frames, n_mels), and the teacher's log-odds (n_classes,).
Made = tuple[Kind, NDArray[np.int64], Array, Array]


@dataclass(frozen=True)
class Maker:
    """Makes scene i, bent if i is n_scenes or more: all that this depends on. It goes to other processes whole.

    places: of each clip in the cache. chances: running sum of the clips' shares.
    """

    cache: RecordingCache
    places: Sequence[int]
    chances: NDArray[np.float64]
    teacher: Teacher
    audio: AudioConfig
    features: KaldiFbank
    config: SceneConfig

    def make(self, i: int) -> Made:
        """The scene of this number."""
        config, rate = self.config, rate_of(self.audio)
        size = round(self.audio.window_s * rate)
        rng = np.random.default_rng([config.seed, i])
        if i >= config.n_scenes:
            kind = Kind.BENT
            members, sounds = self._bent(rate, size, rng)
        else:
            kind = Kind(rng.choice(len(config.kinds), p=config.kinds))
            n = 1 if kind is Kind.SINGLE else 2
            n += kind is Kind.TOGETHER and rng.random() < config.three_share
            members = self._drawn(n, rng)
            sounds = [
                change(self.cache.waveform(self.places[clip]), rate, size, rng, config)
                for clip in members
            ]
        scene = finish(arrange(sounds, kind, size, rng, config), rate, rng, config)
        heard = soxr.resample(scene, rate, self.teacher.sample_rate, quality="MQ")
        scores = self.teacher.scores(heard).astype(np.float64)
        odds = np.log(np.maximum(scores, 1e-9)) - np.log1p(-np.minimum(scores, 1 - 1e-9))
        log_mel = self.features.log_mel(scene, rate).T
        return kind, members, log_mel, odds.clip(-LARGEST_LOGIT, LARGEST_LOGIT)

    def _drawn(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return np.searchsorted(self.chances, rng.random(n)).clip(max=len(self.places) - 1)

    def _bent(
        self, rate: int, size: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], list[Array]]:
        """Members, -1 for a sound that is made up, and their sounds."""
        members = self._drawn(2 if rng.random() < self.config.pair_share else 1, rng)
        members[rng.random(len(members)) < self.config.made_up_share] = -1
        return members, [
            made_up(rate, size, rng)
            if clip < 0
            else bend(self.cache.waveform(self.places[clip]), rate, size, rng)
            for clip in members
        ]


_maker: Maker | None = None


def _begin(maker: Maker) -> None:
    global _maker  # one a process, given before the work
    _maker = maker


def _make(i: int) -> Made:
    assert _maker is not None
    return _maker.make(i)


@contextmanager
def _workers(maker: Maker, n: int) -> Iterator[Callable[[Sequence[int]], Iterator[Made]]]:
    if n == 0:
        yield lambda numbers: map(maker.make, numbers)
    else:
        with ProcessPoolExecutor(n, get_context("spawn"), _begin, (maker,)) as pool:
            yield lambda numbers: pool.map(_make, numbers, chunksize=32)


def rate_of(audio: AudioConfig) -> int:
    """The rate in Hz of an encoder that has one of its own. Raises ValueError for one that has not."""
    if audio.sample_rate is None:
        raise ValueError("the recipe needs an encoder with a sample rate of its own")
    return audio.sample_rate


def make_scenes(
    cache: RecordingCache,
    places: Sequence[int],
    clips: Sequence[Recording],
    teacher: Teacher,
    folder: Path,
    audio: AudioConfig,
    features: KaldiFbank,
    config: SceneConfig,
    n_workers: int = 2,
) -> Scenes:
    """Mix config.n_scenes scenes and config.n_bent bent ones into `folder`; the teacher hears each.

    places: of each clip in the cache. n_workers: processes; 0 makes them in this one.
    Scene i depends on the seed and i alone, and those that `folder` holds already are kept.
    """
    weights = draw_weights(clips, config.caption_power, config.source_power)
    weights = weights * np.array([cache.n_frames(place) > 0 for place in places])
    chances = np.cumsum(weights / weights.sum())
    maker = Maker(cache, places, chances, teacher, audio, features, config)
    n_all = config.n_scenes + config.n_bent
    folder.mkdir(parents=True, exist_ok=True)
    bytes_each = {
        FRAMES: 2 * features.n_frames * features.n_mels,
        LOGITS: 2 * len(teacher.names),
        MEMBERS: 4 * MOST,
        KINDS: 1,
    }
    n_done = _cut_to_whole_rows(folder, bytes_each)
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(folder / name, "ab")) for name in bytes_each}
        make = stack.enter_context(_workers(maker, n_workers))
        for start in range(n_done, n_all, AT_ONCE):
            logger.info("%d of %d scenes", start, n_all)
            for kind, who, log_mel, odds in make(range(start, min(start + AT_ONCE, n_all))):
                members = np.full(MOST, -1, "<i4")
                members[: len(who)] = who
                files[FRAMES].write(log_mel.astype("<f2").tobytes())
                files[LOGITS].write(odds.astype("<f2").tobytes())
                files[MEMBERS].write(members.tobytes())
                files[KINDS].write(np.int8(kind).tobytes())
    return Scenes(folder, features)


def _cut_to_whole_rows(folder: Path, bytes_each: Mapping[str, int]) -> int:
    """How many rows every file has; what an interrupted run wrote beyond them is cut off."""
    paths = {folder / name: size for name, size in bytes_each.items()}
    for path in paths:
        path.touch()
    n_rows = min(path.stat().st_size // size for path, size in paths.items())
    for path, size in paths.items():
        os.truncate(path, n_rows * size)
    return n_rows


def change(
    waveform: Array, rate: int, size: int, rng: np.random.Generator, config: SceneConfig
) -> Array:
    """A stretch of a recording, (time,), at most size samples, as another microphone might have it."""
    speed = 1.0
    if rng.random() < config.speed_share:
        speed = math.exp(rng.uniform(-config.speed, config.speed))
    n_taken = min(len(waveform), math.ceil(size * speed))
    start = int(rng.integers(len(waveform) - n_taken + 1))
    sound = waveform[start : start + n_taken]
    if speed != 1.0:
        sound = soxr.resample(sound, speed * rate, rate, quality="LQ")[:size]
    if rng.random() < config.room_share:
        sound = signal.fftconvolve(sound, room(rate, rng))[:size]
    if rng.random() < config.band_share:
        sound = cut_to_band(sound, rate, rng)
    return np.asarray(sound, np.float32)


def room(rate: int, rng: np.random.Generator) -> Array:
    """A made-up room's impulse response: the sound itself, then noise that dies away in 0.1 to 1 s."""
    n = int(rng.uniform(0.1, 1.0) * rate)
    tail = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n)
    tail *= 10 ** (rng.uniform(-12.0, 3.0) / 20) / np.sqrt(np.square(tail).sum())
    tail[0] += 1.0
    return tail.astype(np.float32)


def cut_to_band(sound: Array, rate: int, rng: np.random.Generator) -> Array:
    """What is left between a low edge of 50 to 400 Hz and a high one of 2 to 10 kHz."""
    low, high = 50 * 8 ** rng.random(), 2000 * 5 ** rng.random()
    edges = (low, min(high, 0.45 * rate))
    found: Array = signal.sosfilt(signal.butter(2, edges, "band", fs=rate, output="sos"), sound)
    return found.astype(np.float32)


def arrange(
    sounds: Sequence[Array], kind: Kind, size: int, rng: np.random.Generator, config: SceneConfig
) -> Array:
    """Sounds of about equal loudness laid into one window of size samples, by the scene's kind."""
    scene = np.zeros(size, np.float32)
    levelled = [sound / max(_level(sound), 1e-6) for sound in sounds]
    if kind is Kind.SEQUENCE:
        turn = round(size * rng.uniform(0.35, 0.65))
        first, second = levelled
        first, second = first[:turn], second[: size - turn]
        scene[: len(first)] += first
        scene[turn : turn + len(second)] += second * _gain(-config.apart_db, config.apart_db, rng)
        return scene
    for i, sound in enumerate(levelled):
        low, high = (-config.apart_db, config.apart_db) if i else (0.0, 0.0)
        if kind is Kind.BEHIND and i:
            low, high = -config.behind_db[1], -config.behind_db[0]
        scene += _placed(sound, size, rng, alone=kind is Kind.SINGLE) * _gain(low, high, rng)
    return scene


def _placed(sound: Array, size: int, rng: np.random.Generator, *, alone: bool) -> Array:
    """A sound over a whole window: a short one repeated, as at search time, or once somewhere."""
    if len(sound) >= size:
        return sound[:size]
    if alone or rng.random() < 0.5:
        return np.roll(np.resize(sound, size), int(rng.integers(size)) if not alone else 0)
    placed = np.zeros(size, np.float32)
    start = int(rng.integers(size - len(sound) + 1))
    placed[start : start + len(sound)] = sound
    return placed


def finish(scene: Array, rate: int, rng: np.random.Generator, config: SceneConfig) -> Array:
    """Noise under the scene, a codec's losses, and a peak that a file might have."""
    if rng.random() < config.noise_share:
        noise = rng.standard_normal(len(scene)).astype(np.float32)
        colour = rng.uniform(0.0, 0.98)
        noise = signal.lfilter([1.0], [1.0, -colour], noise)
        below = _gain(-config.noise_db[1], -config.noise_db[0], rng)
        scene = scene + noise * (_level(scene) / _level(noise) * below)
    scene = scene * (rng.uniform(0.3, 0.95) / max(float(np.abs(scene).max()), 1e-6))
    if rng.random() < config.coded_share:
        scene = coded(scene, rate, rng.uniform(0.5, 0.99))
    return scene.astype(np.float32)


def coded(scene: Array, rate: int, compression: float) -> Array:
    """The scene after MP3 with this compression level (0 to 1), as long as before."""
    file = io.BytesIO()
    soundfile.write(file, scene, rate, format="MP3", compression_level=compression)
    file.seek(0)
    found, _ = soundfile.read(file, dtype="float32")
    return np.resize(found, len(scene)) if len(found) < len(scene) else found[: len(scene)]


def captions_of(members: Sequence[str], kind: Kind) -> list[str]:
    """The sentences a scene may be called by."""
    if len(members) == 1:
        return [members[0]]
    if len(members) == MOST:
        a, b, c = members
        return [FORM_OF_THREE.format(a=a, b=b, c=c), FORM_OF_THREE.format(a=c, b=a, c=b)]
    a, b = members
    return [form.format(a=a, b=b) for form in FORMS[kind]]


def _level(sound: Array) -> float:
    """Root of the mean power of the louder half of a sound, in stretches of 10 ms or so."""
    n = max(1, len(sound) // 320)
    power = np.square(sound[: len(sound) // n * n]).reshape(n, -1).mean(axis=1)
    return float(np.sqrt(np.sort(power)[n // 2 :].mean()))


def _gain(low_db: float, high_db: float, rng: np.random.Generator) -> float:
    return float(10 ** (rng.uniform(low_db, high_db) / 20))
