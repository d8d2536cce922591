"""From a clip's sound to what an audio tower learns from: the front ends of training, by name.

Stretch, channel, rate and features are those of search (`soundsearch/audio/clips.py`, `features.py`);
training adds a random place for the stretch and masks. All randomness comes from the generator
handed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.clips import cut_clip, n_samples_of_stretch
from soundsearch.audio.features import FeatureConfig, KaldiFbank, compute_features, lifted
from soundsearch.audio.windows import AudioConfig

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """How clips become features.

    audio, features: as in the bundle of the encoder that will be. frequency_mask, time_mask:
    mel bands and frames that a mask of training stays below; 0 for no mask.
    """

    name: str
    audio: AudioConfig
    features: FeatureConfig
    frequency_mask: int
    time_mask: int

    def __post_init__(self) -> None:
        if self.frequency_mask < 0 or self.time_mask < 0:
            raise ValueError(
                "frequency_mask and time_mask must be 0 or more, "
                f"not {self.frequency_mask} and {self.time_mask}"
            )


#: VIP-ANT's of the released checkpoints: at the file's own rate, its first channel, 10.05 s for 1,000 frames.
VIP_ANT = FrontEnd(
    name="vip-ant",
    audio=AudioConfig(
        sample_rate=None, window_s=10.05, hop_s=5.0, short="keep", channels="first", clip="centre"
    ),
    features=KaldiFbank(n_mels=128, n_frames=1000, f_min=20.0, mean=-4.93839311, std=5.75751113),
    frequency_mask=32,
    time_mask=200,
)
#: That of the encoder that comes with soundsearch.
STARTER = FrontEnd(
    name="starter",
    audio=AudioConfig(sample_rate=32000, window_s=3.0, hop_s=1.5, short="repeat"),
    features=KaldiFbank(n_mels=64, n_frames=298, f_min=50.0, f_max=14000.0, mean=-6.0815, std=5.41),
    frequency_mask=12,
    time_mask=60,
)
FRONT_ENDS: dict[str, FrontEnd] = {front_end.name: front_end for front_end in (VIP_ANT, STARTER)}


def clip_features(
    channels: Array, sample_rate: int, front_end: FrontEnd, generator: np.random.Generator | None
) -> Array:
    """Features of one clip, (n_mels, n_frames) float32, normalised.

    channels: (channel, time) float32 in [-1, 1] at sample_rate Hz. Not modified.
    generator: for training, a stretch anywhere in the clip and both masks; None for evaluation,
    the stretch at the centre and no mask. Raises AudioError for a clip that is too short.
    """
    audio = front_end.audio
    start = None
    if generator is not None:
        spare = channels.shape[1] - n_samples_of_stretch(sample_rate, audio)
        start = int(generator.integers(spare)) if spare > 0 else 0
    waveform = cut_clip(channels, sample_rate, audio, start)
    if audio.clip == "windows":  # as search has it; else as the authors have it
        waveform = lifted(waveform)
    features = compute_features(waveform, audio.rate_for(sample_rate), front_end.features)
    if generator is not None:
        masked_rows(features, front_end.frequency_mask, generator)[:] = 0.0
        masked_rows(features.T, front_end.time_mask, generator)[:] = 0.0
    return features


def masked_rows(features: Array, longest: int, generator: np.random.Generator) -> Array:
    """A view of the rows that a mask hides: fewer than `longest`, anywhere.

    Both are uniform, then rounded down. After normalisation 0 is the mean of the data. Source:
    torchaudio, `mask_along_axis`; differs where there are fewer rows than `longest`.
    """
    n_rows = len(features)
    width = generator.random() * min(longest, n_rows)
    start = int(generator.random() * (n_rows - width))
    return features[start : start + int(width)]
