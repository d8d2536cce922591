"""What the documents say is what the program does."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer.main
import yaml

import soundsearch
from docs.links import on_page_markdown
from soundsearch.cli import app
from tests import sounds
from tests.cli_docs import commands, render
from tests.conftest import ROOT, Run
from tests.tiny_encoder import BAND_HZ, WORDS

README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Pages that the site holds.
SITE = sorted((ROOT / "docs").rglob("*.md"))
#: All pages for people.
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *SITE,
    *(ROOT / name / "README.md" for name in ("benchmarks", "examples", "examples/pivot_world")),
    ROOT / "recipes" / "starter" / "README.md",
]


def test_command_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == render(), "write it anew with: make cli-docs"


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_the_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_links_of_the_documents_are_found() -> None:
    """The pattern above matches what Markdown takes for a link."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", README)
    assert "docs/tutorial.md" in links


def named_pages(nav: Any) -> list[str]:
    """Pages that a navigation of mkdocs names, in order."""
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [page for entry in entries for page in named_pages(entry)]


def test_every_page_stands_once_in_the_navigation() -> None:
    """Single decisions do not; the list of decisions leads to them."""
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in SITE]
    pages = [page for page in pages if not page.startswith("adr/0")]
    assert sorted(named_pages(nav)) == sorted(pages)


def test_the_site_fetches_no_fonts() -> None:
    assert (
        yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["theme"]["font"] is False
    )


def commands_in(page: Path) -> list[list[str]]:
    """The words of each command line of soundsearch in the page's blocks of code."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [re.search(r"(?:^|[|;&] ?|\$ |\bif ! )soundsearch .*", line) for line in lines]
    return [words_of(match[0]) for match in found if match]


def words_of(line: str) -> list[str]:
    line = line[line.index("soundsearch") :].split(" # ")[0]
    line = re.split(r" (?:[|;<]|\d?>|&&) ?|; ", line)[0]
    return shlex.split(line)[1:]


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if commands_in(page)],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_commands_of_the_pages_exist_with_their_options(page: Path) -> None:
    for words in commands_in(page):
        command: Any = typer.main.get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert command.name is not None or words == ["--help"], words
        known = {name for option in command.params for name in option.opts}
        used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known | {"--help"}, f"{command.name}: {used - known}"


def test_commands_are_found_in_the_pages() -> None:
    assert ["similar", "-", "-k", "1"] in commands_in(ROOT / "docs/how-to/scripts.md")
    assert ["index", "Sounds"] in commands_in(ROOT / "README.md")


def test_no_line_of_the_readme_is_over_100_characters() -> None:
    assert max(map(len, README.splitlines())) <= 100


def test_links_out_of_the_site_become_paths() -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="how-to/nas.md"))
    for markdown, expected in (
        ("[Scores](../scores.md)", "[Scores](../scores.md)"),
        ("the [card](../../soundsearch/card.md).", "the card (`soundsearch/card.md`)."),
        ("[`card.md`](../../soundsearch/card.md)", "`soundsearch/card.md`"),
        ("[paper](https://arxiv.org/abs/1)", "[paper](https://arxiv.org/abs/1)"),
    ):
        assert on_page_markdown(markdown, page) == expected


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == soundsearch.__version__


@pytest.mark.parametrize("package", ["soundsearch", "indexer", "trainer"])
def test_readers_of_types_find_the_packages_typed(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert (ROOT / package / "py.typed").is_file()
    assert "py.typed" in project["tool"]["setuptools"]["package-data"][package]


@pytest.mark.parametrize(
    "package",
    [
        *("soundsearch", "soundsearch/audio", "soundsearch/encoder", "soundsearch/search"),
        *("trainer", "trainer/convert", "trainer/data"),
    ],
)
def test_the_architecture_names_every_module(package: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = {path.name for path in (ROOT / package).glob("[!_]*.py")}
    assert modules <= set(re.findall(r"\w+\.py", page))


def test_every_public_method_of_an_index_is_described() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    listed = re.search(r"::: soundsearch\.Index\n    options:\n      members: \[(.*)\]", page)
    assert listed is not None
    methods = {name for name, value in vars(soundsearch.Index).items() if callable(value)}
    assert sorted(listed[1].split(", ")) == sorted(n for n in methods if not n.startswith("_"))


def test_numbered_decisions_are_listed() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("0*.md"))
    listed = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in pages] == re.findall(r"\((0\d+-[a-z-]+\.md)\)", listed)
