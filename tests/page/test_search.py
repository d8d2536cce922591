"""Searching and listening on the page: with the mouse."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from tests.page.conftest import Served, Window, says, until
from tests.page.library import HISSES, HOSTILE, LEVELS, N_BEEPS, RATE, STEPS, TWICE, sound

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def ask(page: Page, text: str) -> None:
    """Type a question, and wait for its answer."""
    with page.expect_response(lambda r: "/api/search" in r.url and r.request.method == "GET"):
        page.fill("#text", text)
    until(page, "!document.querySelector('#results').ariaBusy")


def names(page: Page) -> list[str]:
    return page.locator(".hit .name").all_inner_texts()


def row_of(page: Page, name: str) -> Locator:
    return page.locator(".hit", has=page.get_by_role("button", name=name, exact=True))


def second(page: Page) -> float:
    found: float = page.evaluate("document.querySelector('#sound').currentTime")
    return found


def view(page: Page) -> tuple[float, float]:
    """Which seconds the large waveform shows."""
    found: list[float] = page.evaluate("document.querySelector('.wave.large').waveform.view")
    return found[0], found[1]


def plays_from(page: Page, start_s: float) -> None:
    """Wait until the media element has gone to about this second, and plays on from there."""
    until(page, "(start) => window.starts.some((at) => Math.abs(at - start) < 0.7)", start_s)
    page.evaluate("window.starts = []")
    until(page, "(start) => document.querySelector('#sound').currentTime > start + 0.1", start_s)


def drop(page: Page, name: str, content: bytes) -> None:
    """Drop a file on the page."""
    page.evaluate(
        """([name, content]) => {
          const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], name));
          for (const type of ["dragenter", "dragover", "drop"]) {
            document.body.dispatchEvent(
              new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
          }
        }""",
        [name, base64.b64encode(content).decode()],
    )


def wav(samples: np.ndarray[Any, Any]) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format="WAV")
    return content.getvalue()


def test_results_come_as_one_types(window: Window) -> None:
    page = window.open()
    page.get_by_role("heading", name="recordings to search").wait_for()
    page.locator("#text").press_sequentially("hiss", delay=30)
    page.locator(".hit").first.wait_for()
    assert set(names(page)[:2]) == {"pan again.wav", TWICE} or set(names(page)[:2]) == {
        "pan.wav",
        TWICE,
    }
    assert page.url.endswith("?q=hiss")
    page.fill("#text", "")
    page.get_by_role("heading", name="recordings to search").wait_for()
    assert names(page) == []


def test_a_hit_plays_from_its_second_and_goes_on_to_the_next_passage(window: Window) -> None:
    page = window.open("/?q=hiss")
    row = row_of(page, TWICE)
    row.get_by_role("button", name=f"Play {TWICE} from").click()
    plays_from(page, HISSES[0][0])
    page.keyboard.press("n")
    plays_from(page, HISSES[1][0])
    assert row.locator(".head").is_visible()
    row.get_by_role("button", name=f"Pause {TWICE}").click()
    assert page.evaluate("document.querySelector('#sound').paused")


def test_a_click_on_a_waveform_plays_from_there(window: Window) -> None:
    page = window.open("/?q=hiss")
    wave = row_of(page, TWICE).locator(".wave")
    box = wave.bounding_box()
    assert box is not None
    wave.click(position={"x": box["width"] / 2, "y": 10})
    plays_from(page, 6.0)


def test_the_waveform_is_drawn_as_the_sound_is(window: Window) -> None:
    page = window.open("/?q=format:wav duration:2")  # no passage is marked
    canvas = row_of(page, STEPS).locator("canvas")
    heights = """(canvas) => {
      const { width, height } = canvas;
      const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
      pen.drawImage(canvas, 0, 0);
      return [1, 3, 5, 7].map((eighth) => {
        const column = pen.getImageData((width * eighth) / 8, 0, 1, height).data;
        return column.filter((value, i) => i % 4 === 3 && value > 200).length / height;
      });
    }"""
    canvas.wait_for()
    for _ in range(100):
        found = canvas.evaluate(heights)
        if found[-1] > 0.5:
            break
        page.wait_for_timeout(40)
    expected = (np.array(LEVELS) / LEVELS[-1]) ** 0.7  # quiet is drawn larger than it is
    np.testing.assert_allclose(np.array(found) / found[-1], expected, atol=0.06)


def test_what_browsers_cannot_play_is_decoded_by_the_server(window: Window) -> None:
    page = window.open("/?q=squeak")
    row_of(page, "mouse.aiff").get_by_role("button", name="Play mouse.aiff").click()
    until(page, "document.querySelector('#sound').currentTime > 0.1")
    source = page.evaluate("document.querySelector('#sound').src")
    assert "/excerpt?" in source
    row_of(page, "fence.flac").get_by_role("button", name="Play fence.flac").click()
    until(page, "document.querySelector('#sound').src.endsWith('/audio')")
    until(page, "document.querySelector('#sound').currentTime > 0.1")


def test_what_the_server_decodes_goes_on_after_a_minute(window: Window) -> None:
    page = window.open("/?q=note")
    row_of(page, "engine.aiff").get_by_role("button", name="Play engine.aiff").click()
    until(page, "document.querySelector('#sound').duration > 59")
    page.evaluate("document.querySelector('#sound').currentTime = 59.8")
    until(page, "document.querySelector('#sound').src.includes('start=60.000&end=63.000')")
    until(page, "document.querySelector('#sound').currentTime > 0.1")
    until(page, "document.querySelector('#player-time').innerText.startsWith('1:0')")
    page.evaluate("sound.pause(); sound.currentTime = 0.5")
    page.keyboard.press("ArrowLeft")
    until(page, "document.querySelector('#sound').src.includes('start=58')")


def test_filters_are_chips_that_can_be_taken_away(window: Window) -> None:
    page = window.open()
    ask(page, "squeak format:flac")
    assert names(page) == ["fence.flac"]
    page.get_by_role("button", name="Remove the filter format:flac").click()
    row_of(page, "mouse.aiff").wait_for()
    assert page.input_value("#text") == "squeak"
    until(page, "!document.querySelector('#chips li')")
    page.go_back()
    page.get_by_role("button", name="Remove the filter format:flac").wait_for()
    assert page.input_value("#text") == "squeak format:flac"


def test_hints_write_filters(window: Window) -> None:
    window.expected.add(400)  # of the filter while it has no value
    page = window.open()
    page.fill("#text", "beep dur")
    page.get_by_role("button", name="duration:", exact=True).click()
    assert page.input_value("#text") == "beep duration:"
    page.get_by_role("button", name="duration:<3", exact=True).click()
    assert page.input_value("#text") == "beep duration:<3"
    page.get_by_role("button", name="Remove the filter duration:<3").wait_for()


def test_a_filter_that_is_half_typed_is_one_line_and_keeps_the_hits(window: Window) -> None:
    window.expected.add(400)
    page = window.open("/?q=hiss")
    row_of(page, TWICE).wait_for()
    page.fill("#text", "hiss duration:<x")
    page.locator("#state.error").wait_for()
    assert "duration:<x" in page.inner_text("#state")
    assert TWICE in names(page)


def test_what_fits_nothing_names_a_way_out(window: Window) -> None:
    page = window.open()
    ask(page, "hiss duration:>500")
    says(page, "#state", "Nothing fits")
    page.get_by_role("button", name="Leave the filters out").click()
    row_of(page, TWICE).wait_for()


def test_a_word_that_nothing_knows_is_corrected_by_a_click(window: Window) -> None:
    page = window.open()
    ask(page, "squeek")
    page.locator("#notes").get_by_role("button", name="squeak").click()
    until(page, "document.querySelector('#text').value === 'squeak'")


def test_more_hits_follow(window: Window) -> None:
    page = window.open("/?q=beep in:beeps")
    page.locator(".hit").nth(19).wait_for()
    assert page.locator(".hit").count() == 20
    page.get_by_role("button", name="More", exact=True).click()
    page.locator(".hit").nth(N_BEEPS - 1).wait_for()
    assert len(set(names(page))) == N_BEEPS
    assert page.locator("#more").is_hidden()


def test_copies_are_one_hit_until_they_are_wanted(window: Window) -> None:
    page = window.open('/?q="pan"')
    page.locator(".hit").first.wait_for()
    assert len(names(page)) == 1
    page.get_by_label("show copies").check()
    page.locator(".hit").nth(1).wait_for()
    assert sorted(names(page)) == ["pan again.wav", "pan.wav"]


def test_similar_recordings_are_found_and_can_be_refined_by_words(window: Window) -> None:
    page = window.open("/?q=squeak")
    row_of(page, "mouse.aiff").get_by_role("button", name="Similar to mouse.aiff").click()
    page.get_by_role("button", name="Search without this sound").wait_for()
    until(
        page, "![...document.querySelectorAll('.name')].some((n) => n.textContent === 'mouse.aiff')"
    )
    assert names(page)[0] == "fence.flac"
    assert re.search(r"\?like=\d+$", page.url)
    page.fill("#text", "format:wav")
    until(
        page,
        "![...document.querySelectorAll('.hit .name')].some((n) => !n.textContent.endsWith('.wav'))",
    )
    page.go_back()
    until(page, "document.querySelector('#text').value === ''")
    page.go_back()
    row_of(page, "mouse.aiff").wait_for()


def test_a_part_that_is_selected_in_a_waveform_is_searched_by(window: Window) -> None:
    page = window.open("/?q=hiss")
    row = row_of(page, TWICE)
    row.get_by_role("button", name=TWICE, exact=True).click()
    wave = row.locator(".wave.large")
    box = wave.bounding_box()
    assert box is not None
    y = box["y"] + 20
    page.mouse.move(box["x"] + 4.1 / 12 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 5.9 / 12 * box["width"], y, steps=4)
    page.mouse.up()
    assert float(row.locator("input[name=from]").input_value()) == pytest.approx(4.1, abs=0.1)
    assert float(row.locator("input[name=to]").input_value()) == pytest.approx(5.9, abs=0.1)
    row.locator(".details").get_by_role("button", name="Similar", exact=True).click()
    until(page, "document.querySelector('.hit .name')?.textContent.startsWith('pan')")
    assert re.search(r"like=\d+&start=4\.1\d*&end=5\.9", page.url)


def test_a_dropped_file_is_a_question(window: Window) -> None:
    page = window.open()
    drop(page, "from my desk.wav", wav(sound("squeak", 2.0)))
    page.locator("#like", has_text="from my desk.wav").wait_for()
    row_of(page, "mouse.aiff").wait_for()
    assert set(names(page)[:2]) == {"mouse.aiff", "fence.flac"}


def test_a_part_of_a_dropped_file_is_searched_by(window: Window) -> None:
    page = window.open()
    both = np.concatenate([sound("squeak", 2.0), sound("hum", 2.0)])
    drop(page, "both.wav", wav(both))
    wave = page.locator("#sample .wave")
    box = wave.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.95 * box["width"], box["y"] + 20, steps=4)
    page.mouse.up()
    until(page, f"document.querySelector('.hit .name')?.textContent === '{STEPS}'")
    assert re.search(r"both\.wav 0:02\.\d–0:03\.\d", page.inner_text("#like"))
    wave.click(position={"x": box["width"] / 4, "y": 10})
    plays_from(page, 1.0)
    page.get_by_role("button", name="Search by all of it").click()
    until(page, "document.querySelector('#like').textContent === 'both.wav'")


def test_a_dropped_file_that_is_no_sound_is_one_line(window: Window) -> None:
    window.expected.add(422)
    page = window.open()
    drop(page, "letter.txt", b"Dear all")
    page.locator("#state.error").wait_for()
    assert "letter.txt" in page.inner_text("#state")


def test_the_microphone_is_a_question(window: Window) -> None:
    page = window.open()
    page.get_by_role("button", name="Search by eight seconds from the microphone").click()
    page.get_by_role("button", name="Recording, 7 seconds left").click()
    page.locator("#like", has_text="microphone.").wait_for()
    page.locator(".hit").first.wait_for()


def test_an_excerpt_holds_the_samples_of_the_passage(
    window: Window, served: Served, tmp_path: Path
) -> None:
    page = window.open("/?q=hiss")
    row = row_of(page, TWICE)
    row.get_by_role("button", name=TWICE, exact=True).click()
    row.locator("input[name=from]").fill("4.25")
    row.locator("input[name=to]").fill("5.5")
    row.locator("input[name=to]").press("Tab")
    row.get_by_role("button", name="Zoom in").click()
    assert view(page) == pytest.approx((4.125, 5.625))
    row.get_by_role("button", name="Zoom out").click()
    assert view(page) == pytest.approx((0, 12))
    with page.expect_download() as waiting:
        row.get_by_role("button", name="Download file").click()
    original = served.library / "weather" / TWICE
    assert Path(waiting.value.path()).read_bytes() == original.read_bytes()
    with page.expect_download() as waiting:
        row.get_by_role("button", name="Download excerpt").click()
    path = tmp_path / "excerpt.wav"
    waiting.value.save_as(path)
    found, rate = soundfile.read(path, dtype="int16")
    whole, _ = soundfile.read(original, dtype="int16")
    assert rate == RATE
    np.testing.assert_array_equal(found, whole[round(4.25 * RATE) : round(5.5 * RATE)])
    assert waiting.value.suggested_filename.startswith("storm 0m04")


@pytest.mark.parametrize("whole", [False, True])
def test_a_passage_or_the_file_is_dragged_out(window: Window, served: Served, whole: bool) -> None:
    page = window.open("/?q=squeak")
    dragged = (
        row_of(page, "mouse.aiff")
        .locator(".grip")
        .evaluate(
            """(grip, shiftKey) => {
          const dataTransfer = new DataTransfer();
          grip.dispatchEvent(new DragEvent("dragstart", { dataTransfer, shiftKey, bubbles: true }));
          return dataTransfer.getData("DownloadURL");
        }""",
            whole,
        )
    )
    type_, name, url = re.fullmatch(r"([^:]+):([^:]+):(http.*)", dragged).groups()  # type: ignore[union-attr]
    content = page.request.get(url).body()
    if whole:
        assert name == "mouse.aiff"
        assert content == (served.library / "foley" / "mouse.aiff").read_bytes()
    else:
        assert (type_, name[-4:]) == ("audio/wav", ".wav")
        assert soundfile.info(io.BytesIO(content)).samplerate == RATE


def test_details_show_what_is_known(window: Window, served: Served) -> None:
    page = window.open('/?q="pan"&copies=1')
    row = row_of(page, "pan.wav")
    row.get_by_role("button", name="pan.wav", exact=True).click()
    details = row.locator(".details")
    details.get_by_text("Copies of the same sound").wait_for()
    text = details.inner_text()
    for fact in (str(served.library), "WAV, 8000 Hz, 1 channel", "0:01.5", "pan again.wav"):
        assert fact in text
    details.get_by_role("heading", name="Words that fit").wait_for()
    row.get_by_role("button", name="pan.wav", exact=True).click()
    assert details.count() == 0


def test_hostile_names_are_text(window: Window) -> None:
    page = window.open("/?q=whine")
    row = row_of(page, HOSTILE)
    row.get_by_role("button", name=HOSTILE, exact=True).click()
    row.get_by_text("<script>window.broken=1</script>").first.wait_for()
    row.get_by_role("button", name=f"Put into the basket: {HOSTILE}").click()
    page.locator("#to-basket").click()
    page.locator("#basket", has_text=HOSTILE).wait_for()
    row.get_by_role("button", name=f"Play {HOSTILE}").click()
    page.locator("#player", has_text=HOSTILE).wait_for()
    row.get_by_role("button", name=f"Similar to {HOSTILE}").click()
    page.locator("#like", has_text=HOSTILE).wait_for()
    drop(page, HOSTILE, wav(sound("whine", 1.0)))
    page.locator("#like", has_text=HOSTILE).wait_for()
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1


def test_two_tabs_ask_for_themselves_and_share_the_basket(window: Window) -> None:
    one, two = window.open("/?q=hiss"), window.open("/?q=squeak")
    row_of(one, TWICE).get_by_role("button", name="Put into the basket").click()
    until(two, "document.querySelector('#basket-count').textContent === '1'")
    row_of(two, "mouse.aiff").wait_for()
    assert TWICE in names(one)[:2] and TWICE not in names(two)[:2]
    row_of(two, "mouse.aiff").get_by_role("button", name="Play mouse.aiff").click()
    until(two, "document.querySelector('#sound').currentTime > 0.1")
    assert second(one) == 0


def test_a_recording_that_is_not_there_is_one_line(window: Window) -> None:
    window.expected.update({400, 404})
    page = window.open("/?like=123456")
    page.locator("#state.error").wait_for()
    assert "123456" in page.inner_text("#state")
