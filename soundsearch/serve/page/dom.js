// Elements made in one call. Whatever comes from outside becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes, event listeners (on...), and children (elements or texts).
 * An attribute that is false, null or undefined is left out; one that is true is empty.
 */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.replace(/^on/, ""), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return made;
}

/** A button; content: its text, or its parts. */
export function button(content, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, content);
}

/** An icon of icons.svg by its name. */
export function icon(name) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("class", "icon");
  made.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/page/icons.svg#${name}`);
  made.append(use);
  return made;
}

/** Show another icon in an element that holds one. */
export function setIcon(element, name) {
  element.querySelector("use").setAttribute("href", `/page/icons.svg#${name}`);
}

/** The element of this id. */
export const byId = (id) => document.getElementById(id);

let toastTimer;

/** Say something for some seconds. */
export function toast(text) {
  const place = byId("toast");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => place.classList.remove("shown"), 4000);
}

/** Let the browser save what an address answers. */
export function download(url, name = "") {
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

/** Put a text on the clipboard; also where the page is not served securely. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { class: "unseen", "aria-hidden": "true" });
    const before = document.activeElement;
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    before?.focus();
  }
}
