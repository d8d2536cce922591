"""What the starter's model_card.md says, from what was used and measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.files import write_text
from trainer import model_card
from trainer.data.manifests import Recording, of_split
from trainer.starter.config import StarterConfig

#: In a run folder: what examples/starter_study.py measured, for the card.
STUDY = "study.json"
COMMAND = "soundsearch train starter DATA --run RUN --out BUNDLE"
PROVENANCE = (
    "Audio tower trained from random weights on about 7,000 freely licensed recordings with "
    "captions and on mixtures of them, with the AudioSet tagger YAMNet (Apache-2.0) as a teacher; "
    "text tower distilled from all-MiniLM-L6-v2 (Apache-2.0). See model_card.md."
)
#: Over the column of another run's numbers, and what they are good for.
REPEAT = "another run"
ABOUT_REPEAT = """
The other run had another seed for every random choice, from the scenes on. What differs by no more than
the two runs do is noise.
"""
#: Heads of the study's columns, by what they are called in a training log.
STUDIED = {
    "valid_recall_at_1": "R@1",
    "valid_recall_at_10": "R@10",
    "valid_esc10": "ESC-10",
    "valid_held_out": "held-out classes",
    "valid_held_out_by_class": "mean of classes",
}


def note_study(
    run_folder: Path, title: str, command: str, rows: Mapping[str, Mapping[str, float]]
) -> None:
    """Add a table to the run folder's STUDY, in place of the one by the same command.

    rows: shares by the names of STUDIED, for each variant.
    """
    tables = read_study(run_folder)
    tables[command] = {"title": title, "rows": {name: dict(row) for name, row in rows.items()}}
    write_text(run_folder / STUDY, json.dumps(tables, indent=2))


def read_study(run_folder: Path) -> dict[str, Any]:
    """The tables of the run folder's STUDY by command; none if there is no such file."""
    path = run_folder / STUDY
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def study_table(command: str, title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """The study's numbers in percent, as Markdown."""
    lines = [
        f"| {' | '.join(('', *STUDIED.values()))} |",
        f"| --- |{' ---: |' * len(STUDIED)}",
    ]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(f'{100 * row[which]:.1f}' for which in STUDIED)} |")
    return f"{title}, by `{command}`:\n\n" + "\n".join(lines)


def _study(run_folder: Path) -> str:
    """What each part brings; empty where that was not measured."""
    tables = read_study(run_folder)
    if not tables:
        return ""
    shown = "\n\n".join(study_table(command, **found) for command, found in tables.items())
    return f"""
Audio towers trained like this one, but without whole families of sounds: forty classes of these are asked
for by name, and no recording that was trained on is called by one. In percent.

{shown}"""


def sections(
    bundle: EncoderBundle,
    config: StarterConfig,
    clips: Sequence[Recording],
    failed: Mapping[str, str],
    run_folder: Path,
    repeat: EncoderBundle | None = None,
) -> dict[str, str]:
    """The card's sections: heading -> text. bundle: with its results. repeat: what another run of the same recipe gave."""
    heard = [clip for clip in clips if str(clip.path) not in failed]
    train, valid = of_split(heard, "train"), of_split(heard, "valid")
    study = _study(run_folder)
    return {
        "Measured": _measured(bundle.results, train, valid, repeat),
        **({"What each part brings": study} if study else {}),
        "Limits": _limits(bundle.dim, config, train),
        "What it learnt from": _learnt_from(config, train, valid),
        "Training": _training(run_folder),
    }


def _measured(
    results: Mapping[str, Any],
    train: Sequence[Recording],
    valid: Sequence[Recording],
    repeat: EncoderBundle | None,
) -> str:
    queries = {clip.caption for clip in valid if clip.label is None}
    n_known = len(queries & {clip.caption for clip in train})
    return f"""
{model_card.results_tables(results, {REPEAT: repeat.results} if repeat else None)}
{ABOUT_REPEAT if repeat else ""}
A query is a distinct caption of the validation split, a hit any recording with that caption, and
a recording scores what its best window scores. Of the {len(queries)} queries,
{n_known} also stand over other recordings in the training split. Settings were chosen on this split, and the
curves behind "scores from 0 to 1" were fitted on it, so all numbers are a little flattered."""


def _limits(dim: int, config: StarterConfig, train: Sequence[Recording]) -> str:
    return f"""
- English only. The captions were made from file names, folders and descriptions; few were written
  by someone who listened.
- Short sounds: half of the recordings it learnt from last under two seconds. A scene in which
  much happens is heard as whatever its loudest sound resembles.
- {len(train):,} recordings are few. Sounds that are not among them are known from the tagger's opinion of
  scenes alone, and from the neighbourhood of their words. {config.tags.dim} of the {dim} numbers are that
  opinion (`trainer/starter/tag_space.py`): of a text, its likeness to the tagger's classes, the shorter the more
  it is like a caption.
- "A and B" is not always told from A alone (two sounds at once, above); the order of two sounds, "no" and
  "without" hardly at all.
- It does not transcribe speech, and it recognises no one."""


def _learnt_from(
    config: StarterConfig, train: Sequence[Recording], valid: Sequence[Recording]
) -> str:
    captions = {clip.caption for clip in train}
    used = Counter((clip.source, clip.licence) for clip in train)
    rows = "\n".join(f"| {source} | {terms} | {n} |" for (source, terms), n in sorted(used.items()))
    terms = Counter(clip.licence for clip in train).most_common()
    return f"""
Recordings: {len(train):,} of the training split, under {len(captions):,} captions. The {len(valid):,} of the validation split
gave the numbers in this card and the two curves of the scores; no weight learnt from them. {len(terms)} ways of stating a licence occur, most
often {", ".join(f"{name} ({n})" for name, n in terms[:5])}.
Some may not be passed on as files; no recording is part of this bundle. By source:

| source | licence | recordings |
| --- | --- | --- |
{rows}

Teacher of the audio tower, beside the captions: the scores of YAMNet (TensorFlow Model Garden,
Apache-2.0; it learnt from AudioSet's labels) on {config.scenes.n_scenes:,} scenes made of these recordings, and on
{config.scenes.n_bent:,} sounds without a caption: recordings bent out of recognition, and calls made of nothing. None of its
weights are in this bundle, the vectors of its classes' names are. So labels took part in the training.

Texts, for the text tower only: captions of AudioCaps' training split (MIT), names and definitions
of the AudioSet ontology (CC-BY-SA 4.0), the captions and tags above, the words of the tokenizer's
vocabulary, and the phrases of soundsearch's own. Teacher of the text tower: all-MiniLM-L6-v2 (Apache-2.0), whose tokenizer
and first weights it has."""


def _training(run_folder: Path) -> str:
    text_columns = ("loss", "held_out_cosine", "held_out_correlation")
    audio_columns = ("loss", "captions", "tags", "valid_recall_at_10", "valid_esc10")
    return f"""
What is measured on the way comes from cached frames and is close to the tables above, not equal to them.

{model_card.curve(run_folder / "distil" / "log.jsonl", "Text tower", text_columns)}

{model_card.curve(run_folder / "align" / "log.jsonl", "Audio tower", audio_columns)}"""
