// The question language beside the box: what may follow what is being typed.

import { button, byId } from "./dom.js";

const STARTS = [
  "duration:", "channels:", "rate:", "format:", "modified:", "in:", "tag:", '"exact words"',
  "-without",
];
const year = new Date().getFullYear();
const ENDS = {
  "duration:": ["<3", "2..10", ">1:30"],
  "channels:": ["mono", "stereo", ">2"],
  "rate:": ["48k", ">=96k"],
  "format:": ["wav", "flac", "mp3"],
  "modified:": [year, `${year - 1}..${year}`, `>=${year - 1}-06`],
  "in:": ["Doors", '"Field recordings"'],
  "tag:": ["rain"],
};
const MEANINGS = {
  "duration:": "length, such as duration:<3, duration:2..10 or duration:>1:30",
  "channels:": "mono, stereo or a number",
  "rate:": "sample rate, such as rate:>=96k",
  "format:": "ending, format or codec, such as format:wav",
  "modified:": "date of the file, such as modified:2024-05",
  "in:": "a folder by its name or path",
  "tag:": "a word of the metadata",
  '"exact words"': "words that name, folders or metadata hold exactly so",
  "-without": "a minus turns a word or a filter round",
};

const UNFINISHED = new RegExp(`(^|\\s)-?(${Object.keys(ENDS).join("|")})[<>=.]*$`, "i");

/** Whether a text ends in a filter that says nothing yet. */
export const isUnfinished = (text) => UNFINISHED.test(text);

/** Show what may follow the word at the cursor. choose(text): the new content of the box. */
export function showHints(box, choose) {
  const place = byId("hints");
  const cursor = box.selectionStart ?? box.value.length;
  const before = box.value.slice(0, cursor);
  const word = /\S*$/.exec(before)[0];
  const bare = word.replace(/^-/, "").toLowerCase();
  const field = Object.keys(ENDS).find((name) => bare.startsWith(name));
  const all = field ? ENDS[field].map((end) => `${field}${end}`) : STARTS;
  const begun = bare.length > 1 ? all.filter((text) => text.startsWith(bare) && text !== bare) : [];
  const offered = begun.length ? begun : STARTS;
  const buttons = offered.map((text) => {
    const insert = () => {
      const isGoingOn = text.toLowerCase().startsWith(bare) && bare;
      const start = isGoingOn ? cursor - bare.length : cursor;
      const head = box.value.slice(0, start);
      const space = head && !/[\s-]$/.test(head) ? " " : "";
      const rest = box.value.slice(cursor);
      box.focus();
      choose(head + space + text + rest, (head + space + text).length);
    };
    const title = MEANINGS[text] ?? null;
    return button(text, insert, { class: "hint", title });
  });
  place.replaceChildren(byId("hints-label"), ...buttons);
}
