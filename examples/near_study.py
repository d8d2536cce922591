"""How near versions of a recording are, and other recordings: what `duplicates --near` goes by.

Makes versions of recordings of an index, as people do (MP3, Ogg Vorbis, another rate, another
level, a trimmed beginning), and prints for each kind how many are near copies at several cosines,
and by how much their lengths differ. Then prints how many pairs of different recordings of the
index are as near and as long.

    python -m examples.near_study INDEX
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

import soundsearch
from soundsearch.audio.recording import AudioFile
from soundsearch.near_copies import LENGTH_S

COSINES = (0.98, 0.985, 0.99, 0.995)
ROWS = 512


def versions(samples: NDArray[np.float32], rate: int, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write versions of a sound, (time, channel), and yield what each is."""

    def write(
        what: str, made: NDArray[np.float32], to_rate: int, **how: object
    ) -> tuple[str, Path]:
        path = folder / "version.audio"
        soundfile.write(path, made, to_rate, **how)
        return what, path

    mp3 = {"format": "MP3", "bitrate_mode": "CONSTANT"}
    yield write("MP3, middle rate", samples, rate, **mp3, compression_level=0.5)
    yield write("MP3, low rate", samples, rate, **mp3, compression_level=0.9)
    ogg = {"format": "OGG", "subtype": "VORBIS"}
    yield write("Ogg Vorbis, middle", samples, rate, **ogg, compression_level=0.5)
    yield write("Ogg Vorbis, low", samples, rate, **ogg, compression_level=0.9)
    yield write("22,050 Hz", soxr.resample(samples, rate, 22_050), 22_050, format="WAV")
    yield write("6 dB quieter", samples / 2, rate, format="WAV")
    yield write("20 dB quieter", samples / 10, rate, format="WAV")
    yield write("100 ms trimmed", samples[rate // 10 :], rate, format="WAV")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("--recordings", type=int, default=60)
    options = parser.parse_args()
    with soundsearch.open_index(options.index) as index, index.store.snapshot() as reader:
        sounds = {sound.recording_id: sound for sound in reader.sounds()}
        means = dict(reader.means())
        ids = np.array([i for i in sounds if i in means])
        paths = {
            recording.id: Path(reader.facts(recording).path)
            for recording in reader.recordings()
            if recording.id in set(np.random.default_rng(0).choice(ids, options.recordings))
        }
        found = defaultdict(list)
        with tempfile.TemporaryDirectory() as folder:
            for recording_id, path in paths.items():
                with AudioFile(path) as file:
                    samples = file.all_channels().T
                for what, made in versions(samples, file.sample_rate, Path(folder)):
                    spans, embeddings = index.encoder.embed_file(made)
                    mean = embeddings.mean(axis=0)
                    cosine = mean @ means[recording_id] / np.linalg.norm(mean)
                    found[what].append((cosine, spans[-1][1] - sounds[recording_id].duration_s))
    heads = "".join(f"{cosine:>8}" for cosine in COSINES)
    print(f"{len(paths)} recordings, share of versions that are near at cosine")
    print(f"{'':20}{heads}   length differs by at most")
    for what, rows in found.items():
        cosines, seconds = np.array(rows).T
        shares = "".join(f"{np.mean(cosines >= least):8.0%}" for least in COSINES)
        print(f"{what:20}{shares}   {np.abs(seconds).max():.3f} s")
    embeddings = np.stack([means[i] for i in ids.tolist()])
    lengths = np.array([sounds[i].duration_s for i in ids.tolist()])
    counts = np.zeros(len(COSINES), int)
    for i in range(0, len(ids), ROWS):
        near = np.abs(lengths[i : i + ROWS, None] - lengths) <= LENGTH_S
        near &= np.arange(i, min(i + ROWS, len(ids)))[:, None] < np.arange(len(ids))
        cosines = (embeddings[i : i + ROWS] @ embeddings.T)[near]
        counts += [int((cosines >= least).sum()) for least in COSINES]
    pairs = "".join(f"{n:8}" for n in counts)
    print(f"{'pairs of the index':20}{pairs}   of {len(ids)} recordings")


if __name__ == "__main__":
    main()
