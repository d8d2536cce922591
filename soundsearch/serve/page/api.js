// Requests to the server this page came from.

const CHANGES = { "X-Soundsearch": "1" };

/** What went wrong, in one line; status is 0 where the server was not reached. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer; is soundsearch serve still running?", 0);
  }
  if (response.ok) return response;
  let text = `${response.status} ${response.statusText}`;
  try {
    text = (await response.json()).error ?? text;
  } catch {
    // no JSON: the status says it
  }
  throw new ApiError(text, response.status);
}

/** An address with the parameters that have a value. */
export function address(path, parameters = {}) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value != null && value !== "") given.append(name, value);
  }
  const query = String(given);
  return query ? `${path}?${query}` : path;
}

/** The JSON at an address. */
export async function get(path, parameters, signal) {
  return (await send(address(path, parameters), { signal })).json();
}

/** Post values as JSON; returns the response. */
export function post(path, value = {}) {
  const headers = { ...CHANGES, "Content-Type": "application/json" };
  return send(path, { method: "POST", headers, body: JSON.stringify(value) });
}

/** Post a file with fields; returns the JSON. */
export async function upload(path, file, name, fields, signal) {
  const form = new FormData();
  for (const [field, value] of Object.entries(fields)) {
    if (value != null && value !== "") form.append(field, value);
  }
  form.append("file", file, name);
  return (await send(path, { method: "POST", headers: CHANGES, body: form, signal })).json();
}

/** Delete what is at an address. */
export const remove = (path) => send(path, { method: "DELETE", headers: CHANGES });

/** Where the bytes of a recording are. */
export const audioUrl = (id) => `/api/recordings/${id}/audio`;

/** Where a passage of a recording is as WAV. */
export function excerptUrl(id, start, end, isDownload = false) {
  const [from, to] = [Math.max(0, start), end].map((second) => second.toFixed(3));
  return address(`/api/recordings/${id}/excerpt`, {
    start: from, end: to, download: isDownload ? 1 : null,
  });
}
