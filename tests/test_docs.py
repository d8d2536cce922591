"""What the documents say is what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sounds
from tests.cli_docs import commands, render
from tests.conftest import ROOT, Run
from tests.tiny_encoder import BAND_HZ, WORDS

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_command_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == render(), "write it anew with: make docs"


@pytest.mark.parametrize("names", [names for names in commands() if names], ids=" ".join)
def test_every_command_is_described_with_an_example(names: tuple[str, ...]) -> None:
    page = render()
    section = page.split(f"## soundsearch {' '.join(names)}\n", 1)[1].split("\n## ", 1)[0]
    is_group = any(other[: len(names)] == names and other != names for other in commands())
    assert is_group or f"Example: soundsearch {' '.join(names)}" in section


def test_python_example_of_the_readme_runs(soundsearch: Run, tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    for word, hz in zip(WORDS, BAND_HZ, strict=True):
        sounds.write(tmp_path / "sounds" / f"{word}.wav", sounds.tone(hz))
    soundsearch("index", tmp_path / "sounds", "--index", tmp_path / "my-index")
    sounds.write(tmp_path / "door.wav", sounds.tone(BAND_HZ[7]))
    ran = subprocess.run(
        [sys.executable, "-c", example[1]], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    assert "hiss.wav" in ran.stdout


def test_links_of_the_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    assert len(pages) > 10
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_numbered_decisions_are_listed() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("0*.md"))
    listed = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in pages] == re.findall(r"\((0\d+-[a-z-]+\.md)\)", listed)
