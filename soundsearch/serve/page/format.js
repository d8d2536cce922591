// Numbers as people read them.

/** Seconds as 0:07.2, 12:30.0 or 1:02:03. */
export function clock(seconds) {
  const tenths = Math.max(0, Math.round(seconds * 10));
  const whole = Math.floor(tenths / 10);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}.${tenths % 10}`;
}

/** A stretch as 0:02.0-0:05.0. */
export const span = (start, end) => `${clock(start)}–${clock(end)}`;

/** Bytes as 1.3 MB. */
export function bytes(n) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return `${i ? n.toFixed(1) : n} ${units[i]}`;
}

/** A whole number with commas. */
export const count = (n) => n.toLocaleString("en");

/** "1 recording", "3 recordings". */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** A score with two digits, or a dash where there is none. */
export const score = (value) => (value == null ? "–" : value.toFixed(2));

/** The last part of a path, and what lies before it. */
export function splitPath(path) {
  const at = path.lastIndexOf("/");
  return { name: path.slice(at + 1) || path, folder: path.slice(0, Math.max(at, 0)) };
}
