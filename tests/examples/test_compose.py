"""The containers of examples/compose.yaml fit together; none is started here."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def file() -> dict[str, Any]:
    text = (ROOT / "examples" / "compose.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Names of the volumes of a service, by where they lie in it."""
    pairs = [re.sub(r"\$\{.*?\}", "ARCHIVE", volume).split(":") for volume in service["volumes"]]
    return {where: name for name, where, *_ in pairs}


def test_workers_and_index_share_a_volume_for_parts(file: dict[str, Any]) -> None:
    """An index in a database takes no parts of its own, and worker and index are two containers."""
    services = file["services"]
    words = shlex.split(services["index"]["command"])
    assert words[:2] == ["soundsearch", "index"]
    assert words[words.index("--workers") + 1].startswith("dask://scheduler:")
    parts = words[words.index("--parts") + 1]
    assert services["index"]["environment"]["SOUNDSEARCH_INDEX"].startswith("postgresql://")
    (name,) = {mounts(services[service]).get(parts) for service in ("worker", "index")}
    assert name in file["volumes"]


def test_the_user_of_the_image_may_write_its_volumes(file: dict[str, Any]) -> None:
    """A new volume is root's, unless the image has a folder there that is the user's."""
    lines = file["x-soundsearch"]["build"]["dockerfile_inline"].splitlines()
    made = lines[lines.index("USER listener") :]
    folders = {word for line in made if line.startswith("RUN mkdir ") for word in line.split()[2:]}
    named = {
        where for where, name in mounts(file["x-soundsearch"]).items() if name in file["volumes"]
    }
    assert named and named <= folders


def test_its_commands_have_the_options_that_they_name(
    file: dict[str, Any], soundsearch: Any
) -> None:
    for service in file["services"].values():
        words = shlex.split(service.get("command", ""))
        if words[:1] == ["soundsearch"]:
            help_of = soundsearch(words[1], "--help").stdout
            for option in (word for word in words if word.startswith("--")):
                assert re.search(rf"{option}\b", help_of), option
