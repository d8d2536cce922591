"""The help of every command as one page: `python -m tests.cli_docs docs/cli.md` writes it."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

from soundsearch.cli import app

HEAD = """# The command line

Made from the program by `make cli-docs`; a test holds the two together.

Results go to stdout, progress and notes to stderr. Exit codes: 0 done, 1 an error (one line says
what, and the way out), 2 wrong usage, 130 stopped by Ctrl-C. A file that cannot be used costs one
line and does not change the exit code.

Environment: `SOUNDSEARCH_INDEX` (folder of the index) and `SOUNDSEARCH_MODELS` (folder of your own
encoders).
"""


def commands(group: Any = None, names: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """All commands, groups before what is in them."""
    group = group or typer.main.get_command(app)
    found = [names]
    for name, command in getattr(group, "commands", {}).items():
        found += commands(command, (*names, name))
    return found


@functools.cache
def render() -> str:
    """The whole page."""
    runner = CliRunner()
    page = HEAD
    for names in commands():
        title = " ".join(("soundsearch", *names))
        help_text = runner.invoke(
            app,
            [*names, "--help"],
            prog_name="soundsearch",
            terminal_width=96,
            env={"COLUMNS": "96", "NO_COLOR": "1", "SOUNDSEARCH_INDEX": ""},
        ).output
        page += f"\n## {title}\n\n```\n{help_text.rstrip()}\n```\n"
    return page


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
