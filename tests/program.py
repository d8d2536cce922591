"""The command line as a process of its own, for what only a process can show."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "soundsearch"]
#: The same, but every recording is committed as soon as it is finished.
COMMITTING_AT_ONCE = [
    sys.executable,
    "-c",
    "from indexer import embedding; embedding.COMMIT_S = 0.0; "
    "from soundsearch.cli import app; app(prog_name='soundsearch')",
]
#: The same, and it kills itself when a function is called for the n-th time: SOUNDSEARCH_KILL_AT is
#: "module:function:n".
KILLING_ITSELF = [
    sys.executable,
    "-c",
    """
import functools, importlib, operator, os, signal
from indexer import embedding
from soundsearch.cli import app

def kill_at(module, function, n):
    *owner, name = function.split(".")
    place = functools.reduce(getattr, owner, importlib.import_module(module))
    original, calls = getattr(place, name), 0

    @functools.wraps(original)
    def counted(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == int(n):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(place, name, counted)

embedding.COMMIT_S = 0.0
kill_at(*os.environ["SOUNDSEARCH_KILL_AT"].split(":"))
app(prog_name="soundsearch")
""",
]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with the packages under test found from any folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def soundsearch(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end; stdout and stderr come as bytes."""
    return subprocess.run(
        [*COMMAND, *(os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments)],
        timeout=60,
        **{
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "env": environment(),
            "check": False,
            **options,
        },
    )


def start(
    *arguments: object, command: list[str] = COMMAND, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own, in which Ctrl-C counts.

    A shell starts what runs in the background with SIGINT ignored, and children inherit that.
    """
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **{"env": environment(), **options},
    )


@contextlib.contextmanager
def another_writer(index: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the writer's lock of an index until the end of the block."""
    program = (
        "import sys; from pathlib import Path; from soundsearch.store import Store\n"
        "with Store(Path(sys.argv[1])).writer(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(index)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
