"""The page in a real browser, on a server of its own process, over a library of made sounds."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import soundsearch
from soundsearch.encoder.bundle import EncoderBundle
from tests.page.library import write_library
from tests.program import COMMAND, environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = os.environ.get("SOUNDSEARCH_CHROMIUM") or shutil.which("chromium")
HAS_PLAYWRIGHT = importlib.util.find_spec("playwright") is not None
#: Playwright waits so long for what is to come, in ms.
PATIENCE_MS = 120_000
STEP_MS = 40
#: Sound plays without a click, and the microphone gives a beep every second.
FLAGS = [
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--mute-audio",
]
#: Layout shifts of what nobody asked for, and the seconds from which sound was played.
WATCH = """
window.shifts = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
}).observe({ type: "layout-shift", buffered: true });
window.starts = [];
document.addEventListener("seeked", (event) => window.starts.push(event.target.currentTime), true);
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lacking = [
        *([] if HAS_PLAYWRIGHT else ["Playwright (pip install playwright)"]),
        *([] if CHROMIUM else ["chromium (apt-get install chromium, or SOUNDSEARCH_CHROMIUM)"]),
    ]
    if not lacking:
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f"no {' and no '.join(lacking)}"))


@dataclass
class Served:
    """A server and what it serves. library: the indexed folder."""

    address: str
    index: Path
    library: Path
    process: subprocess.Popen[str]


@contextmanager
def serving(index: Path, library: Path, *options: str) -> Iterator[Served]:
    """A `soundsearch serve` process."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--index", str(index), "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), address
        yield Served(address.rstrip("/"), index, library, process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


def make_index(folder: Path, bundle: EncoderBundle) -> tuple[Path, Path]:
    """A library of made sounds and an index of it."""
    library, index = folder / "library", folder / "index"
    write_library(library)
    soundsearch.index_folders(library, index, model=bundle.folder, jobs=1)
    return index, library


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, _tiny: EncoderBundle) -> Iterator[Served]:
    """One server for all tests that change nothing."""
    with serving(*make_index(tmp_path_factory.mktemp("served"), _tiny)) as started:
        yield started


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *sandbox])
        yield started
        started.close()


def until(page: Page, expression: str, argument: object = None) -> None:
    """Wait until an expression of JavaScript, or a function of the argument, is true.

    Playwright's own way would be code from a text, which the page forbids.
    """
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(expression, argument):
        assert time.monotonic() < deadline, f"never true: {expression}"
        page.wait_for_timeout(STEP_MS)


def says(page: Page, selector: str, text: str) -> None:
    """Wait until the text of an element is this one: pages are filled after they have loaded."""
    until(page, "([at, text]) => document.querySelector(at)?.innerText === text", [selector, text])


@dataclass
class Window:
    """A browser with storage of its own, whose pages may report no error."""

    context: BrowserContext
    address: str
    errors: list[str] = field(default_factory=list)
    #: Statuses of responses that a test expects to be errors.
    expected: set[int] = field(default_factory=set)

    def open(self, path: str = "/") -> Page:
        """A page at this path."""
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(WATCH)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._console)
        page.on("request", self._request)
        page.goto(self.address + path, wait_until="domcontentloaded")
        return page

    def _console(self, message: Any) -> None:
        is_expected = any(f"status of {status}" in message.text for status in self.expected)
        if message.type in ("error", "warning") and not is_expected:
            self.errors.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.address, "blob:")):
            self.errors.append(f"asked another server: {request.url}")


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Window]:
    """A window that is checked for errors at the end."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
    window = Window(context, address)
    try:
        yield window
        pages = list(context.pages)
        for page in pages:
            assert page.evaluate("window.broken") is None, "a name was run as code"
        assert window.errors == []
    finally:
        context.close()


@pytest.fixture
def window(browser: Browser, served: Served) -> Iterator[Window]:
    with opened(
        browser, served.address, permissions=["clipboard-read", "clipboard-write", "microphone"]
    ) as made:
        yield made
