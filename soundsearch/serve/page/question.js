// What is asked: words and filters, a sound to be like, and how hits are ranked. The address holds it.

import { get, upload } from "./api.js";

const PAGE = 20;
const PASSAGES = 3;
export const BY = ["both", "sound", "words"];

/** A question of nothing. like: null, or a recording {id, name, start, end}, or a file {file, name}. */
export const EMPTY = { q: "", like: null, by: "both", copies: false };

/** The question that an address holds. */
export function fromAddress(search) {
  const given = new URLSearchParams(search);
  const number = (name) => (given.has(name) ? Number(given.get(name)) : null);
  const id = number("like");
  return {
    q: given.get("q") ?? "",
    like: id == null ? null : { id, name: null, start: number("start"), end: number("end") },
    by: BY.includes(given.get("by")) ? given.get("by") : "both",
    copies: given.get("copies") === "1",
  };
}

/** The address of a question; a file has none. */
export function toAddress({ q, like, by, copies }) {
  const given = new URLSearchParams();
  if (q) given.set("q", q);
  if (like?.id != null) {
    given.set("like", like.id);
    if (like.end != null) {
      given.set("start", like.start.toFixed(3));
      given.set("end", like.end.toFixed(3));
    }
  }
  if (by !== "both") given.set("by", by);
  if (copies) given.set("copies", "1");
  const query = String(given);
  return query ? `/?${query}` : "/";
}

export const isEmpty = ({ q, like }) => !q.trim() && !like;

/** A text without the first place of a filter in it. */
export const without = (q, filter) => q.replace(filter, " ").replace(/\s+/g, " ").trim();

/** The answer to a question from a hit on: {hits, more, notes, query}. */
export function ask(question, offset, signal) {
  const { q, like, by, copies } = question;
  const fields = { q: q.trim(), k: PAGE, offset, passages: PASSAGES, unique: copies ? "0" : "1" };
  if (!like || q.trim()) fields.by = by;
  if (!like) return get("/api/search", fields, signal);
  const part = { start: like.start, end: like.end };
  if (like.id != null) {
    return get("/api/similar", { recording: like.id, ...part, ...fields }, signal);
  }
  return upload("/api/similar", like.file, like.name, { ...part, ...fields }, signal);
}
