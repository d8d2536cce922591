"""How recordings are best cut: what fills up a short one, how often windows begin, how they score.

Recall at 10 of text to audio over the captions of the validation split, by one encoder of which
nothing but the windows is changed. Told apart are short, middle and long recordings: a query is a
caption of such a recording, right are the recordings with it of that length, and wrong are all
that have another caption, of any length. A star marks what the bundle itself says.

    .venv/bin/python -m examples.windows_study DATA --bundle starter
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipes.starter.manifests import Recording, find_data, of_split, read_sounds
from recipes.starter.measure import seconds_of
from soundsearch.audio.windows import AudioConfig
from soundsearch.bench.metrics import best_ranks, recall_at_k
from soundsearch.encoder.embed_clips import ClipEmbeddings, embed_clips, embed_texts, score_texts
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.encoder.towers import Encoder

Array = NDArray[np.float32]

#: Each length: its name, and where it begins and ends, in seconds.
LENGTHS = (
    ("under 1.5 s", 0.0, 1.5),
    ("1.5 to 10 s", 1.5, 10.0),
    ("10 s or more", 10.0, np.inf),
    ("all", 0.0, np.inf),
)
K = 10


def ways(audio: AudioConfig) -> Iterator[tuple[str, AudioConfig]]:
    """Ways to cut: each differs from the bundle's own in one thing."""
    for short in ("repeat", "repeat-whole", "zeros"):
        yield f"short ones: {short}", dataclasses.replace(audio, short=short)
    for part in (4, 2, 1):
        hop_s = audio.window_s / part
        yield f"a window every {hop_s:g} s", dataclasses.replace(audio, hop_s=hop_s)


def recall(scores: Array, right: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> tuple[float, int]:
    """R@K in percent, and of how many queries.

    scores: (n_texts, n_clips). right: of that shape, the clips that have the text. chosen: (n_clips,),
    those of the length in question; a text that none of them has is no query.
    """
    queries = (right & chosen).any(axis=1)
    if not queries.any():
        return float("nan"), 0
    among = np.where(right & ~chosen, -np.inf, scores)[queries]
    ranks = best_ranks(among, (right & chosen)[queries])
    return 100 * recall_at_k(ranks, K), int(queries.sum())


def row(
    texts: Array, found: ClipEmbeddings, right: NDArray[np.bool_], seconds: Array
) -> tuple[list[float], list[int]]:
    """R@K and the number of queries for each of LENGTHS."""
    scores = score_texts(texts, found)
    by_length = [
        recall(scores, right, (begin <= seconds) & (seconds < end)) for _, begin, end in LENGTHS
    ]
    return [share for share, _ in by_length], [n for _, n in by_length]


def study(encoder: Encoder, clips: Sequence[Recording]) -> Iterator[str]:
    """The lines of the table, each when it is known."""
    seconds = np.array([seconds_of(clip.path) for clip in clips], np.float32)
    captions = sorted({clip.caption for clip in clips})
    reported = False
    with tempfile.TemporaryDirectory() as folder:
        for name, audio in ways(encoder.bundle.audio):
            bundle = dataclasses.replace(encoder.bundle, audio=audio)
            changed = Encoder(bundle, encoder.device)
            with EmbeddingCache(Path(folder, "embeddings.db"), changed) as cache:
                found, lost = embed_clips(changed, [clip.path for clip in clips], cache)
                texts = embed_texts(changed, captions, cache)
            assert found is not None, "nothing in the validation split can be read"
            kept = [i for i in range(len(clips)) if i not in lost]
            right = np.array(captions)[:, None] == np.array([clips[i].caption for i in kept])
            for score, of_clips in (("best window", found), ("mean", found.mean())):
                shares, n_queries = row(texts, of_clips, right, seconds[kept])
                if not reported:
                    yield line("", [f"{length}" for length, _, _ in LENGTHS], "windows")
                    yield line("queries", [str(n) for n in n_queries], "")
                    reported = True
                own = "*" if audio == encoder.bundle.audio and score == "best window" else " "
                numbers = [f"{share:.1f}" for share in shares]
                yield line(f"{own} {name}, {score}", numbers, f"{len(found.vectors):,}")


def line(name: str, cells: Sequence[str], last: str) -> str:
    """One line of the table."""
    return f"{name:40}" + "".join(f"{cell:>13}" for cell in (*cells, last))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", help="folder of sounds.csv")
    parser.add_argument("--bundle", default=DEFAULT_MODEL, help="a bundle's name, or its folder")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    options = parser.parse_args()
    encoder = Encoder(find_bundle(options.bundle), options.device)
    print(f"R@{K} of text to audio, in percent; {encoder.bundle.name} {encoder.bundle.version}")
    for text in study(encoder, of_split(read_sounds(find_data(options.data)), "valid")):
        print(text, flush=True)


if __name__ == "__main__":
    main()
