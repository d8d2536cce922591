// The list of hits: rows that play, open and are moved through by keys.

import { audioUrl, excerptUrl } from "./api.js";
import { button, byId, copyText, download, el, icon, setIcon, toast } from "./dom.js";
import { clock, plural, score, span, splitPath } from "./format.js";
import { peaksOf } from "./peaks.js";
import { Waveform } from "./waveform.js";

/** Points of a waveform in the list. */
const POINTS = 1000;
/** What lasts longer is compared by its passage, not as a whole. */
const WHOLE_S = 30;
/** A passage counts as played when the next one is this far away. */
const STEP_S = 0.05;

/** The passages of a hit in order of time; its best window where it has none. */
const passagesOf = (hit) => (hit.passages?.length ? hit.passages : [hit]);

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) {
      seen.unobserve(target);
      loadPeaks(target.waveform, Number(target.dataset.id));
    }
  }
}, { rootMargin: "300px" });

/** Fetch the outline of a recording into a waveform. */
export async function loadPeaks(waveform, id, points = POINTS) {
  try {
    waveform.setPeaks(await peaksOf(id, points));
  } catch {
    waveform.setMissing();
  }
}

export class Row {
  /** list: the Results it is in. */
  constructor(hit, list) {
    this.hit = hit;
    this.list = list;
    this.passages = passagesOf(hit);
    /** Where it plays from, and what is taken of it. */
    this.place = { start_s: hit.start_s, end_s: hit.end_s };
    this.selection = null;
    this.details = null;
    this.item = this.#build();
  }

  get name() {
    return splitPath(this.hit.path).name;
  }

  /** What is selected in its waveform, else the passage. */
  get part() {
    return this.selection ?? [this.place.start_s, this.place.end_s];
  }

  #build() {
    const { hit } = this;
    const { name, folder } = splitPath(hit.path);
    const start = clock(hit.start_s);
    this.button = button(icon("play"), () => this.toggle(), {
      class: "play", "aria-label": `Play ${name} from ${start}`, title: `Play from ${start}`,
    });
    this.title = button(name, () => this.list.toggleDetails(this), {
      class: "name", "aria-expanded": "false", title: name, onfocus: () => this.list.mark(this),
    });
    const remarks = [
      hit.is_present === false && "not there now",
      hit.copies?.length && plural(hit.copies.length, "copy", "copies"),
    ].filter(Boolean);
    const where = el("span", { class: "folder", title: folder }, folder);
    const marks = remarks.map((text) => el("span", { class: "remark" }, text));
    this.wave = el("div", {
      class: "wave", role: "img", "data-id": hit.recording_id,
      "aria-label": `Waveform of ${clock(hit.duration_s)}, ${plural(this.passages.length, "passage")}`,
    });
    const isScored = hit.score != null;
    this.waveform = new Waveform(this.wave, {
      seconds: hit.duration_s,
      passages: isScored ? this.passages : [],
      best: isScored ? this.place : null,
      onSeek: (second) => this.playFrom(second),
    });
    const similar = button(icon("similar"), () => this.list.similar(this), {
      class: "tool", "aria-label": `Similar to ${name}`, title: "Similar to this (s)",
    });
    const toggle = () => this.list.basket.toggle(this);
    this.basketButton = button(icon("plus"), toggle, { class: "tool" });
    const grip = el("span", {
      class: "tool grip", draggable: "true", ondragstart: (event) => this.#drag(event),
      title: "Drag the passage to an editor; with Shift, the whole file",
    }, icon("grip"));
    const words = (hit.words ?? []).map((word) => el("span", { class: "word" }, word));
    const why = { title: hit.why ?? "" };
    const item = el("li", { class: "hit", onclick: (event) => this.#clicked(event) },
      el("div", { class: "row" },
        this.button,
        el("div", { class: "what" }, this.title, el("div", { class: "where" }, where, marks)),
        this.wave,
        el("div", { class: "facts" },
          el("div", { class: "score", ...why }, score(hit.score), isScored && this.#bar()),
          el("div", { class: "why", ...why }, words)),
        el("div", { class: "length" },
          clock(hit.duration_s), el("span", { class: "passage-at" }, this.#placeText())),
        el("div", { class: "tools" }, similar, this.basketButton, grip)));
    this.markBasket();
    seen.observe(this.wave);
    return item;
  }

  #bar() {
    const share = Math.max(0, Math.min(1, this.hit.score ?? 0));
    const fill = el("span", { class: "fill" });
    fill.style.width = `${100 * share}%`;
    return el("span", { class: "bar", "aria-hidden": "true" }, fill);
  }

  #placeText() {
    if (this.hit.score == null) return "";
    const more = this.hit.n_more_passages ?? 0;
    const n = this.passages.length + more;
    return n > 1 ? plural(n, "passage") : `at ${clock(this.hit.start_s)}`;
  }

  #clicked(event) {
    this.list.mark(this);
    if (!event.target.closest("button, a, input, .details, .wave")) this.title.focus();
  }

  /** What a program gets onto which it is dragged. */
  #drag(event) {
    const { hit } = this;
    const [start, end] = this.part;
    const isWhole = event.shiftKey;
    const { recording_id: id } = hit;
    const place = isWhole ? `${audioUrl(id)}?download=1` : excerptUrl(id, start, end, true);
    const url = new URL(place, location.href).href;
    const type = isWhole ? (hit.audio_type ?? "application/octet-stream") : "audio/wav";
    const name = isWhole ? this.name : this.excerptName();
    event.dataTransfer.effectAllowed = "copy";
    event.dataTransfer.setData("DownloadURL", `${type}:${name.replaceAll(":", "-")}:${url}`);
    event.dataTransfer.setData("text/uri-list", url);
    event.dataTransfer.setData("text/plain", hit.path);
  }

  /** How the file of the passage is called. */
  excerptName() {
    const stem = this.name.replace(/\.[^.]+$/, "");
    return `${stem} ${clock(this.part[0]).replaceAll(":", "m")}s.wav`;
  }

  /** Play from the passage, or pause it. */
  toggle() {
    const { player } = this.list;
    if (player.hit?.recording_id === this.hit.recording_id && !player.isOver) player.toggle();
    else this.playFrom(this.part[0]);
    this.list.mark(this);
  }

  playFrom(second) {
    this.list.player.play(this.hit, second);
  }

  /** Play the passage after the one that plays, or before it. */
  step(direction) {
    const { player } = this.list;
    const isMine = player.hit?.recording_id === this.hit.recording_id;
    const now = isMine ? player.second : this.place.start_s;
    const starts = this.passages.map((passage) => passage.start_s);
    let i;
    if (direction > 0) {
      i = isMine ? starts.findIndex((start) => start > now + STEP_S) : 0;
      if (i < 0) i = 0;
    } else {
      const current = starts.findLastIndex((start) => start <= now + STEP_S);
      i = (Math.max(current, 0) - 1 + starts.length) % starts.length;
    }
    this.take(this.passages[i]);
  }

  /** Play a passage; it is what is taken of the recording from here on. */
  take({ start_s, end_s }) {
    this.place = { start_s, end_s };
    this.playFrom(start_s);
  }

  /** What "similar to this" is asked with. */
  like() {
    const { hit, selection } = this;
    const like = { id: hit.recording_id, name: this.name, start: null, end: null };
    if (selection || hit.duration_s > WHOLE_S) [like.start, like.end] = this.part;
    return like;
  }

  download() {
    const [start, end] = this.part;
    download(excerptUrl(this.hit.recording_id, start, end, true), this.excerptName());
    toast(`Excerpt ${span(start, end)} of ${this.name}`);
  }

  async copyPath() {
    await copyText(this.hit.path);
    toast(`Copied: ${this.hit.path}`);
  }

  follow({ hit, second, isPlaying }) {
    const isMine = hit?.recording_id === this.hit.recording_id;
    if (!isMine && !this.isShown) return;
    this.isShown = isMine;
    this.item.classList.toggle("playing", isMine && isPlaying);
    setIcon(this.button, isMine && isPlaying ? "pause" : "play");
    const start = clock(this.place.start_s);
    const action = isMine && isPlaying ? `Pause ${this.name}` : `Play ${this.name} from ${start}`;
    if (this.button.ariaLabel !== action) this.button.ariaLabel = action;
    this.waveform.setPosition(isMine ? second : null);
    this.details?.follow(isMine ? second : null);
  }

  markBasket() {
    const isIn = this.list.basket.holds(this);
    setIcon(this.basketButton, isIn ? "tick" : "plus");
    this.basketButton.classList.toggle("on", isIn);
    const action = isIn ? "Take out of the basket" : "Put into the basket";
    this.basketButton.ariaLabel = `${action}: ${this.name}`;
    this.basketButton.title = `${action} (b)`;
  }

  dispose() {
    seen.unobserve(this.wave);
    this.waveform.dispose();
    this.details?.dispose();
  }
}

export class Results {
  #list = byId("results");

  /**
   * openDetails(row): makes the details of a row. similar(row): searches by it. ask(text): searches
   * for it. more(): the next hits.
   */
  constructor({ player, basket, openDetails, similar, ask, more }) {
    Object.assign(this, { player, basket, openDetails, similar, ask, more });
    this.rows = [];
    this.selected = null;
    player.listen((now) => this.rows.forEach((row) => row.follow(now)));
    basket.listen(() => this.rows.forEach((row) => row.markBasket()));
  }

  show(hits) {
    this.rows.forEach((row) => row.dispose());
    this.rows = [];
    this.selected = null;
    this.#list.replaceChildren();
    this.append(hits);
    if (hits.length) this.mark(this.rows[0]);
  }

  append(hits) {
    const rows = hits.map((hit) => new Row(hit, this));
    this.rows.push(...rows);
    this.#list.append(...rows.map((row) => row.item));
    const { hit, second, isPlaying } = this.player;
    rows.forEach((row) => row.follow({ hit, second, isPlaying }));
  }

  /** The row that keys are for. */
  mark(row) {
    if (this.selected === row) return;
    this.selected?.item.classList.remove("selected");
    this.selected = row;
    row.item.classList.add("selected");
  }

  /** Go some rows on, or back. */
  async move(step) {
    if (!this.rows.length) return;
    const isOnList = this.#list.contains(document.activeElement);
    const from = this.selected ? this.rows.indexOf(this.selected) : -1;
    let to = isOnList || from < 0 ? from + step : from;
    if (to >= this.rows.length) await this.more();
    to = Math.max(0, Math.min(to, this.rows.length - 1));
    const row = this.rows[to];
    this.mark(row);
    row.title.focus({ preventScroll: true });
    row.item.scrollIntoView({ block: "nearest" });
  }

  toggleDetails(row) {
    this.mark(row);
    const isOpen = row.details != null;
    for (const other of this.rows) {
      if (!other.details) continue;
      other.details.dispose();
      other.details = null;
      other.selection = null;
      other.title.setAttribute("aria-expanded", "false");
    }
    if (isOpen) return;
    row.details = this.openDetails(row);
    row.title.setAttribute("aria-expanded", "true");
    row.item.append(row.details.element);
  }
}
