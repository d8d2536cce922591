"""The library page: what is indexed, and runs of `index`; and pages that others may open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from soundsearch.encoder.bundle import EncoderBundle
from tests.page.conftest import Served, Window, make_index, opened, serving
from tests.page.library import sound
from tests.page.test_search import ask, names
from tests.sounds import noise, write

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: A run over a recording of so many seconds takes a while.
LONG_S = 3600


@pytest.fixture
def own(tmp_path: Path, _tiny: EncoderBundle) -> Iterator[Served]:
    """A server whose library this test may change."""
    with serving(*make_index(tmp_path, _tiny)) as started:
        yield started


@pytest.fixture
def own_window(browser: Browser, own: Served) -> Iterator[Window]:
    with opened(browser, own.address) as made:
        yield made


def test_folders_and_failures_are_listed(window: Window, served: Served) -> None:
    page = window.open("/?view=library")
    page.get_by_role("row", name=str(served.library)).wait_for()
    page.locator("summary").first.click()
    page.locator(".failed li", has_text="broken.wav").wait_for()


def test_a_run_shows_its_progress_and_its_hits_are_found(own_window: Window, own: Served) -> None:
    page = own_window.open("/?view=library")
    write(own.library / "new.wav", sound("drone", 2.0))
    page.get_by_role("button", name="Bring up to date").click()
    page.locator(".stage", has_text="1 new").wait_for()
    page.get_by_role("button", name="Bring up to date").wait_for()
    page.locator("#to-search").click()
    ask(page, "drone")
    assert names(page)[0] == "new.wav"


def test_a_run_is_seen_in_every_tab_and_can_be_cancelled(own_window: Window, own: Served) -> None:
    own_window.expected.add(409)
    long = np.tile(noise(60), LONG_S // 60)
    write(own.library / "long.wav", long)
    one, two = own_window.open("/?view=library"), own_window.open("/?view=library")
    one.get_by_role("button", name="Bring up to date").click()
    two.get_by_role("button", name="Cancel").wait_for()
    status = two.evaluate(
        """() => fetch("/api/library/index", { method: "POST", headers: { "X-Soundsearch": "1" } })
          .then((response) => response.status)"""
    )
    assert status == 409  # one at a time
    two.locator(".stage", has_text=" of ").wait_for()
    two.get_by_role("button", name="Cancel").click()
    for page in (one, two):
        page.locator(".stage", has_text="ancelled").wait_for()
        page.get_by_role("button", name="Bring up to date").wait_for()
    page.locator("#to-search").click()
    ask(page, "format:wav long")
    assert "long.wav" not in names(page)


def test_others_need_the_token_once(browser: Browser, own: Served) -> None:
    with serving(own.index, own.library, "--host", "0.0.0.0") as started:
        port, _, token = started.address.rpartition(":")[2].partition("/?token=")
        address = f"http://127.0.0.1:{port}"
        assert len(token) >= 32
        with opened(browser, address) as window:
            window.expected.add(401)
            page = window.open("/")
            assert "token" in page.inner_text("body")
            assert page.request.get(f"{address}/api/status").status == 401
            page.goto(f"{address}/?token={token}")
            page.get_by_role("heading", name="recordings to search").wait_for()
            assert token not in page.url
            ask(page, "hiss")
            assert names(page)
            (cookie,) = window.context.cookies()
            assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
            assert page.evaluate("document.cookie") == ""
