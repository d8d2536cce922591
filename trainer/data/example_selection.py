"""Which examples take part, and how often: filters by the ids of their sources, and weights.

    one id a line                       an example takes part if it is listed
    {"LABEL": ["ID", ...], ...}         the same, listed by class
    {"ID": [["ID", cosine], ...]}       a line for each seed: it and its nearest neighbours

Weights are one number a line, for the lines of the index beside them, or follow from the labels.
Source: VIP-ANT, `cvap/data/audioset_hub.py`, `cvap/data/audioset_cls.py`, and `note/audioset.md` of
audioset-dl.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.lines import ManifestError
from trainer.data.order import Numbers
from trainer.data.shard_folder import ShardFolder

#: Weights that follow from the labels of the examples, in place of a file.
BY_LABELS = "labels"
#: The name of a file of weights ends so; the rest is the name of its index.
WEIGHTS_ENDING = "_weight.csv"
EXPECTED = 'one id a line, {"LABEL": ["ID", ...]}, or {"ID": [["ID", cosine], ...]} a line'


def clip_id(source: str) -> str:
    """Return the id of an example's source: the name of its file, without folder and ending."""
    return os.path.splitext(os.path.basename(source))[0]


def read_filter(path: Path, top_k: int | None = None) -> frozenset[str]:
    """Return the ids that a filter lists.

    Args:
        path: The file.
        top_k: Of each seed's neighbours take so many, the nearest; None for all.

    Raises:
        ManifestError: The file cannot be read, or is none.
    """
    lines = list(_lines(path))
    if not lines:
        raise ManifestError(f"{path}: holds no ids; expected {EXPECTED}")
    if not lines[0][1].startswith("{"):
        return frozenset(line for _, line in lines)
    ids: set[str] = set()
    for seed, listed in _objects(path, lines):
        pairs = all(isinstance(one, list) and one and isinstance(one[0], str) for one in listed)
        if pairs:
            ids |= {seed, *(one[0] for one in listed[:top_k])}
        elif all(isinstance(one, str) for one in listed):
            ids |= set(listed)
        else:
            raise ManifestError(f"{path}: {seed} has no list of ids; expected {EXPECTED}")
    return frozenset(ids)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, each with its number."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8; expected {EXPECTED}") from error


def _objects(path: Path, lines: Sequence[tuple[int, str]]) -> Iterator[tuple[str, list[Any]]]:
    """Yield keys and lists of an object a line, or of one object over all lines."""
    try:
        json.loads(lines[0][1])
    except ValueError:
        lines = [(lines[0][0], "\n".join(line for _, line in lines))]
    for number, line in lines:
        try:
            found = json.loads(line)
        except ValueError as error:
            raise ManifestError(f"{path}: line {number}: not JSON ({error})") from error
        if not isinstance(found, dict) or not all(isinstance(v, list) for v in found.values()):
            raise ManifestError(f"{path}: line {number}: no lists by id; expected {EXPECTED}")
        yield from found.items()


def weights_of(name: str) -> dict[str, float] | None:
    """Return the weights of a file, or None for weights by labels. See `read_weights`."""
    return None if name == BY_LABELS else read_weights(Path(name))


def read_weights(path: Path) -> dict[str, float]:
    """Return the weight of each id: a number a line, for the index beside it.

    The index of NAME_weight.csv is NAME.csv, one JSON object a line with an id.

    Raises:
        ManifestError: A file cannot be read, a weight is bad, or the files have different lengths.
    """
    if not path.name.endswith(WEIGHTS_ENDING):
        raise ManifestError(
            f"{path}: expected a name that ends in {WEIGHTS_ENDING}, whose index is named like it; "
            f"or {BY_LABELS} in place of a file"
        )
    index = path.with_name(path.name.removesuffix(WEIGHTS_ENDING) + ".csv")
    ids = []
    for number, line in _lines(index):
        try:
            ids.append(str(json.loads(line)["id"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(f"{index}: line {number}: no JSON object with an id") from error
    weights = [_weight(line, f"{path}: line {number}") for number, line in _lines(path)]
    if len(weights) != len(ids):
        raise ManifestError(
            f"{path}: holds {len(weights)} weights, {index} {len(ids)} clips; they must be of one list"
        )
    return dict(zip(ids, weights, strict=True))


def _weight(text: str, where: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise ManifestError(f"{where}: a weight must be a number of 0 or more, not {text!r}")
    return weight


def label_weights(labels: Sequence[Sequence[str]]) -> list[float]:
    """Return the weight of each example: over its labels, the sum of 1,000 / (examples + 1)."""
    counts = Counter(label for some in labels for label in some)
    return [sum(1000.0 / (counts[label] + 1) for label in some) for some in labels]


def filtered(data: ShardFolder, examples: Iterable[Numbers], ids: frozenset[str]) -> list[Numbers]:
    """Return the examples of each shard whose sources are among the ids."""
    return [
        np.array([i for i in some if clip_id(shard.facts(int(i)).source) in ids], np.int64)
        for shard, some in ((data.open(n), some) for n, some in enumerate(examples))
    ]


def weighted(
    data: ShardFolder,
    examples: Sequence[Numbers],
    weights: Mapping[str, float] | None,
    n: int,
    seed: int,
) -> list[Numbers]:
    """Draw n examples with replacement, by weight; each shard's in order, with repetitions.

    Source: VIP-ANT, `running.weighted_sampling`.

    Args:
        data: The shards.
        examples: Of each shard, the examples that take part.
        weights: By id of the source, 0 for others; None for weights by labels.
        n: How many are drawn.
        seed: Of the draw.

    Raises:
        ManifestError: All weights are 0.
    """
    facts = [data.open(shard).facts(int(i)) for shard, some in enumerate(examples) for i in some]
    if weights is None:
        by_example = label_weights([one.labels for one in facts])
    else:
        by_example = [weights.get(clip_id(one.source), 0.0) for one in facts]
    total = math.fsum(by_example)
    if total == 0:
        what = "labels" if weights is None else "a weight"
        raise ManifestError(f"{data}: no example has {what}, so none can be drawn by it")
    shares = np.array(by_example) / total
    counts = np.random.default_rng((seed, 2)).multinomial(n, shares / shares.sum())
    ends = np.cumsum([len(some) for some in examples])[:-1]
    return [
        np.repeat(some, times) for some, times in zip(examples, np.split(counts, ends), strict=True)
    ]
