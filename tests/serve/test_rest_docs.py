"""The examples of docs/rest.md run."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from soundsearch.serve.endpoints import ENDPOINTS
from tests.conftest import ROOT
from tests.serve.conftest import Site
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ

PAGE = (ROOT / "docs" / "rest.md").read_text(encoding="utf-8")
EXAMPLES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("curl ")
]
#: What curl ends with where the time is over, as for a stream that never ends.
TIMED_OUT = 28


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_examples_run(own_site: Site, tmp_path: Path) -> None:
    work = tmp_path / "work"
    write(work / "door.wav", tone(BAND_HZ[7]))
    assert len(EXAMPLES) == PAGE.count("\ncurl ") - 1  # one needs another computer
    for example in EXAMPLES:
        is_stream = "/events" in example
        command = example.replace("curl ", f"curl --max-time {3 if is_stream else 60} --fail ", 1)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=work,
            env={"ADDRESS": own_site.client.origin, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == (TIMED_OUT if is_stream else 0), (example, done.stdout)
        if is_stream:
            assert b"data: {" in done.stdout
        elif " -o " not in example:
            assert json.loads(done.stdout)["schema"] == 1
    assert (work / "passage.wav").read_bytes()[:4] == b"RIFF"
    assert len((work / "head.part").read_bytes()) > 1000
    with zipfile.ZipFile(io.BytesIO((work / "basket.zip").read_bytes())) as archive:
        assert len(archive.namelist()) == 2


def test_every_request_and_parameter_is_described() -> None:
    for endpoint in ENDPOINTS:
        assert endpoint.path.replace("{id:number}", "ID").removeprefix("/api") in PAGE
        for parameter in endpoint.parameters:
            assert re.search(rf"[`?&{{\"]{parameter.name}[`=\"]", PAGE), parameter.name
