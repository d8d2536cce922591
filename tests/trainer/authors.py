"""What the paper's program makes of a clip, written out in torch: an oracle for our front end."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torchaudio.compliance import kaldi

Array = NDArray[np.float32]


def as_the_authors(
    channels: Array,
    sample_rate: int,
    max_len: int = 1000,
    norms: tuple[float, float] = (-4.93839311, 5.75751113),
) -> Array:
    """Evaluation features of (channel, time) samples: (mel, time), normalised."""
    sound = torch.from_numpy(channels)
    size = int((max_len / 100 + 0.05) * sample_rate)
    if sound.shape[1] > size:
        left = round(0.5 * (sound.shape[1] - size))
        half = 0.5 * sound.std()
        crop = sound[:, left : left + size]
        level = crop.std()
        if level < half:
            crop = sound[:, :size]
            if half > level > crop.std():
                crop = sound[:, -size:]
        sound = crop
    sound = sound - sound.mean()
    fbank = kaldi.fbank(
        sound,
        sample_frequency=sample_rate,
        htk_compat=True,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_shift=10,
    )[:max_len]
    fbank = torch.nn.functional.pad(fbank, (0, 0, 0, max_len - len(fbank)))
    features: Array = ((fbank - norms[0]) / norms[1]).numpy().T
    return features
