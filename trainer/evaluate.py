"""A bundle to numbers, through the product's own encoder.

    python -m trainer.evaluate BUNDLE [DATA]

Protocol. Captions: the queries are the distinct captions of the validation rows of sounds.csv,
the candidates its validation recordings; a recording's score is its best window's; a hit is any
recording with that caption. Labels: each validation recording of esc10.csv gets the label whose
text scores highest, recordings scored likewise.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from soundsearch.bundle import EncoderBundle
from soundsearch.encoder import Encoder
from soundsearch.errors import AudioError
from soundsearch.metrics import best_ranks, recall_at_k
from trainer.data.manifests import Clip, find_data, of_split, read_esc10, read_sounds

Array = NDArray[np.float32]

#: What stands in bundle.json beside the numbers.
COMMAND = "python -m trainer.evaluate BUNDLE DATA"


def evaluate(encoder: Encoder, data: Path) -> dict[str, float]:
    """All numbers of the protocol above, as shares between 0 and 1."""
    sounds = of_split(read_sounds(data), "valid")
    esc10 = of_split(read_esc10(data), "valid")
    return {
        **caption_recall(sounds, text_scores(encoder, captions_of(sounds), sounds)),
        **label_accuracy(esc10, text_scores(encoder, prompts_of(encoder, esc10), esc10)),
    }


def captions_of(clips: Sequence[Clip]) -> list[str]:
    """The distinct captions, sorted: the queries."""
    return sorted({clip.caption for clip in clips})


def prompts_of(encoder: Encoder, clips: Sequence[Clip]) -> list[str]:
    """The distinct labels, sorted, each in the bundle's prompt."""
    return [encoder.bundle.text.prompt.format(label) for label in labels_of(clips)]


def labels_of(clips: Sequence[Clip]) -> list[str]:
    """The distinct labels, sorted."""
    return sorted({clip.label for clip in clips if clip.label is not None})


def text_scores(encoder: Encoder, texts: Sequence[str], clips: Sequence[Clip]) -> Array:
    """Cosine of every text with every clip's best window, (n_texts, n_clips).

    A recording that cannot be embedded scores -1 against everything: it cannot be found.
    """
    queries = encoder.embed_text(texts)
    scores = np.full((len(texts), len(clips)), -1.0, np.float32)
    for i, clip in enumerate(clips):
        try:
            _, embeddings = encoder.embed_file(clip.path)
        except AudioError:
            continue
        scores[:, i] = (queries @ embeddings.T).max(axis=1)
    return scores


def caption_recall(clips: Sequence[Clip], scores: Array) -> dict[str, float]:
    """R@1, R@5, R@10 and median rank; scores as from `text_scores` with `captions_of(clips)`."""
    captions = np.array([clip.caption for clip in clips])
    relevant = np.array(captions_of(clips))[:, None] == captions
    ranks = best_ranks(scores, relevant)
    return {
        "text_to_audio_recall_at_1": recall_at_k(ranks, 1),
        "text_to_audio_recall_at_5": recall_at_k(ranks, 5),
        "text_to_audio_recall_at_10": recall_at_k(ranks, 10),
        "text_to_audio_median_rank": float(np.median(ranks)),
    }


def label_accuracy(clips: Sequence[Clip], scores: Array) -> dict[str, float]:
    """Share of clips whose best label is theirs; scores (n_labels, n_clips)."""
    labels = labels_of(clips)
    right = [
        labels[best] == clip.label for best, clip in zip(scores.argmax(axis=0), clips, strict=True)
    ]
    return {"esc10_zero_shot_top_1": float(np.mean(right))}


def main(arguments: Sequence[str]) -> None:
    """Print the numbers of the bundle in the first argument as JSON."""
    data = find_data(Path(arguments[1]) if len(arguments) > 1 else None)
    found = evaluate(Encoder(EncoderBundle.read(Path(arguments[0]))), data)
    rounded = {name: round(value, 4) for name, value in found.items()}
    sys.stdout.write(json.dumps(rounded, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
