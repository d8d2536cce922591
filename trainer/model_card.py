"""Write model_card.md and training.json of a bundle from its settings and measurements."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.files import sha256_of

NAME = "model_card.md"
#: Name of the file with every setting of the training.
SETTINGS = "training.json"
NO_LICENCE = "not stated"
#: Licences that have a name on the Hugging Face hub.
HUB_LICENCES = frozenset(
    [
        "apache-2.0",
        "mit",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "gpl-3.0",
        "lgpl-3.0",
        "mpl-2.0",
        "openrail",
        "unlicense",
    ]
)
TAGS = ("audio", "sound", "audio-retrieval", "text-to-audio-retrieval")
#: Rows of the table of a training log.
CURVE_ROWS = 10
#: Entries of a log that are not measurements.
NOT_MEASURED = frozenset({"step", "epoch", "loss", "rate", "norm", "seconds"})


def write(
    bundle: EncoderBundle,
    command: str,
    sections: Mapping[str, str],
    settings: Mapping[str, Any] | None = None,
) -> EncoderBundle:
    """Write the card, and the settings if there are any, into the bundle's folder.

    Args:
        bundle: The bundle; its bundle.json is not written.
        command: Command that makes the bundle.
        sections: Heading -> text, in order.
        settings: All settings of the training.

    Returns:
        The bundle with the new files added to `files`.
    """
    names = [NAME]
    if settings is not None:
        text = json.dumps(settings, indent=2, default=str, ensure_ascii=False)
        (bundle.folder / SETTINGS).write_text(f"{text}\n", encoding="utf-8")
        link = f"Every setting it was made with: [{SETTINGS}]({SETTINGS})."
        sections = {**sections, "Configuration": link}
        names.append(SETTINGS)
    (bundle.folder / NAME).write_text(render(bundle, command, sections), encoding="utf-8")
    hashes = {name: sha256_of(bundle.folder / name) for name in names}
    return dataclasses.replace(bundle, files={**bundle.files, **hashes})


def render(bundle: EncoderBundle, command: str, sections: Mapping[str, str]) -> str:
    """Return the card as Markdown with a YAML head for the Hugging Face hub. Arguments as `write`."""
    body = "\n\n".join(f"## {heading}\n\n{text.strip()}" for heading, text in sections.items())
    return f"""---
{_head(bundle.licence).to_yaml()}
---

# {bundle.name} {bundle.version}

{bundle.description.rstrip(".")}. Texts and windows of {bundle.audio.window_s:g} s of sound become vectors of
{bundle.dim} numbers in one space. Licence of these weights: {bundle.licence}

Made by `{command}`. {bundle.provenance.removesuffix(f" See {NAME}.")}

{body}
"""


def _head(licence: str) -> ModelCardData:
    """Return the metadata for the hub. A licence without a name there is given in words."""
    facts: dict[str, Any] = {"language": "en", "library_name": "soundsearch", "tags": list(TAGS)}
    named = licence.split(",")[0].lower()
    if named in HUB_LICENCES:
        return ModelCardData(license=named, **facts)
    if licence == NO_LICENCE:
        return ModelCardData(**facts)
    return ModelCardData(license="other", license_name=licence, **facts)


def results_tables(
    results: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """Return tables of measurements, one a title, each with the command that reproduces it.

    Args:
        results: Title -> name -> number, with the command under "command".
        others: Heading of a further column -> results of another run; missing numbers stay empty.
    """
    runs = {"": results, **(others or {})}
    names = "".join(f" {name} |" for name in others or {})
    head = f"| | |{names}\n|{' --- |' * (len(runs) + 1)}"
    parts = []
    for title, found in results.items():
        about = [
            value for name, value in found.items() if isinstance(value, str) and name != "command"
        ]
        heading = f"{title} ({', '.join(about)})" if about else title
        rows = "\n".join(
            f"| {' | '.join((name.replace('_', ' '), *_of_runs(runs, title, name)))} |"
            for name, value in found.items()
            if not isinstance(value, str)
        )
        parts.append(f"{heading}, by `{found['command']}`:\n\n{head}\n{rows}")
    return "\n\n".join(parts)


def _of_runs(runs: Mapping[str, Mapping[str, Any]], title: str, name: str) -> list[str]:
    return [str(results.get(title, {}).get(name, "")) for results in runs.values()]


def curve(path: Path, title: str, columns: Sequence[str]) -> str:
    """Return some ten records of a training log as a table, of those that have all columns."""
    records = read_log(path)
    checked = [r for r in records if all(name in r for name in columns)] or records[-1:]
    rows = checked[:: max(1, len(checked) // CURVE_ROWS)]
    if rows and rows[-1] is not checked[-1]:
        rows.append(checked[-1])
    head = " | ".join(("step", *(name.replace("_", " ") for name in columns)))
    lines = [" | ".join(str(r.get(name, "")) for name in ("step", *columns)) for r in rows]
    body = "\n".join(f"| {line} |" for line in lines)
    return f"{title}:\n\n| {head} |\n|{' --- |' * (len(columns) + 1)}\n{body}"


def columns_of(path: Path) -> tuple[str, ...]:
    """Return the names of losses and checks in a log.jsonl: loss first, the others in order."""
    names = dict.fromkeys(name for record in read_log(path) for name in record)
    return ("loss", *(name for name in names if name not in NOT_MEASURED))


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the records of a log.jsonl; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
