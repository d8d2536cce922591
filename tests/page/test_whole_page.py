"""What holds for the page as a whole: its weight, its looks, and that everybody can use it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

import soundsearch
from tests.page.conftest import Served, Window, opened, says
from tests.page.library import TWICE
from tests.page.test_search import row_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FILES = Path(soundsearch.__file__).parent / "serve" / "page"
MOST_BYTES = 150_000
#: The largest shift of a layout that counts as good, by the measure of browsers.
MOST_SHIFT = 0.1


def show_all(page: Page) -> None:
    """Open what can be open at once."""
    row = row_of(page, TWICE)
    row.get_by_role("button", name=TWICE, exact=True).click()
    row.locator(".details dl").wait_for()
    row.get_by_role("button", name="Put into the basket").click()


def test_the_page_is_light() -> None:
    assert 0 < sum(path.stat().st_size for path in FILES.iterdir()) < MOST_BYTES


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)])
def test_axe_finds_no_violation(browser: Browser, served: Served, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    def check(what: str) -> None:
        found = Axe().run(page, options={"resultTypes": ["violations"]})
        assert found.violations_count == 0, f"{what}: {found.generate_report()}"

    size = {"width": width, "height": 800}
    with opened(browser, served.address, color_scheme=scheme, viewport=size) as window:
        page = window.open()
        page.get_by_role("heading", name="recordings to search").wait_for()
        check("welcome")
        page.goto(f"{served.address}/?q=hiss format:wav")
        show_all(page)
        page.locator("#to-basket").click()
        check("hits, details and basket")
        page.get_by_role("button", name="Close the basket").click()
        page.locator("#to-help").click()
        check("help")
        page.keyboard.press("Escape")
        page.locator("#to-library").click()
        page.get_by_role("heading", name="Folders").wait_for()
        page.locator("summary").first.click()
        page.locator(".failed li").first.wait_for()
        check("library")


@pytest.mark.parametrize("width", [1200, 360])
def test_nothing_moves_by_itself_and_nothing_is_cut_off(
    browser: Browser, served: Served, width: int
) -> None:
    size = {"width": width, "height": 740}
    with opened(browser, served.address, viewport=size) as window:
        page = window.open("/?q=hiss")
        row_of(page, TWICE).wait_for()
        page.wait_for_timeout(600)  # outlines come, and the time after which a key counts no more
        assert page.evaluate("window.shifts") < MOST_SHIFT
        show_all(page)
        for place in ("/?q=hiss", "/?view=library"):
            page.goto(served.address + place)
            page.locator("h1").first.wait_for(state="attached")
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def brightness(picture: bytes) -> float:
    """Of a screenshot, from 0 to 255."""
    with av.open(io.BytesIO(picture)) as file:
        (frame,) = file.decode(video=0)
        return float(np.median(frame.to_ndarray(format="gray")))


def test_dark_and_light_follow_the_system(browser: Browser, served: Served) -> None:
    found = {}
    for scheme in ("dark", "light"):
        with opened(browser, served.address, color_scheme=scheme) as window:
            page = window.open("/?q=hiss")
            row_of(page, TWICE).wait_for()
            found[scheme] = brightness(page.screenshot())
    assert found["dark"] < 50 and found["light"] > 200


def test_a_page_that_is_not_there_is_a_404(window: Window) -> None:
    window.expected.add(404)
    page = window.open("/nothing")
    assert "/nothing" in page.inner_text("body")
    for path in ("/nothing", "/page/nothing.js", "/page/../app.py", "/api/recordings/123456"):
        assert page.request.get(window.address + path).status == 404, path


def test_the_basket_becomes_files(window: Window) -> None:
    page = window.open("/?q=hiss")
    row_of(page, TWICE).get_by_role("button", name="Put into the basket").click()
    page.locator("#to-basket").click()
    for name, kind, begins in (
        ("Excerpts (zip)", "zip", b"PK"),
        ("Playlist (m3u)", "m3u8", b"#EXTM3U"),
        ("Table (CSV)", "csv", b"rank,"),
    ):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=name).click()
        assert waiting.value.suggested_filename == f"soundsearch.{kind}"
        assert Path(waiting.value.path()).read_bytes().startswith(begins)
    page.reload()
    says(page, "#basket-count", "1")
    page.locator("#to-basket").click()
    page.get_by_role("button", name=f"Take out {TWICE}").click()
    says(page, "#basket-count", "0")
