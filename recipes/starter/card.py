"""What the starter's model_card.md says, from what was used and measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.starter.manifests import Recording, of_split
from soundsearch.encoder.bundle import EncoderBundle
from trainer import model_card

COMMAND = "python -m recipes.starter DATA --run RUN --out BUNDLE"
AUDIO_ORIGIN = (
    "Audio tower begun from EfficientAT's mn04_as (MIT licence), a network that learnt the labels of "
    "AudioSet, and trained on freely licensed recordings with captions and on mixtures of them."
)
TEXT_ORIGIN = "Text tower distilled from all-MiniLM-L6-v2 (Apache-2.0)."
#: Columns of the logs.
TEXT_COLUMNS = ("loss", "held_out_cosine", "held_out_correlation")
HEAD_COLUMNS = ("loss", "captions", "classes")
#: What other runs' numbers are good for.
ABOUT_REPEATS = """
The other runs had other seeds for every random choice of the audio tower's learning. What differs by
no more than the runs do is noise.
"""


def sections(
    bundle: EncoderBundle,
    recordings: Sequence[Recording],
    logs: Sequence[tuple[str, Path, tuple[str, ...]]],
    repeats: Sequence[EncoderBundle] = (),
) -> dict[str, str]:
    """Write the card's sections.

    Args:
        bundle: With its results.
        recordings: Those that could be used, of both splits.
        logs: Title, log.jsonl and columns of each training.
        repeats: What other runs of the same recipe gave.

    Returns:
        Heading -> text.
    """
    train, valid = of_split(recordings, "train"), of_split(recordings, "valid")
    return {
        "Measured": _measured(bundle.results, train, valid, repeats),
        "Limits": _limits(train),
        "What it learnt from": _learnt_from(train, valid),
        "Training": "\n\n".join(model_card.curve(path, title, cols) for title, path, cols in logs),
    }


def _measured(
    results: Mapping[str, Any],
    train: Sequence[Recording],
    valid: Sequence[Recording],
    repeats: Sequence[EncoderBundle],
) -> str:
    queries = {one.caption for one in valid if one.label is None and one.caption}
    others = {f"run {i}": one.results for i, one in enumerate(repeats, start=2)}
    n_known = len(queries & {one.caption for one in train})
    return f"""
{model_card.results_tables(results, others)}
{ABOUT_REPEATS if repeats else ""}
A query is a distinct caption of the validation split, a hit any recording with that caption, and a
recording scores what its best window scores. Of {len(queries)} captions in all, {n_known} also stand
over other recordings in the training split. Settings were chosen on this split, and the curves behind
"scores from 0 to 1" were fitted on it, so all numbers are a little flattered."""


def _limits(train: Sequence[Recording]) -> str:
    return f"""
- English only. The captions were made from file names, folders and descriptions; few were written
  by someone who listened.
- {len(train):,} recordings are few. Sounds that are not among them are known from the tagger's
  classes alone, and from the neighbourhood of their words.
- "A and B" is not always told from A alone (two sounds at once, above); the order of two sounds, "no"
  and "without" hardly at all.
- It does not transcribe speech, and it recognises no one."""


def _learnt_from(train: Sequence[Recording], valid: Sequence[Recording]) -> str:
    captions = {one.caption for one in train if one.caption}
    n_without = sum(not one.caption for one in train)
    used = Counter((one.source, one.licence) for one in train)
    rows = "\n".join(f"| {source} | {terms} | {n} |" for (source, terms), n in sorted(used.items()))
    terms = Counter(one.licence for one in train).most_common()
    return f"""
{AUDIO_ORIGIN} That network heard two million recordings under the names of 527 classes. So
"zero-shot" means here: classes that labels and captions of other recordings named, as with
LAION-CLAP, not sounds of which no name was ever heard. A sound that many captions of the training
split fit is lowered for each of them: an inverted softmax, as a part of its embedding.

Recordings: {len(train):,} of the training split, under {len(captions):,} captions; {n_without:,} have
none. The {len(valid):,} of the validation split gave the numbers in this card and the curves of the
scores; no weight learnt from them. {len(terms)} ways of stating a licence occur, most often
{", ".join(f"{name} ({n})" for name, n in terms[:5])}. Some may not be passed on as files; no recording
is part of this bundle. By source:

| source | licence | recordings |
| --- | --- | --- |
{rows}

Texts, for the text tower only: captions of AudioCaps' training split (MIT), names and definitions of
the AudioSet ontology (CC-BY-SA 4.0), the captions and tags above, the words of the tokenizer's
vocabulary, and the phrases of soundsearch's own. {TEXT_ORIGIN} Its tokenizer and first weights are
those of all-MiniLM-L6-v2."""
