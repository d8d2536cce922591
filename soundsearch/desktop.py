"""Programs of the desktop: the one that opens a file, and the file manager that shows where it lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from soundsearch.errors import SoundsearchError

#: Seconds to wait for a program that shows something; it may run for longer.
PATIENCE_S = 5.0
#: How a file manager of a Linux desktop is asked to select files.
SHOW_ITEMS = [
    "--session",
    "--print-reply",
    "--reply-timeout=4000",
    "--dest=org.freedesktop.FileManager1",
    "--type=method_call",
    "/org/freedesktop/FileManager1",
    "org.freedesktop.FileManager1.ShowItems",
]


def open_file(path: Path) -> None:
    """Open a file with the program that the system has for it.

    Raises:
        SoundsearchError: The system has none, or it fails.
    """
    system = _system()
    if system == "win32":
        os.startfile(path)  # type: ignore[attr-defined]
    else:
        _show("open" if system == "darwin" else "xdg-open", [str(path)], "--open")


def reveal(path: Path) -> None:
    """Show the folder of a file, with the file selected where the system can.

    Raises:
        SoundsearchError: The system has no file manager, or it fails.
    """
    system = _system()
    if system == "win32":
        _shown("explorer", ["/select,", str(path)])  # its exit code is 1 when all went well
    elif system == "darwin":
        _show("open", ["-R", str(path)], "--reveal")
    elif not _selected(path):
        _show("xdg-open", [str(path.parent)], "--reveal")


def _selected(path: Path) -> bool:
    """Whether the file manager of a Linux desktop selects the file."""
    program = shutil.which("dbus-send")
    if program is None:
        return False
    address = path.as_uri().replace(",", "%2C")  # a comma ends an element of an array
    return _shown(program, [*SHOW_ITEMS, f"array:string:{address}", "string:"]) == 0


def _show(name: str, arguments: list[str], option: str) -> None:
    """Run a program that shows something. Raises SoundsearchError if there is none or it fails."""
    program = shutil.which(name)
    if program is None:
        raise SoundsearchError(
            f"{option}: no program was found (looked for {name}); install it, or print the paths "
            "with --paths"
        )
    code = _shown(program, arguments)
    if code:
        raise SoundsearchError(
            f"{option}: {program} ended with exit code {code}; it needs a desktop and a program for "
            f"{arguments[-1]}; print the paths with --paths"
        )


def _shown(program: str, arguments: list[str]) -> int | None:
    """The exit code of a program without its messages; None if it runs on after PATIENCE_S."""
    process = started(program, arguments, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        threading.Thread(target=process.wait, daemon=True).start()
        return None


def started(program: str, arguments: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a program. Standard output is for results alone, so what it writes there is lost.

    Raises:
        SoundsearchError: It cannot be started.
    """
    try:
        return subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, **options)
    except OSError as error:
        raise SoundsearchError(f"{program} cannot be started ({error.strerror})") from error


def _system() -> str:
    return sys.platform
