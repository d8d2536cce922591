// Some seconds from the microphone, as a file to search by.

import { toast } from "./dom.js";

/** Let a button record; took(blob, name) gets what was recorded. A second press ends it early. */
export function recordBy(button, seconds, took) {
  let recorder = null;
  const plain = button.title;

  async function begin() {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      const isDenied = error.name === "NotAllowedError";
      const denied = "The browser was not allowed to use the microphone";
      toast(isDenied ? denied : `No microphone: ${error.message}`);
      return;
    }
    const parts = [];
    recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.addEventListener("stop", () => {
      for (const track of stream.getTracks()) track.stop();
      const type = recorder.mimeType;
      recorder = null;
      show(null);
      const ending = /^\w+\/(\w+)/.exec(type)?.[1] ?? "webm";
      took(new Blob(parts, { type }), `microphone.${ending}`);
    });
    recorder.start();
    count(recorder, seconds);
  }

  function count(which, left) {
    if (recorder !== which) return;
    if (left === 0) which.stop();
    else {
      show(left);
      setTimeout(() => count(which, left - 1), 1000);
    }
  }

  function show(left) {
    button.classList.toggle("recording", left != null);
    button.dataset.left = left ?? "";
    const text = left == null ? plain : `Recording, ${left} seconds left; press to end`;
    button.title = text;
    button.setAttribute("aria-label", text);
  }

  if (!navigator.mediaDevices || !window.MediaRecorder) {
    button.disabled = true;
    button.title = "A microphone needs this page on this machine, or over https";
    return;
  }
  button.addEventListener("click", () => (recorder ? recorder.stop() : begin()));
}
