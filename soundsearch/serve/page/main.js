// Puts the page together, and shows the view that the address names.

import { get } from "./api.js";
import { Basket } from "./basket.js";
import { Details } from "./details.js";
import { byId } from "./dom.js";
import { takeFiles } from "./drop.js";
import { Keys } from "./keys.js";
import { Library } from "./library.js";
import { recordBy } from "./microphone.js";
import { Player } from "./player.js";
import { Results } from "./results.js";
import { Sample } from "./sample.js";
import { MICROPHONE_S, Search } from "./search.js";

const player = new Player();
const basket = new Basket();
const library = new Library();
let known = null;
/** What the server says of the index, asked once until the library may have changed. */
function status() {
  known ??= get("/api/status");
  known.catch(() => (known = null));
  return known;
}
const results = new Results({
  player,
  basket,
  openDetails: (row) => new Details(row),
  similar: (row) => searchBy(row.like()),
  ask: (q) => search.ask({ q, like: null }, { isNew: true }),
  more: () => search.more(),
});
const sample = new Sample(player, (part) => {
  const [start, end] = part ?? [null, null];
  search.ask({ like: { ...search.question.like, start, end } });
});
const search = new Search(results, sample, status);
new Keys({ results, player, basket, isSearch: () => !byId("search").hidden });

/** Search by a sound alone. */
function searchBy(like) {
  show("search");
  scrollTo(0, 0);
  search.ask({ like, q: "" }, { isNew: true });
}

const byFile = (file, name = file.name) => searchBy({ file, name, start: null, end: null });
takeFiles(byFile);
recordBy(byId("record"), MICROPHONE_S, byFile);

function show(view) {
  const isLibrary = view === "library";
  byId("search").hidden = isLibrary;
  byId("to-search").toggleAttribute("aria-current", false);
  byId("to-library").toggleAttribute("aria-current", false);
  byId(isLibrary ? "to-library" : "to-search").setAttribute("aria-current", "page");
  if (isLibrary) {
    known = null;
    library.show();
  } else {
    library.hide();
  }
}

/** What the address says. */
function open() {
  const view = new URLSearchParams(location.search).get("view") ?? "search";
  show(view);
  if (view === "library") document.title = "Library – soundsearch";
  else search.open();
}

for (const id of ["to-search", "to-library"]) {
  byId(id).addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", event.currentTarget.getAttribute("href"));
    open();
  });
}
byId("text").addEventListener("input", () => {
  if (byId("search").hidden) show("search");
});
addEventListener("popstate", open);

basket.listen(() => document.body.classList.toggle("has-basket", basket.items.length > 0));
status().then(({ folder }) => basket.of(folder), () => {});
open();
if (matchMedia("(hover: hover)").matches) byId("text").focus();
