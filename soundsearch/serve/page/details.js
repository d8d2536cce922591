// All that is known of a recording, under its row: a large waveform to select in, and what can be done.

import { audioUrl, get, post } from "./api.js";
import { button, download, el, toast } from "./dom.js";
import { bytes, clock, plural, score, span, splitPath } from "./format.js";
import { loadPeaks } from "./results.js";
import { Waveform } from "./waveform.js";

/** Texts that describe a recording. */
const TEXTS = 6;
/** Points of a waveform in which somebody zooms. */
const POINTS = 100000;

export class Details {
  constructor(row) {
    this.row = row;
    const label = "Waveform; drag to select a part";
    this.wave = el("div", { class: "wave large", role: "img", "aria-label": label });
    const name = `Details of ${row.name}`;
    this.element = el("div", { class: "details", role: "group", "aria-label": name });
    this.facts = el("div", { class: "known" }, el("p", { class: "dim" }, "…"));
    this.passages = el("ul", { class: "passages", "aria-label": "Passages that fit" });
    this.from = this.#number("from");
    this.to = this.#number("to");
    this.zoom = button("Zoom in", () => this.#zoom(), { disabled: true });
    this.clear = button("Clear", () => this.select(null), { disabled: true });
    this.element.append(
      this.wave,
      el("div", { class: "selecting" },
        this.passages,
        el("span", { class: "part", role: "group", "aria-label": "Selected part" },
          el("label", {}, "from ", this.from), el("label", {}, "to ", this.to), "s",
          this.zoom, this.clear)),
      this.#actions(),
      this.facts,
    );
    this.waveform = new Waveform(this.wave, {
      seconds: row.hit.duration_s,
      passages: row.waveform.passages,
      best: row.waveform.best,
      onSeek: (second) => row.playFrom(second),
      onSelect: (selection) => this.select(selection),
    });
    loadPeaks(this.waveform, row.hit.recording_id, POINTS);
    this.#showPassages();
    this.#load();
  }

  follow(second) {
    this.waveform.setPosition(second);
  }

  dispose() {
    this.waveform.dispose();
    this.element.remove();
  }

  /** A part of the recording, [start, end] in seconds, is what actions are about; null for none. */
  select(selection) {
    this.row.selection = selection;
    this.waveform.setSelection(selection);
    this.from.value = selection ? selection[0].toFixed(2) : "";
    this.to.value = selection ? selection[1].toFixed(2) : "";
    this.clear.disabled = this.zoom.disabled = !selection;
    if (!selection) this.#whole();
  }

  #number(name) {
    const typed = () => {
      const [from, to] = [Number(this.from.value), Number(this.to.value)];
      if (to > from && from >= 0) this.select([from, Math.min(to, this.row.hit.duration_s)]);
    };
    return el("input", { type: "number", min: "0", step: "0.01", name, onchange: typed });
  }

  #zoom() {
    if (this.isZoomed) return this.#whole();
    const [start, end] = this.row.selection;
    const margin = (end - start) / 10;
    const last = this.row.hit.duration_s;
    this.waveform.setView([Math.max(0, start - margin), Math.min(last, end + margin)]);
    this.isZoomed = true;
    this.zoom.textContent = "Zoom out";
    return undefined;
  }

  #whole() {
    this.isZoomed = false;
    this.zoom.textContent = "Zoom in";
    this.zoom.disabled = !this.row.selection;
    this.waveform.setView(null);
  }

  #showPassages() {
    const { row } = this;
    const buttons = row.passages.map((passage) => {
      const fit = passage.score != null && el("span", { class: "dim" }, score(passage.score));
      const content = [span(passage.start_s, passage.end_s), fit];
      return el("li", {}, button(content, () => row.take(passage), { title: "Play this passage" }));
    });
    const more = row.hit.n_more_passages;
    if (more) buttons.push(el("li", { class: "dim" }, `${plural(more, "more passage")}`));
    this.passages.replaceChildren(...buttons);
  }

  #actions() {
    const { row } = this;
    const { list } = row;
    const file = () => download(`${audioUrl(row.hit.recording_id)}?download=1`, row.name);
    const actions = [
      ["Similar", "Search by this recording, or by the selected part (s)", () => list.similar(row)],
      ["Copy path", "Copy the path of the file (c)", () => row.copyPath()],
      ["Reveal in folder", "Show it in the file manager of this computer", () => this.#reveal()],
      ["Download file", "The whole file as it is", file],
      ["Download excerpt", "The passage, or the selected part, as WAV (d)", () => row.download()],
      ["Put part into basket", "The passage, or the selected part (b)", () => list.basket.toggle(row)],
    ];
    return el("div", { class: "actions" },
      actions.map(([text, title, onclick]) => button(text, onclick, { title })));
  }

  async #reveal() {
    try {
      await post(`/api/recordings/${this.row.hit.recording_id}/reveal`);
      toast(`Shown: ${this.row.hit.path}`);
    } catch (error) {
      toast(error.message);
    }
  }

  async #load() {
    const { recording_id: id } = this.row.hit;
    try {
      this.facts.replaceChildren(...this.#known(await get(`/api/recordings/${id}`)));
    } catch (error) {
      this.facts.replaceChildren(el("p", { class: "error" }, error.message));
      return;
    }
    const others = this.facts.querySelector(".others");
    try {
      const { labels } = await get("/api/describe", { recording: id, k: TEXTS });
      others.prepend(this.#fitting(labels));
    } catch (error) {
      others.append(el("p", { class: "error" }, error.message));
    }
  }

  /** Words that fit the sound; a click searches for them. */
  #fitting(labels) {
    const items = labels.map(({ text, score: fit }) => {
      const attributes = { class: "link", title: `Search for ${text}` };
      const link = button(text, () => this.row.list.ask(text), attributes);
      return el("li", {}, link, el("span", { class: "dim" }, ` ${score(fit)}`));
    });
    return el("section", {},
      el("h2", {}, "Words that fit"), el("ul", { class: "fitting" }, items));
  }

  #known({ recording, copies = [], nearest = [] }) {
    const { folder } = splitPath(recording.path);
    const rows = [
      ["Folder", folder],
      ["Format", [recording.format, recording.sample_rate && `${recording.sample_rate} Hz`,
        recording.n_channels && plural(recording.n_channels, "channel")].filter(Boolean).join(", ")],
      ["Length", recording.duration_s == null ? null : clock(recording.duration_s)],
      ["Size", bytes(recording.size_bytes)],
      ["Changed", new Date(recording.mtime_ns / 1e6).toLocaleString()],
      ["Indexed", [new Date(recording.indexed_at).toLocaleString(),
        plural(recording.n_windows, "window")].join(", ")],
      ["State", this.#stateOf(recording)],
      ["Fits by", this.row.hit.why],
      ...Object.entries(recording.ucs ?? {}).map(([name, text]) =>
        [`UCS ${name.replaceAll("_", " ")}`, text]),
      ...Object.entries(recording.metadata ?? {}),
      ...Object.entries(recording.captions ?? {}).map(([name, text]) => [`Caption: ${name}`, text]),
      ["Found by", Object.values(recording.words ?? {}).flat().join(" ")],
    ].filter(([, text]) => text);
    return [
      el("dl", { class: "table" },
        rows.map(([name, text]) => [el("dt", {}, name), el("dd", {}, String(text))])),
      el("div", { class: "others" },
        this.#others("Copies of the same sound", copies),
        this.#others("Sounds most like it", nearest)),
    ];
  }

  #stateOf({ state, cause, error, is_present: isPresent, has_changed: hasChanged }) {
    const remarks = [error ?? cause];
    if (state !== "indexed") remarks.unshift(state);
    if (isPresent === false) remarks.push("the file is not there now");
    if (hasChanged) remarks.push("the file has changed since it was indexed");
    return remarks.filter(Boolean).join("; ");
  }

  #others(title, recordings) {
    if (!recordings.length) return null;
    const items = recordings.map((other) => {
      const { name, folder } = splitPath(other.path);
      const play = () => this.row.list.player.play(other, other.start_s ?? 0);
      const link = button(name, play, { class: "link", title: `Play ${other.path}` });
      const fit = other.score == null ? "" : ` ${score(other.score)}`;
      return el("li", {}, link, el("span", { class: "dim" }, `${fit} ${folder}`));
    });
    return el("section", {}, el("h2", {}, title), el("ul", {}, items));
  }
}
