/** The pictures of the last few steps, so that going back is at once. */

import * as api from './api.js';

const KEPT = 8;

export class Pictures {
  constructor(id) {
    this.id = id;
    /** @type {Map<number, Promise<string>>} */
    this.urls = new Map();
  }

  /** @returns {Promise<string>} a blob: address */
  url(step) {
    let url = this.urls.get(step);
    if (!url) {
      url = api.picture(this.id, step).then(decoded);
      url.catch(() => this.urls.delete(step));
    }
    this.urls.delete(step);
    this.urls.set(step, url); // now the newest
    this.#shrink(step);
    return url;
  }

  /** Step 0 stays: before and after are compared with it. */
  #shrink(wanted) {
    for (const step of [...this.urls.keys()]) {
      if (this.urls.size <= KEPT) return;
      if (step !== 0 && step !== wanted) this.forget(step);
    }
  }

  forget(step) {
    this.urls.get(step)?.then(URL.revokeObjectURL, () => {});
    this.urls.delete(step);
  }

  /** A step was made anew: what followed it is gone. */
  forgetFrom(step) {
    for (const known of [...this.urls.keys()]) if (known >= step) this.forget(known);
  }

  close() {
    for (const step of [...this.urls.keys()]) this.forget(step);
  }
}

/** The address of a picture that can be shown without a moment of nothing. */
async function decoded(blob) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  await image.decode();
  return image.src;
}
