"""How fast the page of `soundsearch serve` is in a browser: from a key to hits, and to sound.

Asks questions of a server that runs, by its address, and prints medians in milliseconds: from the
question to the rows that answer it, and from the space bar to the moment the media element plays.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics

from playwright.sync_api import Page, sync_playwright

QUESTIONS = (
    "thunder",
    "dog barking",
    "door slam",
    "wind in trees",
    "crowd",
    "water",
    "car",
    "bell",
)
#: Milliseconds from the key that sends a question to the rows that answer it.
ANSWERED = """async (text) => {
  const box = document.querySelector("#text");
  const list = document.querySelector("#results");
  box.value = text;
  const drawn = new Promise((resolve) => {
    new MutationObserver((_, observer) => {
      if (!list.children.length) return;
      observer.disconnect();
      requestAnimationFrame(() => resolve(performance.now()));
    }).observe(list, { childList: true });
  });
  const began = performance.now();
  box.form.requestSubmit();
  return (await drawn) - began;
}"""
PLAYED = """() => new Promise((resolve) => {
  const sound = document.querySelector("#sound");
  const began = performance.now();
  sound.addEventListener("playing", () => resolve(performance.now() - began), { once: true });
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: " ", bubbles: true }));
})"""


def measure(page: Page, n: int) -> tuple[list[float], list[float]]:
    """Milliseconds to rows and to sound, of n questions after a first round."""
    rows, sounds = [], []
    for i in range(len(QUESTIONS) + n):
        row = page.evaluate(ANSWERED, QUESTIONS[i % len(QUESTIONS)])
        page.locator(".name").first.focus()
        for _ in range(i % 5):
            page.keyboard.press("j")
        if page.evaluate("document.querySelector('.hit.selected.playing') === null"):
            played = page.evaluate(PLAYED)
            if i >= len(QUESTIONS):
                sounds.append(played)
        if i >= len(QUESTIONS):
            rows.append(row)
    return rows, sounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="of the server, such as http://127.0.0.1:8765/")
    parser.add_argument("--questions", type=int, default=40)
    given = parser.parse_args()
    flags = ["--autoplay-policy=no-user-gesture-required", "--mute-audio"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page()
        page.goto(given.address)
        found = measure(page, given.questions)
        browser.close()
    for name, times in zip(("rows", "sound"), found, strict=True):
        p95 = statistics.quantiles(times, n=20)[-1]
        print(f"{name:<5} median {statistics.median(times):6.1f} ms, p95 {p95:6.1f} ms")


if __name__ == "__main__":
    main()
