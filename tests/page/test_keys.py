"""The page without a mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import soundfile

from tests.page.conftest import Served, Window, says, until
from tests.page.library import HISSES, TWICE
from tests.page.test_search import names, plays_from, row_of, second

if TYPE_CHECKING:
    from playwright.sync_api import Page


def selected(page: Page) -> str:
    return page.locator(".hit.selected .name").inner_text()


def test_a_whole_search_by_keys(window: Window, served: Served) -> None:
    page = window.open()
    page.locator("#to-help").focus()
    page.keyboard.press("/")
    page.keyboard.type("hiss")
    row_of(page, TWICE).wait_for()
    page.keyboard.press("ArrowDown")
    assert selected(page) == names(page)[0]
    page.keyboard.press("j")
    assert selected(page) == names(page)[1]
    page.keyboard.press("k")
    if selected(page) != TWICE:
        page.keyboard.press("ArrowDown")
    assert selected(page) == TWICE
    assert page.evaluate("document.activeElement.textContent") == TWICE

    page.keyboard.press(" ")
    plays_from(page, HISSES[0][0])
    page.keyboard.press("n")
    plays_from(page, HISSES[1][0])
    page.keyboard.press("p")
    plays_from(page, HISSES[0][0])
    page.keyboard.press(" ")
    assert page.evaluate("document.querySelector('#sound').paused")
    paused_at = second(page)
    page.keyboard.press("ArrowLeft")
    plays_from(page, paused_at - 2)

    page.keyboard.press("c")
    path = str(served.library / "weather" / TWICE)
    until(page, "(path) => navigator.clipboard.readText().then((text) => text === path)", path)
    page.keyboard.press("b")
    says(page, "#basket-count", "1")
    with page.expect_download() as waiting:
        page.keyboard.press("d")
    assert soundfile.info(waiting.value.path()).samplerate == 8000

    page.keyboard.press("Enter")
    page.locator(".details").wait_for()
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('.details')")
    page.keyboard.press("s")
    page.locator("#like", has_text=TWICE).wait_for()


def test_keys_are_shown_and_can_be_switched_off(window: Window) -> None:
    page = window.open("/?q=hiss")
    row_of(page, TWICE).wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keys").wait_for()
    page.get_by_label("Single keys do this").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("?")
    says(page, "#basket-count", "0")
    assert page.get_by_role("dialog").count() == 0
    page.reload()
    row_of(page, TWICE).get_by_role("button", name=TWICE, exact=True).focus()
    page.keyboard.press("b")
    says(page, "#basket-count", "0")


def test_letters_in_fields_are_text_and_space_presses_buttons(window: Window) -> None:
    page = window.open("/?q=hiss")
    row = row_of(page, TWICE)
    row.wait_for()
    page.locator("#text").focus()
    page.keyboard.type(" snb?")
    assert page.input_value("#text") == "hiss snb?"
    assert page.get_by_role("dialog").count() == 0
    row_of(page, TWICE).get_by_role("button", name="Put into the basket").focus()
    page.keyboard.press(" ")
    says(page, "#basket-count", "1")
    assert page.evaluate("document.querySelector('#sound').paused")


def test_j_goes_on_to_the_next_page_of_hits(window: Window) -> None:
    page = window.open("/?q=beep in:beeps")
    page.locator(".hit").nth(19).get_by_role("button").nth(1).focus()
    page.keyboard.press("j")
    page.locator(".hit").nth(20).wait_for()
    until(page, "document.querySelectorAll('.hit')[20].classList.contains('selected')")


def test_escape_leaves_the_box_and_what_was_asked_in_it(window: Window) -> None:
    page = window.open()
    page.locator("#text").focus()
    page.keyboard.type("hiss")
    row_of(page, TWICE).wait_for()
    page.keyboard.press("Escape")
    assert page.input_value("#text") == "hiss"
    assert page.evaluate("document.activeElement.id") != "text"
