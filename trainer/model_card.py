"""model_card.md, written by the program from what was used and measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from soundsearch.bundle import EncoderBundle, sha256_of

NAME = "model_card.md"
#: Rows of the table that stands for a training log.
CURVE_ROWS = 10
#: What stands in a log beside what was measured.
NOT_MEASURED = frozenset({"step", "loss", "rate", "norm", "seconds"})


def render(bundle: EncoderBundle, command: str, sections: Mapping[str, str]) -> str:
    """The card as Markdown. command: how the bundle was made. sections: heading -> text."""
    body = "\n\n".join(f"## {heading}\n\n{text.strip()}" for heading, text in sections.items())
    return f"""# {bundle.name} {bundle.version}

{bundle.description.rstrip(".")}. Texts and windows of {bundle.audio.window_s:g} s of sound become vectors of
{bundle.dim} numbers in one space. Licence of these weights: {bundle.licence}

Made by `{command}`. {bundle.provenance}

{body}
"""


def finish(bundle: EncoderBundle, results: Mapping[str, Any]) -> EncoderBundle:
    """The bundle with its results and with the card among its files."""
    files = {**bundle.files, NAME: sha256_of(bundle.folder / NAME)}
    return dataclasses.replace(bundle, results=dict(results), files=files)


def results_tables(
    results: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """Measured numbers by title, each with the command that gives them again, as tables.

    others: results of other runs by what stands over their column; a number they lack is left empty.
    """
    runs = {"": results, **(others or {})}
    names = "".join(f" {name} |" for name in others or {})
    head = f"| | |{names}\n|{' --- |' * (len(runs) + 1)}"
    parts = []
    for title, found in results.items():
        about = [
            value for name, value in found.items() if isinstance(value, str) and name != "command"
        ]
        shown = f"{title} ({', '.join(about)})" if about else title
        rows = "\n".join(
            f"| {' | '.join((name.replace('_', ' '), *_of_runs(runs, title, name)))} |"
            for name, value in found.items()
            if not isinstance(value, str)
        )
        parts.append(f"{shown}, by `{found['command']}`:\n\n{head}\n{rows}")
    return "\n\n".join(parts)


def _of_runs(runs: Mapping[str, Mapping[str, Any]], title: str, name: str) -> list[str]:
    return [str(results.get(title, {}).get(name, "")) for results in runs.values()]


def curve(path: Path, title: str, columns: Sequence[str]) -> str:
    """Some ten lines of a training log as a table: those that have all columns, if any has."""
    records = read_log(path)
    checked = [r for r in records if all(name in r for name in columns)] or records[-1:]
    shown = checked[:: max(1, len(checked) // CURVE_ROWS)]
    if shown and shown[-1] is not checked[-1]:
        shown.append(checked[-1])
    head = " | ".join(("step", *(name.replace("_", " ") for name in columns)))
    lines = [" | ".join(str(r.get(name, "")) for name in ("step", *columns)) for r in shown]
    body = "\n".join(f"| {line} |" for line in lines)
    return f"{title}:\n\n| {head} |\n|{' --- |' * (len(columns) + 1)}\n{body}"


def columns_of(path: Path) -> tuple[str, ...]:
    """The losses and checks that stand in a log.jsonl: loss first, then as they come."""
    names = dict.fromkeys(name for record in read_log(path) for name in record)
    return ("loss", *(name for name in names if name not in NOT_MEASURED))


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log.jsonl; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def as_json(config: object) -> str:
    """Settings as a block of JSON."""
    return f"```json\n{json.dumps(config, indent=2, default=str, ensure_ascii=False)}\n```"
