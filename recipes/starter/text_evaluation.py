"""What a text tower is worth: how it takes the texts that people type, beside its teacher.

No sound is needed. Captions of AudioCaps' validation part and of the validation split of sounds.csv
are in no distillation pair as they are; the vocabulary is. Every text is embedded once, so that
this takes seconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipes.starter.corpus import (
    AUDIOCAPS_VALID,
    REQUESTS,
    filed,
    plural_of,
    read_audiocaps,
    read_audiocaps_clips,
    with_typo,
    without_space,
)
from recipes.starter.manifests import of_split, read_sounds
from soundsearch.bench.metrics import best_ranks, recall_at_k
from soundsearch.vocabulary import load_vocabulary
from trainer.text_distillation import agreement

Array = NDArray[np.float32]
#: Texts to unit vectors, (n, width) float32.
Embed = Callable[[Sequence[str]], Array]

#: Captions on which tower and teacher are compared.
N_CAPTIONS = 500
#: Passages, and clips whose captions stand in one.
N_PASSAGES, N_TOGETHER = 100, 3
#: Of slips and names.
SEED = 0

#: Two things that happen one after the other, named in both orders.
EVENTS = (
    ("a dog barks", "a door slams"),
    ("glass breaks", "a woman screams"),
    ("a phone rings", "a man answers"),
    ("thunder rumbles", "rain begins to fall"),
    ("an engine starts", "a horn honks"),
    ("a bell chimes", "people applaud"),
    ("footsteps approach", "a lock clicks"),
    ("a baby cries", "a woman sings"),
    ("a gun fires", "birds fly away"),
    ("water runs", "a toilet flushes"),
)
#: Things that may be heard or not.
THINGS = (
    "rain",
    "wind",
    "music",
    "speech",
    "dogs barking",
    "traffic",
    "birds singing",
    "applause",
    "footsteps",
    "an engine",
)


@dataclass(frozen=True)
class Search:
    """Queries, the texts searched, and for each query the number of the one text it wants."""

    queries: list[str]
    texts: list[str]
    wanted: list[int]

    def ranks(self, embed: Embed) -> NDArray[np.float64]:
        """Rank of the wanted text by cosine, 1 the first, (n_queries,)."""
        scores = embed(self.queries) @ embed(self.texts).T
        return best_ranks(scores, np.array(self.wanted)[:, None] == np.arange(len(self.texts)))


def evaluate_texts(tower: Embed, teacher: Embed, data: Path) -> dict[str, float]:
    """The metrics of the tower, and the teacher's own as "teacher_" and the same name.

    data: folder with sounds.csv and captions/. Shares and cosines:

    correlation, cosine: with the teacher, as `agreement`; no cosine where the widths differ.
    paraphrase_r1, _r10: share of captions that find another caption of their clip among one of
    each clip, at rank 1 or to 10. passage_r1: the same of passages, three clips' captions in a row.
    typo_caption_r1: share of captions with one slip that find themselves without it.
    typo_r1, space_r1, name_r1, request_r1: the same of short captions of recordings, with one slip,
    with a space lost, filed as a library would, and inside a request.
    plural_r1, plural_cosine: phrases of the vocabulary in the plural that find the singular among
    the vocabulary, and their cosine to it. case_cosine: of phrases to themselves in capitals.
    order_cosine: of "A, then B" and "B, then A". order_right: share of "B after A" that are nearer
    to the first. negation_cosine: of "A" and "no A". negation_right: share of "A cannot be heard"
    that are nearer to the second. Half right is what guessing gives.

    Raises SoundsearchError if the files cannot be read.
    """
    captions = read_audiocaps(data / AUDIOCAPS_VALID)[:N_CAPTIONS]
    searches = make_searches(data, random.Random(SEED))
    ours, theirs = _once(tower), _once(teacher)
    return {
        **_likeness(ours(captions), theirs(captions)),
        **metrics_of(ours, searches),
        **{f"teacher_{name}": value for name, value in metrics_of(theirs, searches).items()},
    }


def make_searches(data: Path, generator: random.Random) -> dict[str, Search]:
    """The searches by name; see `evaluate_texts`."""
    captioned_twice = [
        texts[:2] for texts in read_audiocaps_clips(data / AUDIOCAPS_VALID) if texts[1:]
    ]
    captions, others = [pair[0] for pair in captioned_twice], [pair[1] for pair in captioned_twice]
    vocabulary = load_vocabulary()
    valid = {clip.caption for clip in of_split(read_sounds(data), "valid")}
    short = sorted(valid - set(vocabulary))

    def passages(texts: list[str]) -> list[str]:
        starts = range(0, len(texts), N_TOGETHER)[:N_PASSAGES]
        return [". ".join(texts[start : start + N_TOGETHER]) for start in starts]

    def in_order(queries: list[str], texts: list[str]) -> Search:
        return Search(queries, texts, list(range(len(texts))))

    def changed(texts: list[str], change: Callable[[str], str]) -> Search:
        """Each text that the change does change, wanting itself as it was."""
        queries = [change(text) for text in texts]
        touched = [i for i, text in enumerate(texts) if queries[i] != text]
        return Search([queries[i] for i in touched], texts, touched)

    return {
        "paraphrase": in_order(others, captions),
        "passage": in_order(passages(others), passages(captions)),
        "typo_caption": changed(captions, lambda text: with_typo(text, generator)),
        "typo": changed(short, lambda text: with_typo(text, generator)),
        "space": changed(short, lambda text: without_space(text, generator)),
        "name": changed(short, lambda text: filed(text, generator)),
        "request": changed(short, lambda text: generator.choice(REQUESTS).format(text)),
        "plural": changed(vocabulary, plural_of),
    }


def metrics_of(embed: Embed, searches: Mapping[str, Search]) -> dict[str, float]:
    """One tower's metrics; see `evaluate_texts`."""
    ranks = {name: search.ranks(embed) for name, search in searches.items()}
    plurals = searches["plural"]
    singulars = [plurals.texts[i] for i in plurals.wanted]
    forth = [f"{a}, then {b}" for a, b in EVENTS]
    back = [f"{b}, then {a}" for a, b in EVENTS]
    after = [f"{b} after {a}" for a, b in EVENTS]
    without = [f"no {thing}" for thing in THINGS]
    unheard = [f"{thing} cannot be heard" for thing in THINGS]

    def cosines(texts: Sequence[str], others: Sequence[str]) -> Array:
        products: Array = (embed(texts) * embed(others)).sum(axis=1)
        return products

    return {
        **{f"{name}_r1": recall_at_k(found, 1) for name, found in ranks.items()},
        "paraphrase_r10": recall_at_k(ranks["paraphrase"], 10),
        "plural_cosine": float(cosines(plurals.queries, singulars).mean()),
        "case_cosine": float(cosines(singulars, [text.upper() for text in singulars]).mean()),
        "order_cosine": float(cosines(forth, back).mean()),
        "order_right": float(np.mean(cosines(after, forth) > cosines(after, back))),
        "negation_cosine": float(cosines(THINGS, without).mean()),
        "negation_right": float(np.mean(cosines(unheard, without) > cosines(unheard, THINGS))),
    }


def _likeness(found: Array, wanted: Array) -> dict[str, float]:
    """`agreement`, without the cosine where the vectors are of different widths."""
    if found.shape == wanted.shape:
        return agreement(found, wanted)
    width = max(found.shape[1], wanted.shape[1])
    wider = [
        np.pad(vectors, ((0, 0), (0, width - vectors.shape[1]))) for vectors in (found, wanted)
    ]
    return {"correlation": agreement(*wider)["correlation"]}


def _once(embed: Embed) -> Embed:
    """The same vectors, each text embedded the first time only."""
    known: dict[str, Array] = {}

    def vectors(texts: Sequence[str]) -> Array:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, embed(new), strict=True))
        return np.stack([known[text] for text in texts])

    return vectors
