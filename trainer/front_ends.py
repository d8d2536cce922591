"""Front ends of training, by name: the sound of an example to features.

Stretch, channel, rate and features are computed as in search (`soundsearch/audio/clips.py`,
`features.py`). Training adds a random place of the stretch and masks, both from a given generator.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.clips import cut_clip, n_samples_of_stretch
from soundsearch.audio.features import (
    EfficientAtMel,
    FeatureConfig,
    KaldiFbank,
    compute_features,
    lifted,
)
from soundsearch.audio.windows import AudioConfig
from trainer.limits import must_be

Array = NDArray[np.float32]
Floats = TypeVar("Floats", bound=np.floating)


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """How the sound of an example becomes features.

    Attributes:
        name: Name in config files.
        audio: Rate, channel and stretch, as in the bundle of the trained encoder.
        features: Log-mel features, as in the bundle.
        frequency_mask: Upper bound of the mel bands that a mask covers; 0 for no mask.
        time_mask: Upper bound of the frames that a mask covers; 0 for no mask.
    """

    name: str
    audio: AudioConfig
    features: FeatureConfig
    frequency_mask: int
    time_mask: int

    def __post_init__(self) -> None:
        must_be("0 or more", self.frequency_mask >= 0, frequency_mask=self.frequency_mask)
        must_be("0 or more", self.time_mask >= 0, time_mask=self.time_mask)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides the log-mels of a clip; masks are drawn later."""
        facts = {"audio": asdict(self.audio), "features": asdict(self.features)}
        del facts["audio"]["hop_s"]  # windows of a recording, not the stretch of a clip
        facts["features"]["kind"] = self.features.kind
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def slug(self) -> str:
        """Name and beginning of the fingerprint, for the names of files."""
        return f"{self.name}-{self.fingerprint[:8]}"

    @property
    def padding(self) -> float:
        """What stands for the frames that a short clip lacks."""
        before = self.features.pad == "before-normalisation"
        return -self.features.mean / self.features.std if before else 0.0


#: That of VIP-ANT's released checkpoints: own rate of the file, first channel, 10.05 s for 1,000
#: frames. Source: VIP-ANT, `cvap/data/audio/transform.py`.
VIP_ANT = FrontEnd(
    name="vip-ant",
    audio=AudioConfig(
        sample_rate=None, window_s=10.05, hop_s=5.0, short="keep", channels="first", clip="centre"
    ),
    features=KaldiFbank(n_mels=128, n_frames=1000, f_min=20.0, mean=-4.93839311, std=5.75751113),
    frequency_mask=32,
    time_mask=200,
)
#: Seconds of clips other than VIP-ANT's own 10: those of UrbanSound8K, ESC-50, and long ones of Clotho.
OTHER_SECONDS = (4, 5, 18)
#: Seconds by which a stretch is longer than its frames, as in the authors' crops.
SPARE_S = 0.05


def with_frames(front_end: FrontEnd, n_frames: int) -> FrontEnd:
    """Return a front end of VIP-ANT's kind for another number of frames, which last 10 ms each.

    Source: VIP-ANT, `running.audio.max_len`; masks stay as they are.
    """
    audio = dataclasses.replace(
        front_end.audio,
        window_s=round(n_frames / 100 + SPARE_S, 9),
        hop_s=min(VIP_ANT.audio.hop_s, n_frames / 200),
    )
    features = dataclasses.replace(front_end.features, n_frames=n_frames)
    return dataclasses.replace(front_end, audio=audio, features=features)


def of_length(n_frames: int) -> FrontEnd:
    """Return VIP-ANT's front end for a number of frames, with a name of its own."""
    if n_frames == VIP_ANT.features.n_frames:
        return VIP_ANT
    name = f"{VIP_ANT.name}-{n_frames / 100:g}s"
    return dataclasses.replace(with_frames(VIP_ANT, n_frames), name=name)


#: That of the shipped encoder up to version 3.
STARTER = FrontEnd(
    name="starter",
    audio=AudioConfig(sample_rate=32000, window_s=3.0, hop_s=1.5, short="repeat"),
    features=KaldiFbank(n_mels=64, n_frames=298, f_min=50.0, f_max=14000.0, mean=-6.0815, std=5.41),
    frequency_mask=12,
    time_mask=60,
)
#: That of the shipped encoder, and of towers which begin from EfficientAT's weights. Its level is that of softer ordinary
#: recordings; by which of them windows are scaled made no difference that stood out from noise.
EFFICIENTAT = FrontEnd(
    name="efficientat",
    audio=STARTER.audio,
    features=EfficientAtMel(
        n_mels=128,
        n_frames=298,
        f_min=0.0,
        f_max=15000.0,
        mean=-4.5,
        std=5.0,
        centred=False,
        level=-3.0,
    ),
    frequency_mask=24,
    time_mask=60,
)
FRONT_ENDS: dict[str, FrontEnd] = {
    front_end.name: front_end for front_end in (VIP_ANT, STARTER, EFFICIENTAT)
} | {f"{VIP_ANT.name}-{seconds}s": of_length(100 * seconds) for seconds in OTHER_SECONDS}


def extract_features(
    channels: Array, sample_rate: int, front_end: FrontEnd, generator: np.random.Generator | None
) -> Array:
    """Compute the features of one example.

    Args:
        channels: (channel, time) float32 in [-1, 1]. Not modified.
        sample_rate: In Hz.
        front_end: How to compute them.
        generator: In training, draws the place of the stretch and both masks. None, in evaluation,
            takes the stretch at the centre and no mask.

    Returns:
        (n_mels, n_frames) float32, normalised.

    Raises:
        AudioError: The sound is too short.
    """
    waveform = cut_stretch(channels, sample_rate, front_end.audio, generator)
    return window_features(waveform, front_end.audio.rate_for(sample_rate), front_end, generator)


def cut_stretch(
    channels: Array, sample_rate: int, audio: AudioConfig, generator: np.random.Generator | None
) -> Array:
    """Cut the stretch of an example, (time,) at the encoder's rate; arguments as `extract_features`."""
    start = None
    if generator is not None:
        spare = channels.shape[1] - n_samples_of_stretch(sample_rate, audio)
        start = int(generator.integers(spare)) if spare > 0 else 0
    return cut_clip(channels, sample_rate, audio, start)


def window_features(
    waveform: Array, rate: int, front_end: FrontEnd, generator: np.random.Generator | None
) -> Array:
    """Compute the features of a window, (time,) at the encoder's rate, as `extract_features`."""
    if front_end.audio.clip == "windows":  # as in search; otherwise as in VIP-ANT
        waveform = lifted(waveform)
    features = compute_features(waveform, rate, front_end.features)
    if generator is not None:
        mask(features, front_end, generator)
    return features


def mask(
    features: NDArray[np.floating], front_end: FrontEnd, generator: np.random.Generator
) -> None:
    """Set a random stretch of bands, and one of frames, to 0 in place: (n_mels, n_frames)."""
    masked_rows(features, front_end.frequency_mask, generator)[:] = 0.0
    masked_rows(features.T, front_end.time_mask, generator)[:] = 0.0


def masked_rows(
    features: NDArray[Floats], longest: int, generator: np.random.Generator
) -> NDArray[Floats]:
    """Return a view of the rows that a mask covers: fewer than `longest`, at a random place.

    Length and place are uniform and rounded down. The mask value is 0, which is the mean of the data
    after normalisation. Source: torchaudio, `mask_along_axis`; differs from it if there are fewer
    rows than `longest`.
    """
    n_rows = len(features)
    width = generator.random() * min(longest, n_rows)
    start = int(generator.random() * (n_rows - width))
    return features[start : start + int(width)]
