// The keyboard: what each key does, here and in the help.

import { byId, el } from "./dom.js";

/** Seconds that an arrow goes on or back. */
const SKIP_S = 2;

const HELP = [
  ["/", "go to the search box"],
  ["j k ↓ ↑", "next recording, the one before"],
  ["space", "play from the passage, pause"],
  ["n p", "next passage, the one before"],
  ["← →", "two seconds back, on"],
  ["Enter", "open details, close them"],
  ["s", "search by this sound, or by the selected part"],
  ["b", "put the passage into the basket, take it out"],
  ["c", "copy the path"],
  ["d", "download the passage as WAV"],
  ["Esc", "close details and panels, leave the box"],
  ["?", "this help"],
];

/** Whether typed letters belong to this element. */
const takesText = (element) =>
  element.matches?.("input:not([type=checkbox], [type=range]), textarea, select");
/** Whether the space bar and Enter press this element. */
const isPressed = (element) => element.matches?.("button:not(.name), a[href], input, summary, select");

export class Keys {
  /** results, player, basket: what keys act on. isSearch(): whether the search is shown. */
  constructor({ results, player, basket, isSearch }) {
    Object.assign(this, { results, player, basket, isSearch });
    this.help = byId("help");
    this.isOn = localStorage.getItem("keys") !== "off";
    this.#build();
    byId("to-help").addEventListener("click", () => this.#showHelp());
    document.addEventListener("keydown", (event) => this.#press(event));
  }

  #build() {
    const choice = el("input", {
      type: "checkbox",
      onchange: () => {
        this.isOn = choice.checked;
        localStorage.setItem("keys", this.isOn ? "on" : "off");
      },
    });
    choice.checked = this.isOn;
    this.close = el("button", {}, "Close");
    const rows = HELP.map(([keys, text]) =>
      [el("dt", {}, keys.split(" ").map((key) => el("kbd", {}, key))), el("dd", {}, text)]);
    this.help.append(
      el("h2", { id: "help-title" }, "Keys"),
      el("dl", { class: "keys" }, rows),
      el("p", {}, el("label", {}, choice, " Single keys do this")),
      el("h2", {}, "With the mouse"),
      el("ul", {},
        el("li", {}, "Click a waveform to play from there. Marked are the passages that fit."),
        el("li", {},
          "In the details, drag over the waveform to select a part: keys and buttons are about it ",
          "then."),
        el("li", {},
          "Drag a recording by its dots into an editor or a folder (in Chrome, Edge and others of ",
          "their family): the passage as WAV, with Shift the whole file."),
        el("li", {}, "Drop a sound file anywhere on the page to search by it.")),
      el("form", { method: "dialog" }, this.close),
    );
  }

  #press(event) {
    const { key, target } = event;
    if (key === "Escape") return this.#leave(event);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    if (target.id === "text" && key === "ArrowDown") return this.#do(event, () => this.results.move(1));
    if (!this.isOn || takesText(target)) return;
    if (key === "/") return this.#do(event, () => byId("text").select());
    if (key === "?") return this.#do(event, () => this.#showHelp());
    if (!this.isSearch()) return;
    if ((key === " " || key === "Enter") && isPressed(target)) return;
    if (target.matches?.("input[type=range]") && key.startsWith("Arrow")) return;
    this.#onRow(event);
  }

  #showHelp() {
    this.help.showModal();
    this.close.focus();
  }

  #onRow(event) {
    const { results, player } = this;
    const row = results.selected;
    const actions = {
      j: () => results.move(1),
      ArrowDown: () => results.move(1),
      k: () => results.move(-1),
      ArrowUp: () => results.move(-1),
      " ": () => (row ? row.toggle() : player.toggle()),
      n: () => row?.step(1),
      p: () => row?.step(-1),
      ArrowLeft: () => player.skip(-SKIP_S),
      ArrowRight: () => player.skip(SKIP_S),
      Enter: () => row && results.toggleDetails(row),
      s: () => row && results.similar(row),
      b: () => row && this.basket.toggle(row),
      c: () => row?.copyPath(),
      d: () => row?.download(),
    };
    const action = actions[event.key];
    if (action && !(event.repeat && !/^(j|k|Arrow.*)$/.test(event.key))) this.#do(event, action);
  }

  #do(event, action) {
    event.preventDefault();
    action();
  }

  #leave(event) {
    const { target } = event;
    if (document.querySelector("dialog[open]")) return;
    const open = this.results.rows.find((row) => row.details);
    if (target.id === "text") {
      event.preventDefault(); // browsers would empty the box, with its hits still shown
      target.blur();
    } else if (open && !byId("basket").contains(target)) {
      this.results.toggleDetails(open);
      open.title.focus();
    } else if (!byId("basket").hidden) {
      this.basket.show(false);
      byId("to-basket").focus();
    }
  }
}
