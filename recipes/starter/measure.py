"""The numbers of a finished bundle, each with its command.

What `soundsearch bench` computes: captions, those of more.csv, and ESC-10. And what a maker asks
besides: captions of short sounds, the words for a recording, two sounds at once, and the same sound
softer and louder.

    python -m recipes.starter.measure BUNDLE DATA
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.starter.manifests import (
    ESC10,
    MORE,
    SOUNDS,
    Recording,
    Split,
    of_split,
    read_more,
    read_sounds,
)
from soundsearch.audio.recording import AudioFile, read_windows
from soundsearch.audio.windows import Window
from soundsearch.bench.datasets import read_manifest
from soundsearch.bench.metrics import best_ranks, recall_at_k
from soundsearch.bench.protocols import PROTOCOLS
from soundsearch.bench.run import Settings, run_benchmark
from soundsearch.encoder.calibration import Calibration
from soundsearch.encoder.embed_clips import embed_clips, embed_texts, score_texts
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.registry import find_bundle
from soundsearch.encoder.towers import BATCH_SIZE, Encoder
from soundsearch.errors import AudioError, BenchmarkError
from soundsearch.vocabulary import load_vocabulary
from trainer.english import ARTICLES, BREAKS, head_word, singular, words_of

Array = NDArray[np.float32]
Found = dict[str, Any]

SPLIT: Split = "valid"
PROTOCOL = "literature"
COMMAND = "python -m recipes.starter.measure BUNDLE DATA"
#: What `soundsearch bench` measures: a title, the manifest, what is asked, and what the command
#: says besides.
MEASURED = (
    ("captions", SOUNDS, "caption", " --merge-identical-captions"),
    ("labels of ESC-10", ESC10, "label", ""),
)
#: Recordings shorter than this are short sounds.
SHORT_S = 1.5
KS = (1, 10)
#: Answers of `soundsearch describe` among which a caption's head word is looked for.
TOP = 5
#: Mixtures of two sounds, and the seed that draws them.
N_MIXTURES = 200
SEED = 0
#: Both sounds of a mixture are brought to this root of the mean power.
LEVEL = 0.05
#: Changes of loudness, in dB.
GAINS_DB = (-20.0, 6.0)


def measure(encoder: Encoder, data: Path, cache: EmbeddingCache) -> dict[str, Found]:
    """Measure a bundle.

    Args:
        encoder: Of the bundle.
        data: Folder of sounds.csv, esc10.csv and, if it is there, more.csv.
        cache: Of this encoder, in which embeddings stay for the next number.

    Returns:
        For each title its command, and shares between 0 and 1 (ranks from 1) by name. A recording
        that cannot be used is left out, and counted.

    Raises:
        BenchmarkError: Nothing can be measured.
        ManifestError: A manifest is not right.
    """
    found = {
        title: _benchmark(encoder, data / manifest, ask, more, cache)
        for title, manifest, ask, more in MEASURED
    }
    recordings = of_split(read_sounds(data), SPLIT)
    # Some of more.csv has no caption, which no manifest of a benchmark may lack.
    more = [one for one in of_split(read_more(data), SPLIT) if one.caption]
    if more:
        found[f"captions of {MORE}"] = _captions(encoder, more, more, cache)
    short = [one for one in recordings if 0 < seconds_of(one.path) < SHORT_S]
    if short:
        title = f"captions of sounds under {SHORT_S:g} s"
        found[title] = _captions(encoder, recordings, short, cache)
    found["words for a recording"] = _words_for(encoder, recordings, cache)
    captions, windows = loudest_windows(encoder, recordings)
    found["two sounds at once"] = _mixtures(encoder, captions, windows)
    found["loudness"] = _loudness(encoder, windows)
    return found


def _captions(
    encoder: Encoder,
    recordings: Sequence[Recording],
    chosen: Sequence[Recording],
    cache: EmbeddingCache,
) -> Found:
    """Recall of captions of some recordings among all.

    A recording of the same caption that is not among the chosen is neither right nor wrong.
    """
    found, lost = embed_clips(encoder, [one.path for one in recordings], cache)
    if found is None:
        raise BenchmarkError(f"none of {len(recordings)} recordings can be used")
    usable = [one for i, one in enumerate(recordings) if i not in lost]
    wanted = {one.path for one in chosen}
    is_chosen = np.array([one.path in wanted for one in usable])
    captions = sorted({one.caption for one in usable if one.path in wanted})
    same = np.array(captions)[:, None] == np.array([one.caption for one in usable])
    scores = score_texts(embed_texts(encoder, captions, cache), found)
    ranks = best_ranks(np.where(same & ~is_chosen, -np.inf, scores), same & is_chosen)
    return {
        "command": COMMAND,
        "split": SPLIT,
        "recordings": len(usable),
        "queries": len(captions),
        **{f"text-to-audio R@{k}": round(recall_at_k(ranks, k), 4) for k in KS},
    }


def seconds_of(path: Path) -> float:
    """Length of a recording as it decodes; 0 where it does not."""
    try:
        with AudioFile(path) as file:
            return sum(len(block) for block in file.blocks()) / file.sample_rate
    except AudioError:
        return 0.0


def _benchmark(
    encoder: Encoder, manifest: Path, ask: str, more: str, cache: EmbeddingCache
) -> Found:
    settings = Settings(
        protocol=PROTOCOLS[PROTOCOL], merge_identical=ask == "caption", allow_missing=True
    )
    queries = read_manifest(manifest, split=SPLIT, ask=ask)
    result = run_benchmark(encoder, queries, settings, cache)
    return {
        "command": f"soundsearch bench manifest DATA/{manifest.name} --split {SPLIT} --ask {ask}{more}",
        "split": SPLIT,
        "recordings": result.n_clips,
        **{
            f"{direction.name} {name}": round(number.value, 4)
            for direction in result.directions
            for name, number in direction.numbers.items()
        },
    }


def _words_for(encoder: Encoder, recordings: Sequence[Recording], cache: EmbeddingCache) -> Found:
    """Whether the first answers of `soundsearch describe` name what the caption names.

    Answers are the split's captions, where one with the same head word is right, and the lines of
    the shipped vocabulary, where one that holds the head word is right. Of the latter only
    recordings are asked whose head word the vocabulary has at all.
    """
    found, lost = embed_clips(encoder, [one.path for one in recordings], cache)
    assert found is not None, "the benchmark before has used the same recordings"
    heads = [head_word(one.caption) for i, one in enumerate(recordings) if i not in lost]
    captions = sorted({one.caption for one in recordings})
    lines = load_vocabulary()
    prompts = [encoder.bundle.text.prompt.format(line) for line in lines]
    calibration = Calibration.of(encoder.bundle)

    def scores_of(texts: Sequence[str]) -> Array:
        vectors = embed_texts(encoder, texts, cache)
        cosines = score_texts(vectors, found)
        if calibration is None:
            return cosines
        return calibration.relevance("text", vectors, cosines).astype(np.float32)

    by_caption = named_among_first(
        scores_of(captions), [{head_word(caption)} for caption in captions], heads
    )
    words_of_line = [{singular(word) for word in words_of(line)} for line in lines]
    by_line = named_among_first(scores_of(prompts), words_of_line, heads)
    known = np.isin(heads, list(set().union(*words_of_line)))
    return {
        "command": COMMAND,
        "split": SPLIT,
        "recordings": len(heads),
        f"head word in the first {TOP} captions": _share(by_caption),
        "recordings whose head word the vocabulary has": int(known.sum()),
        **(
            {f"head word in the first {TOP} lines of the vocabulary": _share(by_line[known])}
            if known.any()
            else {}
        ),
    }


def named_among_first(
    scores: Array, words: Sequence[set[str]], heads: Sequence[str]
) -> NDArray[np.bool_]:
    """For each recording, whether one of its TOP best texts has its head word.

    scores: (n_texts, n_recordings). words: of each text. heads: of each recording. Ties go to earlier texts.
    """
    best = np.argsort(-scores, axis=0, kind="stable")[:TOP]
    return np.array(
        [any(head in words[n] for n in best[:, i]) for i, head in enumerate(heads)], bool
    )


def loudest_windows(
    encoder: Encoder, recordings: Sequence[Recording]
) -> tuple[list[str], list[Array]]:
    """The caption and the loudest window, (time,) at the encoder's rate, of each usable recording."""
    captions, windows = [], []
    for one in recordings:
        try:
            with AudioFile(one.path) as file:
                found = [w.waveform for w in read_windows(file, encoder.bundle.audio)]
        except AudioError:
            continue
        loudest = max(found, key=_level)
        if _level(loudest) > 0:
            captions.append(one.caption)
            windows.append(loudest)
    return captions, windows


def _mixtures(encoder: Encoder, captions: Sequence[str], windows: Sequence[Array]) -> Found:
    """Whether "A and B" fits A and B together better than A alone, and than B alone."""
    pairs = drawn_pairs(captions)
    levelled = [window * np.float32(LEVEL / _level(window)) for window in windows]
    alone = _embed(encoder, levelled)
    together = _embed(encoder, [levelled[a] + levelled[b] for a, b in pairs])
    queries = encoder.embed_text([f"{captions[a]} and {captions[b]}" for a, b in pairs])
    first, second = np.array(pairs).T
    scores = (queries * together).sum(axis=1)
    above = [scores > (queries * alone[part]).sum(axis=1) for part in (first, second)]
    return {
        "command": COMMAND,
        "split": SPLIT,
        "mixtures": len(pairs),
        "above both sounds alone": _share(above[0] & above[1]),
    }


def drawn_pairs(captions: Sequence[str]) -> list[tuple[int, int]]:
    """N_MIXTURES pairs of places whose captions share no word, drawn with SEED.

    Raises BenchmarkError if there is no such pair.
    """
    words = [{singular(word) for word in words_of(text)} - ARTICLES - BREAKS for text in captions]
    if not any(a.isdisjoint(b) for a, b in combinations(words, 2)):
        raise BenchmarkError(
            f"no two of the {len(captions)} captions of the split {SPLIT} are without a shared word; "
            "mixtures need recordings of different sounds"
        )
    rng = np.random.default_rng(SEED)
    pairs: list[tuple[int, int]] = []
    while len(pairs) < N_MIXTURES:
        a, b = (int(i) for i in rng.integers(len(captions), size=2))
        if words[a].isdisjoint(words[b]):
            pairs.append((a, b))
    return pairs


def _loudness(encoder: Encoder, windows: Sequence[Array]) -> Found:
    """Cosines of windows with themselves, softer and louder."""
    as_they_are = _embed(encoder, windows)
    cosines = {
        gain_db: (
            _embed(encoder, [w * np.float32(10 ** (gain_db / 20)) for w in windows]) * as_they_are
        ).sum(axis=1)
        for gain_db in GAINS_DB
    }
    return {
        "command": COMMAND,
        "split": SPLIT,
        "recordings": len(windows),
        **{f"cosine at {gain_db:+g} dB": _share(found) for gain_db, found in cosines.items()},
    }


def _embed(encoder: Encoder, waveforms: Sequence[Array]) -> Array:
    """(n, dim) float32 of windows at the encoder's rate."""
    rate = encoder.bundle.audio.sample_rate
    assert rate is not None, "the starter has one rate"
    found = []
    for start in range(0, len(waveforms), BATCH_SIZE):
        windows = [Window(0.0, 0.0, waveform) for waveform in waveforms[start : start + BATCH_SIZE]]
        found.append(encoder.embed_features(encoder.features_of(windows, rate)))
    return np.concatenate(found)


def _level(waveform: Array) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def _share(values: Sequence[float] | NDArray[Any]) -> float:
    return round(float(np.mean(values)), 4)


def main() -> None:
    """Print the numbers as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", help="a name from `soundsearch models list`, or a folder")
    parser.add_argument("data", type=Path, help="folder of sounds.csv and esc10.csv")
    options = parser.parse_args()
    encoder = Encoder(find_bundle(options.bundle))
    with EmbeddingCache(None, encoder) as cache:
        found = measure(encoder, options.data, cache)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
