"""Make the picture of the page: python docs/picture.py docs/images/page.png.

Writes the demo library, indexes it, serves it, asks a question in chromium and takes a picture.
Needs Playwright (in the dev extra) and chromium.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

QUESTION = "thunder duration:>3"
SIZE = {"width": 1180, "height": 640}
#: Paths in the picture begin with this folder.
SOUNDS = Path(tempfile.gettempdir()) / "Sounds"


@contextlib.contextmanager
def served_demo() -> Iterator[str]:
    """Serve the demo library; gives the address."""
    command = [sys.executable, "-m", "soundsearch"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run([*command, "demo", SOUNDS], check=True)
            subprocess.run([*command, "index", SOUNDS, "--index", folder], check=True)
            server = subprocess.Popen(
                [*command, "serve", "--index", folder, "--port", "0"],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert server.stdout is not None
            yield server.stdout.readline().strip()
            server.send_signal(signal.SIGINT)
            server.communicate()
        finally:
            shutil.rmtree(SOUNDS)


def take(address: str, path: Path) -> None:
    """Ask the question, play the second hit, and write the picture."""
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    flags = ["--autoplay-policy=no-user-gesture-required", "--mute-audio", *sandbox]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
        page.goto(address)
        for text in ("", QUESTION, "", QUESTION):  # the first one waits for what is loaded
            page.fill("#text", text)
            page.locator(".hit").nth(9).wait_for(state="visible" if text else "detached")
        page.wait_for_load_state("networkidle")
        page.locator(".hit .play").nth(1).click()
        page.mouse.move(0, 0)
        page.wait_for_timeout(700)
        page.screenshot(path=path)
        browser.close()


def main() -> None:
    """Make the picture."""
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/picture.py PICTURE.png")
    if SOUNDS.exists():
        sys.exit(f"{SOUNDS}: is there already, and would be written and deleted; move it away")
    path = Path(sys.argv[1]).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with served_demo() as address:
        take(address, path)


if __name__ == "__main__":
    main()
