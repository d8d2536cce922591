"""A small library of sounds whose seconds are known: what hisses, what rumbles, and odd names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ, WORDS

RATE = 8000
#: A name that is code where it is taken for markup.
HOSTILE = "<img src=x onerror=window.broken=1>.wav"
#: In this recording it hisses at these seconds.
TWICE = "storm.wav"
HISSES = ((4.0, 6.0), (9.0, 11.0))
N_BEEPS = 25
#: A recording that no browser plays lasts so long.
LONG_S = 63.0
#: Levels of the quarters of this recording.
STEPS = "stairs.wav"
LEVELS = (0.1, 0.2, 0.4, 0.8)


def sound(word: str, seconds: float) -> NDArray[np.float32]:
    """A tone that a word of the tiny encoder means."""
    return tone(BAND_HZ[WORDS.index(word)], seconds, RATE)


def write_library(folder: Path) -> None:
    """Write it."""
    parts = [("rumble", 4), ("hiss", 2), ("rumble", 3), ("hiss", 2), ("rumble", 1)]
    write(folder / "weather" / TWICE, np.concatenate([sound(*part) for part in parts]))
    write(folder / "pan.wav", sound("hiss", 1.5))
    write(folder / "copies" / "pan again.wav", sound("hiss", 1.5))
    write(folder / "foley" / "mouse.aiff", sound("squeak", 3.0))
    write(folder / "foley" / "engine.aiff", sound("note", LONG_S))
    write(folder / "foley" / "fence.flac", np.stack([sound("squeak", 2.0)] * 2, axis=1))
    write(folder / STEPS, np.concatenate([2 * level * sound("hum", 0.5) for level in LEVELS]))
    hostile = write(folder / HOSTILE, sound("whine", 2.0))
    with soundfile.SoundFile(hostile, "r+") as file:
        file.title = "<script>window.broken=1</script>"
    (folder / "broken.wav").write_bytes(b"RIFF and nothing more")
    for i in range(N_BEEPS):
        level = 0.2 + 0.01 * i  # no two of them are copies
        write(folder / "beeps" / f"beep {i:02d}.wav", level * sound("beep", 1.0))
