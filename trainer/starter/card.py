"""model_card.md, written by the program from what was used and measured."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from soundsearch.bundle import EncoderBundle, sha256_of
from trainer.data.manifests import Clip, of_split
from trainer.starter.config import StarterConfig

NAME = "model_card.md"
COMMAND = "soundsearch train starter DATA --run RUN --out BUNDLE"
PROVENANCE = (
    "Audio tower trained from random weights on about 7,000 freely licensed recordings with "
    "captions; text tower distilled from all-MiniLM-L6-v2 (Apache-2.0). See model_card.md."
)


def render(
    bundle: EncoderBundle,
    results: Mapping[str, Any],
    config: StarterConfig,
    clips: Sequence[Clip],
    failed: Mapping[str, str],
    run_folder: Path,
) -> str:
    """The card as Markdown."""
    heard = [clip for clip in clips if str(clip.path) not in failed]
    train, valid = of_split(heard, "train"), of_split(heard, "valid")
    captions = {clip.caption for clip in train}
    queries = {clip.caption for clip in valid if clip.label is None}
    used = Counter((clip.source, clip.licence) for clip in train)
    rows = "\n".join(f"| {source} | {terms} | {n} |" for (source, terms), n in sorted(used.items()))
    terms = Counter(clip.licence for clip in train).most_common()
    return f"""# {bundle.name} {bundle.version}

{bundle.description}. Texts and windows of {bundle.audio.window_s:g} s of sound become vectors of
{bundle.dim} numbers in one space. Licence of these weights: {bundle.licence}.

Made by `{COMMAND}`; every constant stands below and in `trainer/starter/config.py`.

## Measured

{_results(results)}

A query is a distinct caption of the validation split, a hit any recording with that caption, and
a recording scores what its best window scores. Of the {len(queries)} queries,
{len(queries & captions)} also stand over other recordings in the training split.

## Limits

- English only. The captions were made from file names, folders and descriptions; few were written
  by someone who listened.
- Short sounds: half of the recordings it learnt from last under two seconds. A scene in which
  much happens is heard as whatever its loudest sound resembles.
- {len(train):,} recordings are little. Sounds that are not among them are found by the neighbourhood of
  their words, which works for a dog of another breed and not for a thing unlike anything heard.
- It does not transcribe speech, and it recognises no one.

## What it learnt from

Recordings: {len(train):,} of the training split, under {len(captions):,} captions. From the {len(valid):,} of the
validation split come only the numbers in this card. {len(terms)} ways of stating a licence occur, most
often {", ".join(f"{name} ({n})" for name, n in terms[:5])}.
Some may not be passed on as files; no recording is part of this bundle. By source:

| source | licence | recordings |
| --- | --- | --- |
{rows}

Texts, for the text tower only: captions of AudioCaps' training split (MIT), names and definitions
of the AudioSet ontology (CC-BY-SA 4.0), the captions and tags above, and the words of the
tokenizer's vocabulary. Teacher of the text tower: all-MiniLM-L6-v2 (Apache-2.0), whose tokenizer
and first weights it has.

## Training

{_curve(run_folder / "distil" / "log.jsonl", "Text tower", ("loss", "held_out_cosine", "held_out_correlation"))}

{_curve(run_folder / "align" / "log.jsonl", "Audio tower", ("loss", "valid_recall_at_10", "valid_esc10"))}

## Configuration

```json
{json.dumps(dataclasses.asdict(config), indent=2, default=str)}
```
"""


def finish(bundle: EncoderBundle, results: Mapping[str, Any]) -> EncoderBundle:
    """The bundle with its results and with the card among its files."""
    files = {**bundle.files, NAME: sha256_of(bundle.folder / NAME)}
    return dataclasses.replace(bundle, results=dict(results), files=files)


def _results(results: Mapping[str, Any]) -> str:
    parts = []
    for title, found in results.items():
        about = ", ".join(
            str(value)
            for name, value in found.items()
            if isinstance(value, str) and name != "command"
        )
        numbers = "\n".join(
            f"| {name.replace('_', ' ')} | {value} |"
            for name, value in found.items()
            if not isinstance(value, str)
        )
        parts.append(
            f"{title} ({about}), by `{found['command']}`:\n\n| | |\n| --- | --- |\n{numbers}"
        )
    return "\n\n".join(parts)


def _curve(path: Path, title: str, columns: Sequence[str]) -> str:
    """Some ten lines of a training log as a table."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    checked = [r for r in records if all(name in r for name in columns)] or records[-1:]
    shown = checked[:: max(1, len(checked) // 10)]
    if shown[-1] is not checked[-1]:
        shown.append(checked[-1])
    head = " | ".join(("step", *(name.replace("_", " ") for name in columns)))
    lines = [" | ".join(str(r.get(name, "")) for name in ("step", *columns)) for r in shown]
    body = "\n".join(f"| {line} |" for line in lines)
    return f"{title}:\n\n| {head} |\n|{' --- |' * (len(columns) + 1)}\n{body}"
