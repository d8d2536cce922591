// A waveform on a canvas: the outline, the passages that fit, what is selected, and where it plays.

import { el } from "./dom.js";

const drawn = new Set();
const sizes = new ResizeObserver((entries) => {
  for (const entry of entries) entry.target.waveform?.draw();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const waveform of drawn) waveform.draw();
});
/** Pixels that a pointer moves before it selects. */
const SLIP = 4;
/** A passage is at least so many pixels wide, however long the recording is. */
const LEAST = 3;

/** The peaks at a fraction of an index, on a line from one pair to the next. */
function between(values, at) {
  const most = values.length / 2 - 1;
  const i = Math.max(0, Math.min(most, Math.floor(at)));
  const next = Math.min(most, i + 1);
  const share = Math.max(0, Math.min(1, at - i));
  return [0, 1].map((side) => (1 - share) * values[2 * i + side] + share * values[2 * next + side]);
}

export class Waveform {
  /**
   * host: an element that it fills. seconds: the length of the recording. passages: what fits; best:
   * the part that fits best, or null.
   * onSeek(second): somebody clicked there. onSelect([start, end] or null): somebody selected; without
   * it nothing can be selected.
   */
  constructor(host, { seconds, passages = [], best = null, onSeek, onSelect }) {
    this.host = host;
    this.seconds = Math.max(seconds, 0.001);
    this.passages = passages;
    this.best = best && best.end_s - best.start_s < 0.95 * this.seconds ? best : null;
    this.view = [0, this.seconds];
    this.peaks = null;
    this.selection = null;
    this.isMissing = false;
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.head = el("span", { class: "head", hidden: true });
    host.append(this.canvas, this.head);
    host.waveform = this;
    this.onSeek = onSeek;
    this.onSelect = onSelect;
    host.addEventListener("pointerdown", (event) => this.#press(event));
    drawn.add(this);
    sizes.observe(host);
  }

  /** Forget it; the host is used no more. */
  dispose() {
    drawn.delete(this);
    sizes.unobserve(this.host);
  }

  setPeaks(peaks) {
    this.peaks = peaks;
    this.draw();
  }

  /** There is nothing to draw: the file is gone, say. */
  setMissing() {
    this.isMissing = true;
    this.draw();
  }

  setSelection(selection) {
    this.selection = selection;
    this.draw();
  }

  /** Show this stretch alone, or all of it. */
  setView(view) {
    this.view = view ?? [0, this.seconds];
    this.draw();
    this.setPosition(this.position);
  }

  /** Where it plays, in seconds; null where it does not. */
  setPosition(second) {
    this.position = second;
    const [from, to] = this.view;
    const isSeen = second != null && second >= from && second <= to;
    this.head.hidden = !isSeen;
    if (isSeen) {
      const x = ((second - from) / (to - from)) * this.host.clientWidth;
      this.head.style.transform = `translateX(${x}px)`;
    }
  }

  draw() {
    const { clientWidth, clientHeight } = this.host;
    if (!clientWidth || !clientHeight) return;
    const scale = window.devicePixelRatio || 1;
    // All is drawn in pixels of the screen: bars of a fraction of one would be a grid.
    const width = (this.canvas.width = Math.round(clientWidth * scale));
    const height = (this.canvas.height = Math.round(clientHeight * scale));
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(this.host);
    const colour = (name) => style.getPropertyValue(name).trim();
    if (this.best) this.#fillSpans(pen, [this.best], height, colour("--passage"));
    if (this.selection) {
      const [start_s, end_s] = this.selection;
      this.#fillSpans(pen, [{ start_s, end_s }], height, colour("--selection"));
    }
    const plain = colour("--wave");
    if (!this.peaks?.values.length) {
      pen.fillStyle = plain;
      const dash = this.isMissing ? 4 : width;
      for (let x = 0; x < width; x += 2 * dash) pen.fillRect(x, height / 2 - 0.5, dash, 1);
      return;
    }
    this.#outline(pen, width, height, plain, colour("--wave-passage"));
    pen.fillStyle = colour("--wave-passage");
    for (const passage of this.passages) {
      const [x, end] = this.#pixels(passage.start_s, passage.end_s);
      pen.fillRect(x, 0, Math.max(end - x, LEAST), Math.round(2 * scale));
    }
  }

  #fillSpans(pen, spans, height, colour) {
    pen.fillStyle = colour;
    for (const { start_s, end_s } of spans) {
      const [x, end] = this.#pixels(start_s, end_s);
      pen.fillRect(x, 0, Math.max(end - x, LEAST), height);
    }
  }

  #pixels(start, end) {
    const [from, to] = this.view;
    return [start, end].map((second) => ((second - from) / (to - from)) * this.canvas.width);
  }

  /** One bar a pixel; quiet recordings are drawn as high as loud ones. */
  #outline(pen, width, height, plain, marked) {
    const { values, perSecond } = this.peaks;
    const n = values.length / 2;
    const [from, to] = this.view;
    const loudest = this.peaks.loudest ??= Math.max(1, values.reduce((a, b) => Math.max(a, b), 0));
    const middle = height / 2;
    const reach = 0.9 * middle;
    const isSparse = ((to - from) / width) * perSecond < 1;
    const high = (value) => Math.max(0.5, (value / loudest) ** 1.4 * reach);
    for (let x = 0; x < width; x++) {
      const second = from + ((to - from) * x) / width;
      const next = from + ((to - from) * (x + 1)) / width;
      const first = Math.floor(second * perSecond);
      if (first >= n) break;
      const last = Math.min(n - 1, Math.ceil(next * perSecond) - 1);
      let [low, up] = [0, 0];
      for (let i = first; i <= last; i++) {
        low = Math.max(low, values[2 * i]);
        up = Math.max(up, values[2 * i + 1]);
      }
      if (isSparse) [low, up] = between(values, (second + next) / 2 * perSecond - 0.5);
      const isMarked = this.passages.some((p) => next > p.start_s && second < p.end_s);
      pen.fillStyle = isMarked ? marked : plain;
      const top = middle - high(up);
      pen.fillRect(x, top, 1, middle + high(low) - top);
    }
  }

  #second(event) {
    const box = this.host.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const [from, to] = this.view;
    return from + share * (to - from);
  }

  #press(event) {
    if (event.button !== 0) return;
    const [start, startX] = [this.#second(event), event.clientX];
    let isDrag = false;
    const move = (moved) => {
      isDrag ||= Math.abs(moved.clientX - startX) > SLIP;
      if (!isDrag || !this.onSelect) return;
      const second = this.#second(moved);
      this.setSelection([Math.min(start, second), Math.max(start, second)]);
    };
    const end = (ended) => {
      this.host.removeEventListener("pointermove", move);
      this.host.removeEventListener("pointerup", end);
      this.host.removeEventListener("pointercancel", end);
      if (ended.type === "pointercancel") return;
      if (isDrag && this.onSelect) this.onSelect(this.selection);
      else if (!isDrag) this.onSeek?.(start);
    };
    event.preventDefault();
    this.host.setPointerCapture(event.pointerId);
    this.host.addEventListener("pointermove", move);
    this.host.addEventListener("pointerup", end);
    this.host.addEventListener("pointercancel", end);
  }
}
