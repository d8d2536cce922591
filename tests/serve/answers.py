"""What a site answers, beside what the command line prints of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import Run
from tests.serve.conftest import Site


def printed(soundsearch: Run, site: Site, *arguments: object) -> dict[str, Any]:
    """What the command line says in its place."""
    facts: dict[str, Any] = json.loads(
        soundsearch(*arguments, "--json", "--index", site.index).stdout
    )
    return facts


def answered(site: Site, path: str, **values: Any) -> dict[str, Any]:
    answer = site.client.get(path, **values)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    facts: dict[str, Any] = answer.json
    return facts


def names(facts: dict[str, Any]) -> list[str]:
    return [Path(hit["path"]).name for hit in facts["hits"]]
