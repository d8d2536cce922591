"""Small shards whose clips are told apart by pitch, with vectors that a person can predict."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from soundsearch.audio.features import KaldiFbank
from soundsearch.audio.windows import AudioConfig
from tests.sounds import noise, tone
from trainer.data.example import Example, ExampleFacts
from trainer.data.shard_folder import ShardFolder
from trainer.data.shard_writer import write_shards
from trainer.data.vectors import VectorsFacts, vectors_path, write_vectors
from trainer.front_ends import FrontEnd
from trainer.runs import StageConfig
from trainer.towers.vit import VitConfig

RATE = 8000
DIM = 8
ENCODER = "made-by-hand-00000000"
FRONT_END = FrontEnd(
    name="tiny",
    audio=AudioConfig(sample_rate=RATE, window_s=0.25, hop_s=0.125),
    features=KaldiFbank(n_mels=16, n_frames=23, f_min=50.0, mean=-6.0, std=5.0),
    frequency_mask=3,
    time_mask=5,
)
VIT = VitConfig(
    width=16, n_layers=1, n_heads=2, patch=8, stride=(5, 4), n_mels=16, n_frames=23, dim=DIM
)
#: The pivot stage shrunk; "vit" has no batch normalisation, so results do not depend on chunks.
TINY = StageConfig(
    stage="pivot",
    front_end=FRONT_END,
    vit=VIT,
    init="random",
    batch_size=6,
    epochs=4,
    warmup_epochs=1,
    optimiser="adamw",
    learning_rate=3e-3,
    precision="fp32",
    log_every=1,
    save_every=2,
    block=2,
)


def flac(waveform: NDArray[np.float32], sample_rate: int = RATE) -> bytes:
    """Samples (time,) or (time, channel) as a FLAC file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, sample_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def vector_of(pitch: int) -> NDArray[np.float32]:
    """The vector of everything that sounds like this pitch."""
    return np.random.default_rng(pitch).standard_normal(DIM).astype(np.float32) * 3


def made_shards(
    folder: Path, n_clips: int = 18, examples_per_shard: int = 5, n_pitches: int = 6
) -> ShardFolder:
    """Shards of tones; clip i has pitch i % n_pitches, two frames, and a caption.

    Stored: for "images" two vectors a clip, 5 % apart; for "captions" one, which is the pitch's.
    """
    facts, clips = ExampleFacts("made.wav", 0.0, 0.5, RATE, (), ("a caption",), ("tone",)), []
    for i in range(n_clips):
        waveform = tone(200.0 * 1.5 ** (i % n_pitches), 0.5, RATE) + 0.2 * noise(0.5, RATE, seed=i)
        clips.append(Example(facts, flac(waveform.astype(np.float32)), ()))
    write_shards(clips, folder, examples_per_shard=examples_per_shard)
    data = ShardFolder(folder)
    clip = 0
    for number, shard in enumerate(data.shards):
        images, captions = [], []
        for _ in range(int(data.counts[number])):
            vector = vector_of(clip % n_pitches)
            images.append(np.stack([vector, vector * 1.05]))
            captions.append(vector[None])
            clip += 1
        store(shard, "images", images, data.digest(number))
        store(shard, "captions", captions, data.digest(number))
    return data


def store(shard: Path, kind: str, rows: list[NDArray[np.float32]], digest: str) -> None:
    """Write a side file."""
    facts = VectorsFacts(kind, ENCODER, "made", "by-hand", "0" * 64, DIM)
    write_vectors(vectors_path(shard, kind, ENCODER), rows, facts, digest)
