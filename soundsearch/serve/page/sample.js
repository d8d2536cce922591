// A file that is searched by: drawn, to play it and to select a part.

import { button, byId, el } from "./dom.js";
import { clock, span } from "./format.js";
import { Waveform } from "./waveform.js";

/** A larger file is not drawn: a browser decodes all of it at once. */
const MOST_BYTES = 64e6;
const POINTS = 4000;
/** Enough for an outline. */
const RATE_HZ = 8000;

export class Sample {
  #place = byId("sample");
  #file = null;
  #waveform = null;

  /** choose([start, end] or null): which part of the file is searched by. */
  constructor(player, choose) {
    this.player = player;
    this.choose = choose;
    player.listen(({ hit, second }) => {
      const isMine = hit != null && hit.recording_id === this.hit?.recording_id;
      this.#waveform?.setPosition(isMine ? second : null);
    });
  }

  /** Show what a question is like: {file, name, start, end}; anything else hides it. */
  show(like) {
    if ((like?.file ?? null) !== this.#file) this.#take(like?.file ? like : null);
    if (!this.#waveform) return;
    const part = like.end == null ? null : [like.start, like.end];
    this.#waveform.setSelection(part);
    this.whole.hidden = !part;
    const all = `${clock(this.hit.duration_s)}; drag to search by a part`;
    this.text.textContent = part ? span(...part) : all;
  }

  #take(like) {
    this.#waveform?.dispose();
    if (this.hit) URL.revokeObjectURL(this.hit.url);
    this.#waveform = this.hit = null;
    this.#file = like?.file ?? null;
    this.#place.hidden = true;
    this.#place.replaceChildren();
    if (like && like.file.size <= MOST_BYTES) this.#draw(like);
  }

  async #draw(like) {
    const { file } = like;
    let sound;
    try {
      const context = new OfflineAudioContext(1, 1, RATE_HZ);
      sound = await context.decodeAudioData(await file.arrayBuffer());
    } catch {
      return; // the browser cannot decode it; the server may
    }
    if (file !== this.#file) return;
    const url = URL.createObjectURL(file);
    const seconds = sound.duration;
    this.hit = { recording_id: url, path: like.name, duration_s: seconds, playable: true, url };
    const wave = el("div", {
      class: "wave", role: "img",
      "aria-label": "Waveform of the sound that is searched by; drag to select a part",
    });
    this.text = el("span", { class: "dim" });
    this.whole = button("Search by all of it", () => this.choose(null));
    this.#place.replaceChildren(wave, el("div", { class: "sample-part" }, this.text, this.whole));
    this.#place.hidden = false;
    this.#waveform = new Waveform(wave, {
      seconds,
      onSeek: (second) => this.player.play(this.hit, second),
      onSelect: (part) => this.choose(part),
    });
    this.#waveform.setPeaks(outline(sound));
    this.show(like);
  }
}

/** The peaks of a decoded sound, as the server gives them. */
function outline(sound) {
  const n = Math.min(POINTS, sound.length);
  const values = new Uint8Array(2 * n);
  for (let c = 0; c < sound.numberOfChannels; c++) {
    const samples = sound.getChannelData(c);
    for (let i = 0; i < samples.length; i++) {
      const at = 2 * Math.floor((i * n) / samples.length);
      const side = samples[i] < 0 ? at : at + 1;
      const value = 255 * Math.sqrt(Math.min(1, Math.abs(samples[i])));
      if (value > values[side]) values[side] = value;
    }
  }
  return { values, perSecond: n / sound.duration, seconds: sound.duration };
}
