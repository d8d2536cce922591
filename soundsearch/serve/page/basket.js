// Passages that were collected, kept by this browser, and what is made of them.

import { post } from "./api.js";
import { button, byId, download, el, icon, toast } from "./dom.js";
import { plural, span, splitPath } from "./format.js";

const KINDS = [["zip", "Excerpts (zip)"], ["m3u", "Playlist (m3u)"], ["csv", "Table (CSV)"]];
const HOW_TO_FILL = "Put passages in with + or b; they stay here until you take them out.";

export class Basket {
  #listeners = new Set();
  #panel = byId("basket");
  #key = "basket";

  constructor() {
    this.items = [];
    byId("to-basket").addEventListener("click", () => this.show(this.#panel.hidden));
    window.addEventListener("storage", (event) => {
      if (event.key === this.#key) this.#read();
    });
    this.#read();
  }

  /** The basket of one index: ids mean nothing in another. */
  of(folder) {
    this.#key = `basket ${folder}`;
    this.#read();
  }

  listen(listener) {
    this.#listeners.add(listener);
  }

  holds(row) {
    return this.items.some((item) => item.recording_id === row.hit.recording_id);
  }

  /** Put the part of a row in; take its recording out if it is in. */
  toggle(row) {
    const id = row.hit.recording_id;
    if (this.holds(row) && !row.selection) {
      this.#write(this.items.filter((item) => item.recording_id !== id));
      return;
    }
    const [start, end] = row.part;
    this.#write([...this.items, { recording_id: id, path: row.hit.path, start, end }]);
  }

  show(isShown) {
    this.#panel.hidden = !isShown;
    byId("to-basket").setAttribute("aria-expanded", String(isShown));
    document.body.classList.toggle("with-basket", isShown);
    if (isShown) this.#panel.querySelector("button")?.focus();
  }

  #read() {
    try {
      this.items = JSON.parse(localStorage.getItem(this.#key)) ?? [];
    } catch {
      this.items = [];
    }
    this.#draw();
  }

  #write(items) {
    this.items = items;
    localStorage.setItem(this.#key, JSON.stringify(items));
    this.#draw();
  }

  #draw() {
    byId("basket-count").textContent = this.items.length;
    const entries = this.items.map((item, i) => {
      const { name } = splitPath(item.path);
      const label = `Take out ${name}`;
      const drop = () => this.#write(this.items.filter((_, j) => j !== i));
      return el("li", {},
        el("span", { class: "entry", title: item.path }, name),
        el("span", { class: "dim" }, span(item.start, item.end)),
        button(icon("close"), drop, { class: "tool", "aria-label": label, title: label }));
    });
    const isEmpty = !entries.length;
    const close = () => {
      this.show(false);
      byId("to-basket").focus();
    };
    this.#panel.replaceChildren(
      el("div", { class: "panel-head" },
        el("h2", {}, "Basket"), el("span", { class: "dim" }, plural(entries.length, "passage")),
        button(icon("close"), close, { class: "tool", "aria-label": "Close the basket" })),
      isEmpty ? el("p", { class: "dim" }, HOW_TO_FILL) : el("ol", {}, entries),
      el("div", { class: "actions" },
        KINDS.map(([kind, text]) => button(text, () => this.#make(kind), { disabled: isEmpty })),
        button("Empty it", () => this.#write([]), { disabled: isEmpty })));
    for (const listener of this.#listeners) listener();
  }

  async #make(kind) {
    const wanted = this.items.map(({ recording_id, start, end }) => ({ recording_id, start, end }));
    try {
      toast("Being made …");
      const response = await post(`/api/basket.${kind}`, wanted);
      const url = URL.createObjectURL(await response.blob());
      download(url, `soundsearch.${kind === "m3u" ? "m3u8" : kind}`);
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      toast(`soundsearch.${kind}: ${plural(wanted.length, "passage")}`);
    } catch (error) {
      toast(error.message);
    }
  }
}
