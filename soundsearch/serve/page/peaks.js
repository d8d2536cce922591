// Outlines of waveforms from the server: a few at a time, each once.

import { get } from "./api.js";

const AT_ONCE = 4;
const KEPT = 500;
const found = new Map();
const waiting = [];
let running = 0;

/**
 * The peaks of a recording in at most so many points: {perSecond, seconds, values}, where values
 * are pairs of bytes: how far the sound reaches below and above zero, 255 times the root of it.
 */
export function peaksOf(id, points) {
  const key = `${id} ${points}`;
  if (!found.has(key)) {
    const made = turn(() => load(id, points));
    found.set(key, made);
    made.catch(() => found.delete(key));
    if (found.size > KEPT) found.delete(found.keys().next().value);
  }
  return found.get(key);
}

async function load(id, points) {
  const answer = await get(`/api/recordings/${id}/peaks`, { points });
  const text = atob(answer.peaks);
  const values = Uint8Array.from(text, (character) => character.charCodeAt(0));
  return { perSecond: answer.per_second, seconds: answer.seconds, values };
}

function turn(task) {
  return new Promise((resolve, reject) => {
    waiting.push(() => task().then(resolve, reject).finally(next));
    if (running < AT_ONCE) {
      running++;
      waiting.shift()();
    }
  });
}

function next() {
  const task = waiting.shift();
  if (task) task();
  else running--;
}
