// Plays one recording at a time, from any second. Where the browser cannot play the format, the server
// decodes a minute after the other.

import { ApiError, audioUrl, excerptUrl, get } from "./api.js";
import { byId, setIcon } from "./dom.js";
import { clock, splitPath } from "./format.js";

/** Seconds of an excerpt that stands in for a format the browser cannot play. */
const PART_S = 60;
/** What is nearer to the end than this is over. */
const END_S = 0.02;

export class Player {
  #sound = byId("sound");
  #button = byId("player-play");
  #offset = 0; // the second of the recording at which the media element begins
  #isPart = false;
  #frame = 0;
  #listeners = new Set();
  #unplayable = new Set(); // ids of which the browser could not play the file

  constructor() {
    this.hit = null;
    const sound = this.#sound;
    for (const event of ["play", "pause", "seeked", "ended", "emptied"]) {
      sound.addEventListener(event, () => this.#changed());
    }
    sound.addEventListener("ended", () => this.#goOn());
    sound.addEventListener("error", () => this.#failed());
    this.#button.addEventListener("click", () => this.toggle());
    const volume = byId("volume");
    volume.value = localStorage.getItem("volume") ?? "1";
    sound.volume = Number(volume.value);
    volume.addEventListener("input", () => {
      sound.volume = Number(volume.value);
      localStorage.setItem("volume", volume.value);
    });
  }

  /** Call listener({hit, second, isPlaying}) whenever one of these changes. */
  listen(listener) {
    this.#listeners.add(listener);
  }

  get isPlaying() {
    return !this.#sound.paused && !this.#sound.ended;
  }

  /** Whether it has come to the end, or cannot go on. */
  get isOver() {
    return this.#sound.ended || this.#sound.error != null;
  }

  /** The second of the recording that plays. */
  get second() {
    return this.#offset + this.#sound.currentTime;
  }

  /** Play a hit or a recording from a second on; one with a url of its own is played from there. */
  play(hit, second) {
    const isSame = this.hit?.recording_id === hit.recording_id;
    this.hit = hit;
    this.#say("");
    byId("player-name").textContent = splitPath(hit.path).name;
    byId("player-length").textContent = clock(hit.duration_s ?? 0);
    this.#button.disabled = false;
    const at = Math.max(0, Math.min(second, (hit.duration_s ?? second) - END_S));
    if (isSame && this.#holds(at)) {
      this.#sound.currentTime = at - this.#offset;
      this.#start();
    } else {
      this.#load(at);
    }
  }

  toggle() {
    if (!this.hit) return;
    if (this.isPlaying) this.#sound.pause();
    else if (this.isOver) this.play(this.hit, 0);
    else this.#start();
  }

  /** Go some seconds on, or back. */
  skip(seconds) {
    if (this.hit) this.play(this.hit, Math.max(0, this.second + seconds));
  }

  #holds(second) {
    const { readyState, duration, error } = this.#sound;
    if (error || readyState < HTMLMediaElement.HAVE_METADATA) return false;
    return second >= this.#offset && second < this.#offset + duration - END_S;
  }

  #load(second) {
    const { recording_id: id, playable, duration_s: length, url } = this.hit;
    this.#isPart = !playable || this.#unplayable.has(id);
    this.#offset = this.#isPart ? second : 0;
    const end = Math.min(second + PART_S, length ?? Infinity);
    this.#sound.src = this.#isPart ? excerptUrl(id, second, end) : (url ?? audioUrl(id));
    // A position that is set before the file is known is taken over as soon as it is.
    if (!this.#isPart) this.#sound.currentTime = second;
    this.#start();
  }

  #start() {
    this.#sound.play().catch((error) => {
      if (error.name === "NotAllowedError") this.#say("the browser wants a click first");
    });
  }

  /** After a part comes the next one. */
  #goOn() {
    const end = this.#offset + this.#sound.duration;
    if (this.#isPart && end < this.hit.duration_s - END_S) this.#load(end);
  }

  async #failed() {
    const { hit } = this;
    if (!hit || !this.#sound.error) return;
    if (!this.#isPart && !hit.url) {
      const { second } = this;
      this.#unplayable.add(hit.recording_id);
      this.#load(second);
      return;
    }
    let reason = "it cannot be played";
    try {
      if (!hit.url) await get(this.#sound.src);
    } catch (error) {
      if (error instanceof ApiError) reason = error.message;
    }
    if (this.hit === hit) this.#say(reason);
    this.#changed();
  }

  #say(text) {
    byId("player-note").textContent = text;
  }

  #changed() {
    setIcon(this.#button, this.isPlaying ? "pause" : "play");
    this.#button.setAttribute("aria-label", this.isPlaying ? "Pause" : "Play");
    this.#tell();
    cancelAnimationFrame(this.#frame);
    if (this.isPlaying) this.#follow();
  }

  #follow() {
    this.#frame = requestAnimationFrame(() => {
      this.#tell();
      if (this.isPlaying) this.#follow();
    });
  }

  #tell() {
    const now = { hit: this.hit, second: this.second, isPlaying: this.isPlaying };
    byId("player-time").textContent = clock(this.second);
    for (const listener of this.#listeners) listener(now);
  }
}
