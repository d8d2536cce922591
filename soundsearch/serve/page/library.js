// The library page: what is indexed, what failed, and a run of `index` with its progress.

import { address, get, post, remove } from "./api.js";
import { button, byId, el, toast } from "./dom.js";
import { bytes, clock, count, plural } from "./format.js";

/** Notes of a run that are shown. */
const NOTES = 100;
const WHAT_IT_DOES = "Looks through these folders for files that are new, changed, moved or gone.";

export class Library {
  #place = byId("library");
  #events = null;

  async show() {
    this.#place.hidden = false;
    this.#listen();
    await this.#load();
  }

  hide() {
    this.#place.hidden = true;
    this.#events?.close();
    this.#events = null;
  }

  async #load() {
    try {
      const library = await get("/api/library");
      this.#place.replaceChildren(...this.#build(library));
      this.#setRunning(library.run.running);
      if (library.run.running) this.#report(library.run);
    } catch (error) {
      this.#place.replaceChildren(this.#title(), el("p", { class: "error" }, error.message));
    }
  }

  #title() {
    return el("h1", { id: "library-title" }, "Library");
  }

  #build(library) {
    const { encoder } = library;
    const facts = [
      [count(library.n_indexed), library.n_indexed === 1 ? "recording" : "recordings"],
      [hours(library.duration_s), "of sound"],
      [count(library.n_windows), "windows"],
      [count(library.n_failed), "failed"],
      [count(library.n_missing), "missing"],
      [bytes(library.size_bytes), "index"],
    ];
    return [
      this.#title(),
      el("p", { class: "dim path" }, `${library.folder}, encoder ${encoder.name} ${encoder.version}`),
      el("dl", { class: "totals" },
        facts.map(([number, what]) => el("div", {}, el("dt", {}, what), el("dd", {}, number)))),
      this.#run(library.roots),
      el("h2", {}, "Folders"),
      library.roots.length ? this.#roots(library.roots) : this.#howToBegin(),
      ...this.#failures(library.failures),
    ];
  }

  #howToBegin() {
    return el("p", {},
      "Nothing is indexed yet. Add a folder on the command line: ",
      el("code", {}, "soundsearch index FOLDER"));
  }

  #roots(roots) {
    const numbers = ["recordings", "failed", "missing"];
    const head = ["Folder", ...numbers].map((text, i) =>
      el("th", { scope: "col", class: i ? "number" : null }, text));
    const rows = roots.map((root) => el("tr", {},
      el("th", { scope: "row", class: "path" },
        root.path, !root.present && el("span", { class: "remark" }, "not there now")),
      numbers.map((name) => el("td", { class: "number" }, count(root[name])))));
    return el("div", { class: "scroll" },
      el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)));
  }

  #failures(failures) {
    const causes = Object.entries(failures ?? {});
    if (!causes.length) return [];
    return [
      el("h2", {}, "Files with a problem"),
      el("div", { class: "causes" }, causes.map(([cause, n]) => this.#cause(cause, n))),
    ];
  }

  /** A cause, whose files are listed when it is opened. */
  #cause(cause, n) {
    const list = el("ul", { class: "failed" });
    const more = button("More", () => load(), { hidden: true });
    let n_shown = 0;
    const load = async () => {
      try {
        const answer = await get("/api/library/failures", { cause, offset: n_shown });
        n_shown += answer.failures.length;
        list.append(...answer.failures.map(({ path, error }) =>
          el("li", {},
            el("span", { class: "path" }, path), el("span", { class: "dim" }, error ?? ""))));
        more.hidden = !answer.more;
      } catch (error) {
        toast(error.message);
      }
    };
    const opened = (event) => {
      if (event.target.open && !n_shown) load();
    };
    return el("details", { ontoggle: opened },
      el("summary", {}, cause, " ", el("span", { class: "count" }, count(n))), list, more);
  }

  #run(roots) {
    const disabled = !roots.length;
    this.start = button("Bring up to date", () => this.#start(false), { class: "main", disabled });
    this.retry = button("Try failed files again too", () => this.#start(true), { disabled });
    this.cancel = button("Cancel", () => this.#cancel(), { hidden: true });
    this.stage = el("p", { class: "stage", role: "status" },
      roots.length ? WHAT_IT_DOES : "");
    this.bar = el("progress", { "aria-label": "Progress of the run", max: 1, value: 0 });
    this.notes = el("ul", { class: "run-notes", "aria-label": "Notes of the run" });
    return el("div", { class: "run" },
      el("div", { class: "actions" }, this.start, this.retry, this.cancel),
      this.stage, this.bar, this.notes);
  }

  #setRunning(isRunning) {
    this.start.hidden = this.retry.hidden = isRunning;
    this.cancel.hidden = !isRunning;
    this.bar.classList.toggle("shown", isRunning);
  }

  async #start(retry) {
    try {
      this.notes.replaceChildren();
      await post(address("/api/library/index", { retry: retry ? "1" : null }));
      this.isOurs = true;
      this.#setRunning(true);
      this.stage.textContent = "Starting";
      this.cancel.focus();
    } catch (error) {
      toast(error.message);
    }
  }

  async #cancel() {
    try {
      await remove("/api/library/index");
      this.stage.textContent = "Ending; what is finished is kept";
    } catch (error) {
      toast(error.message);
    }
  }

  #listen() {
    this.#events?.close();
    this.#events = new EventSource("/api/library/events");
    this.#events.addEventListener("message", (event) => {
      if (!this.stage) return;
      const reported = JSON.parse(event.data);
      if ("finished" in reported) this.#finish(reported.finished);
      else this.#report(reported);
    });
  }

  #report({ stage, done, total, note, status }) {
    this.isOurs = true;
    this.#setRunning(true);
    if (note != null && this.notes.childElementCount < NOTES) this.notes.append(el("li", {}, note));
    if (!stage) return;
    const amount = total ? `: ${count(Math.floor(done))} of ${count(total)}` : "";
    this.stage.textContent = [`${stage}${amount}`, status].filter(Boolean).join(", ");
    if (total) this.bar.value = done / total;
    else this.bar.removeAttribute("value");
  }

  /** The run has ended; one that ended before this page was opened is of no interest. */
  async #finish(report) {
    if (!this.isOurs) return;
    this.isOurs = false;
    const notes = [...this.notes.children];
    await this.#load();
    this.notes.append(...notes);
    this.stage.textContent = summary(report);
    this.stage.classList.toggle("error", "error" in report);
    if (document.activeElement === document.body) this.start.focus();
  }
}

function summary(report) {
  if (report.error) return report.error;
  const counts = [
    [report.new, "new"], [report.changed, "changed"], [report.moved, "moved"],
    [report.removed, "gone"], [report.failed, "failed"], [report.unchanged, "unchanged"],
  ].filter(([n]) => n).map(([n, what]) => `${count(n)} ${what}`);
  const end = report.interrupted ? "Cancelled" : "Done";
  return `${end} in ${clock(report.elapsed_s)}: ${counts.join(", ") || plural(0, "file")}`;
}

function hours(seconds) {
  if (seconds < 60) return `${seconds.toFixed(0)} s`;
  return seconds < 3600 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
