/** The server's answers as promises; its refusals as ApiError, with the server's own sentence. */

export class ApiError extends Error {
  /** @param {string} message @param {number} status @param {any} [body] @param {number} [retryAfter] seconds */
  constructor(message, status, body = {}, retryAfter = 0) {
    super(message);
    this.status = status;
    this.body = body;
    this.retryAfter = retryAfter;
  }
}

const unreachable = () => new ApiError('The server does not answer: is unsay serve still running?', 0);
const TRIES_WHEN_BUSY = 5;

function refusal(status, text, retryAfter) {
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {
    // not JSON: a proxy's page, perhaps; the status must do
  }
  const sentence = typeof body.error === 'string' ? body.error : `The server answered with status ${status}.`;
  return new ApiError(sentence, status, body, Number(retryAfter) || 0);
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw unreachable();
  }
  if (!answer.ok) throw refusal(answer.status, await answer.text(), answer.headers.get('Retry-After'));
  return answer;
}

/** A pause that an AbortSignal ends. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(new DOMException('cancelled', 'AbortError'));
    });
  });
}

/** Try again while the server says 429 (busy), after the time that it names. */
async function whileBusy(attempt, signal) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (error.status !== 429 || tries === TRIES_WHEN_BUSY) throw error;
      await pause(1000 * Math.max(1, error.retryAfter), signal);
    }
  }
}

const patiently = (path, options) => whileBusy(() => ask(path, options), options.signal);

const at = (id) => `/api/photos/${encodeURIComponent(id)}`;
const json = (value) => ({ method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(value) });
const png = (bytes) => ({ method: 'POST', headers: { 'Content-Type': 'image/png' }, body: bytes });

export const status = async () => (await ask('/api/status')).json();
export const samples = async () => (await ask('/api/samples')).json();
export const blob = async (path) => (await ask(path)).blob();
export const picture = (id, step) => blob(`${at(id)}/picture?step=${step}`);
export const regions = async (id, step) => new Uint8Array(await (await patiently(`${at(id)}/regions?step=${step}`, {})).arrayBuffer());
export const photo = async (id) => (await ask(at(id))).json();

export const find = async (id, words, step, signal) =>
  (await patiently(`${at(id)}/find`, { ...json({ words, step, threshold: null }), signal })).json();

/** @param {{grow: number|null, texture: boolean}} options */
export async function erase(id, step, mask, options, signal) {
  const query = new URLSearchParams({ step: String(step), texture: String(options.texture) });
  if (options.grow !== null) query.set('grow', String(options.grow));
  return (await patiently(`${at(id)}/erase?${query}`, { ...png(mask), signal })).json();
}

/** @returns {Promise<{blob: Blob, name: string}>} */
async function download(request, fallback) {
  const answer = await request;
  return { blob: await answer.blob(), name: nameIn(answer.headers.get('Content-Disposition')) ?? fallback };
}

/** The file name in a Content-Disposition: the UTF-8 form, where there is one. */
export function nameIn(header) {
  const long = /filename\*=UTF-8''([^;]+)/i.exec(header ?? '');
  if (long) {
    try {
      return decodeURIComponent(long[1]);
    } catch {
      return null;
    }
  }
  return /filename="?([^";]+)"?/i.exec(header ?? '')?.[1] ?? null;
}

export function file(id, step, format, fallback, signal) {
  const query = new URLSearchParams({ step: String(step) });
  if (format) query.set('format', format);
  return download(patiently(`${at(id)}/file?${query}`, { signal }), fallback);
}
export const cutout = (id, step, mask, fallback, signal) =>
  download(patiently(`${at(id)}/cutout?step=${step}`, { ...png(mask), signal }), fallback);
export const masks = (id, step, format, value, fallback, signal) =>
  download(patiently(`${at(id)}/masks?step=${step}&format=${format}`, { ...json(value), signal }), fallback);

/** Delete the photo on the server; works while the page is going away. */
export const letGo = (id) => navigator.sendBeacon(`${at(id)}/close`);

/**
 * Send the photo. XMLHttpRequest, because fetch cannot tell how much has been sent.
 * @param {File} photoFile
 * @param {(share: number) => void} progress
 * @param {AbortSignal} signal
 */
export const upload = (photoFile, progress, signal) => whileBusy(() => send(photoFile, progress, signal), signal);

function send(photoFile, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', `/api/photos?name=${encodeURIComponent(photoFile.name)}`);
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => {
      if (request.status === 201) resolve(JSON.parse(request.responseText));
      else reject(refusal(request.status, request.responseText, request.getResponseHeader('Retry-After')));
    };
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException('cancelled', 'AbortError'));
    signal.addEventListener('abort', () => request.abort());
    request.send(photoFile);
  });
}
