// Files that are dropped on the page, or chosen.

import { byId } from "./dom.js";

/** took(file) gets a file that was dropped anywhere, or chosen with the button. */
export function takeFiles(took) {
  const cover = byId("drop");
  const chooser = byId("file");
  let depth = 0; // of elements the file is over
  const isFile = (event) => event.dataTransfer?.types.includes("Files");
  const show = (isShown) => {
    cover.hidden = !isShown;
    if (!isShown) depth = 0;
  };
  document.addEventListener("dragenter", (event) => {
    if (!isFile(event)) return;
    depth++;
    show(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (isFile(event) && --depth <= 0) show(false);
  });
  document.addEventListener("dragover", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  document.addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    show(false);
    const [file] = event.dataTransfer.files;
    if (file) took(file);
  });
  byId("choose").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    const [file] = chooser.files;
    if (file) took(file);
    chooser.value = "";
  });
}
