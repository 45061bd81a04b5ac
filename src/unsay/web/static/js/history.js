/** Everything that was done, in order; each entry holds what is needed to go back to the state after it. */

/**
 * @typedef {object} Entry
 * @property {string} label what was done, for the strip
 * @property {'open'|'words'|'hand'|'erase'} kind
 * @property {string[]} erased words that are gone since
 * @property {number} step the server's step
 * @property {{text: string, on: boolean, colour: string}[]} words
 * @property {any} find what /find answered, its labels as PNG bytes; null if nothing was asked
 * @property {Promise<Uint8Array>|null} marks a PNG of the marks; null if there are none
 * @property {{x: number, y: number, word: string}[]} clicks
 */

const LONGEST = 300;

export class History {
  constructor() {
    /** @type {Entry[]} */
    this.entries = [];
    this.index = -1;
  }

  get current() {
    return this.entries[this.index];
  }

  get canUndo() {
    return this.index > 0;
  }

  get canRedo() {
    return this.index < this.entries.length - 1;
  }

  /** @param {Entry} entry what could have been redone is forgotten */
  push(entry) {
    this.entries.length = this.index + 1;
    this.entries.push(entry);
    if (this.entries.length > LONGEST) this.entries.shift();
    this.index = this.entries.length - 1;
  }
}

/**
 * Draw the strip.
 * @param {HTMLElement} list @param {History} history @param {(index: number) => void} go
 */
export function drawStrip(list, history, go, make) {
  list.replaceChildren(
    ...history.entries.map((entry, i) => {
      const button = make('button', { type: 'button', className: `past past-${entry.kind}`, textContent: entry.label });
      if (i === history.index) button.setAttribute('aria-current', 'step');
      if (i > history.index) button.classList.add('ahead');
      button.addEventListener('click', () => go(i));
      return make('li', {}, button);
    }),
  );
  const current = list.children[history.index];
  if (current) list.scrollLeft = current.offsetLeft - list.clientWidth / 2;
}
