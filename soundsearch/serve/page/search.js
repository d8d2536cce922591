// The search view: box, chips and notes; asks while somebody types, and shows what comes.

import { get } from "./api.js";
import { button, byId, el, icon } from "./dom.js";
import { plural, span, splitPath } from "./format.js";
import { isUnfinished, showHints } from "./hints.js";
import { EMPTY, ask, fromAddress, isEmpty, toAddress, without } from "./question.js";

/** Milliseconds without a key after which the question is asked. */
const DELAY_MS = 200;
const PLACEHOLDER = byId("text").placeholder;
const EXAMPLES = [
  "dog barking in rain", "metal door slam duration:<3", "crowd at a station -music",
  "wind channels:stereo",
];

export class Search {
  #box = byId("text");
  #by = byId("by");
  #copies = byId("copies");
  #timer = 0;
  #asked = null; // stops the request under way
  #n = 0;
  #isMeant = true; // the question of the address is one to go back to

  /**
   * results: where hits are shown. sample: where a file that is searched by is shown. status():
   * what the server says of the index.
   */
  constructor(results, sample, status) {
    this.results = results;
    this.sample = sample;
    this.status = status;
    this.question = EMPTY;
    byId("question").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask({ q: this.#box.value }, { isNew: true });
    });
    this.#box.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#hint();
      if (isUnfinished(this.#box.value)) return;
      this.#timer = setTimeout(() => this.ask({ q: this.#box.value }), DELAY_MS);
    });
    for (const event of ["keyup", "click", "focus"]) {
      this.#box.addEventListener(event, () => this.#hint());
    }
    const isNew = true;
    this.#by.addEventListener("change", () => this.ask({ by: this.#by.value }, { isNew }));
    this.#copies.addEventListener("change", () =>
      this.ask({ copies: this.#copies.checked }, { isNew }));
    byId("more").addEventListener("click", () => this.more());
    this.#hint();
  }

  /** Take the question of the address, and ask it. */
  async open() {
    const question = fromAddress(location.search);
    if (question.like?.id != null) {
      const recording = get(`/api/recordings/${question.like.id}`);
      question.like.name = await recording.then(
        (answer) => splitPath(answer.recording.path).name,
        () => "a recording that is not there",
      );
    }
    this.#box.value = question.q;
    return this.ask(question, { isKept: true });
  }

  /**
   * Ask with some parts of the question changed. isNew: it was meant as a whole, and not only typed
   * so far: one can go back to it. isKept: the address holds it already.
   */
  async ask(change, { isNew = false, isKept = false } = {}) {
    clearTimeout(this.#timer);
    const question = { ...this.question, ...change };
    this.question = question;
    if (this.#box.value !== question.q) this.#box.value = question.q;
    this.#by.value = question.by;
    this.#copies.checked = question.copies;
    const address = toAddress(question);
    if (!isKept && address !== location.pathname + location.search) {
      if (isNew || this.#isMeant) history.pushState(null, "", address);
      else history.replaceState(null, "", address);
    }
    this.#isMeant = isNew || isKept;
    document.title = question.q ? `${question.q} – soundsearch` : "soundsearch";
    this.#showLike();
    this.#hint();
    if (isEmpty(question)) {
      this.#asked?.abort();
      this.results.show([]);
      this.#chips([]);
      this.#notes([]);
      this.#say("");
      byId("more").hidden = true;
      return this.#welcome();
    }
    return this.#request(0);
  }

  /** The next hits, if there are more. */
  async more() {
    if (!byId("more").hidden) await this.#request(this.#n);
  }

  async #request(offset) {
    this.#asked?.abort();
    const asked = (this.#asked = new AbortController());
    const list = byId("results");
    list.setAttribute("aria-busy", "true");
    byId("more").disabled = true;
    const began = performance.now();
    try {
      const answer = await ask(this.question, offset, asked.signal);
      this.#answer(answer, offset, performance.now() - began);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#fail(error);
    } finally {
      if (this.#asked === asked) {
        list.removeAttribute("aria-busy");
        byId("more").disabled = false;
      }
    }
  }

  #answer({ hits, more, notes, query }, offset, ms) {
    this.#n = offset + hits.length;
    if (offset) this.results.append(hits);
    else this.results.show(hits);
    byId("more").hidden = !more;
    const { filters, did_you_mean: meant = {} } = query;
    this.#chips(filters);
    this.#notes(notes, meant);
    const shown = plural(this.#n, "recording");
    this.#say(this.#n ? `${more ? `First ${shown}` : shown}, ${Math.round(ms)} ms` : "Nothing fits");
    byId("nothing").replaceChildren(...(this.#n ? [] : [this.#advice(filters)]));
  }

  #fail(error) {
    this.#say(error.message, true);
    byId("nothing").replaceChildren();
    if (error.status === 0 || error.status >= 500) {
      byId("nothing").replaceChildren(button("Try again", () => this.ask({})));
    }
  }

  #say(text, isError = false) {
    const place = byId("state");
    place.textContent = text;
    place.classList.toggle("error", isError);
  }

  #hint() {
    showHints(this.#box, (text, cursor) => {
      this.#box.value = text;
      this.#box.setSelectionRange(cursor, cursor);
      this.#hint();
      if (!isUnfinished(text)) this.ask({ q: text });
    });
  }

  #chips(filters) {
    const chips = filters.map((text) => {
      const drop = () => {
        this.ask({ q: without(this.question.q, text) }, { isNew: true });
        this.#box.focus();
      };
      const label = `Remove the filter ${text}`;
      return el("li", { class: "chip" }, el("span", {}, text), this.#closer(label, drop));
    });
    byId("chips").replaceChildren(...chips);
  }

  #closer(label, onclick) {
    return button(icon("close"), onclick, { "aria-label": label, title: label });
  }

  #showLike() {
    const { like } = this.question;
    const place = byId("like");
    this.sample.show(like);
    place.hidden = !like;
    this.#box.placeholder = like ? "and words or filters" : PLACEHOLDER;
    if (!like) return place.replaceChildren();
    const part = like.end == null ? "" : ` ${span(like.start, like.end)}`;
    const drop = () => {
      this.ask({ like: null }, { isNew: true });
      this.#box.focus();
    };
    const text = el("span", { title: like.name ?? "" }, `${like.name ?? "…"}${part}`);
    const closer = this.#closer("Search without this sound", drop);
    place.replaceChildren(el("li", { class: "chip" }, icon("similar"), text, closer));
  }

  #notes(notes, meant = {}) {
    const corrections = Object.entries(meant);
    const others = notes.filter((note) => !corrections.length || !note.startsWith("did you mean"));
    const lines = others.map((note) => el("li", {}, note));
    for (const [wrong, right] of corrections) {
      const correct = () => {
        const words = new RegExp(wrong.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "iu");
        this.ask({ q: this.question.q.replace(words, right) }, { isNew: true });
      };
      const link = button(right, correct, { class: "link" });
      lines.push(el("li", {}, `Nothing knows “${wrong}”. Did you mean `, link, "?"));
    }
    byId("notes").replaceChildren(...lines);
  }

  #advice(filters) {
    const ways = [];
    if (filters.length) {
      ways.push(["Leave the filters out", { q: filters.reduce(without, this.question.q) }]);
    }
    if (this.question.by === "words") ways.push(["Rank by sound too", { by: "both" }]);
    if (this.question.like && this.question.q) ways.push(["Leave the words out", { q: "" }]);
    const buttons = ways.map(([text, change]) =>
      button(text, () => this.ask(change, { isNew: true })));
    return el("div", {},
      el("p", {}, "No recording fits all of this question."), el("p", { class: "ways" }, buttons));
  }

  async #welcome() {
    const status = await this.status().catch(() => null);
    if (!isEmpty(this.question)) return;
    const place = byId("nothing");
    if (status && !status.n_indexed) {
      place.replaceChildren(
        el("h2", {}, "Nothing is indexed yet"),
        el("p", {}, "Index a folder of recordings, then search it."),
        el("a", { href: "/?view=library", class: "button" }, "Open the library page"),
      );
      return;
    }
    const n = status && plural(status.n_indexed, "recording");
    const what = n ? `${n} to search` : "Search your recordings";
    const examples = EXAMPLES.map((q) =>
      el("li", {}, button(q, () => this.ask({ q }, { isNew: true }))));
    place.replaceChildren(
      el("h2", {}, what),
      el("p", {}, `Say what it sounds like, drop a sound file, or record ${MICROPHONE_S} seconds.`),
      el("ul", { class: "examples" }, examples),
    );
  }
}

/** Seconds that are recorded from the microphone. */
export const MICROPHONE_S = 8;
