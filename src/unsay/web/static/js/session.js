/** One photo being edited: its words, its masks, its steps. Knows nothing of the page; `hooks` tell the page what changed. */

import * as api from './api.js';
import { History } from './history.js';
import { Masks } from './masks.js';
import { COLOURS } from './overlay.js';
import { decodeGrey, encodeGrey, fromBase64, toBase64 } from './png.js';

const BY_HAND = 'marked by hand';

export class Session {
  /**
   * @param {any} photo as the server told
   * @param {File} file to open it again, should the server have let it go
   * @param {{masks: () => void, words: () => void, step: () => void, history: () => void}} hooks
   */
  constructor(photo, file, hooks) {
    this.photo = photo;
    this.file = file;
    this.hooks = hooks;
    this.step = photo.step;
    this.masks = new Masks(photo.width, photo.height);
    /** @type {{text: string, on: boolean, colour: string}[]} */
    this.words = [];
    this.found = null;
    this.finding = null;
    this.history = new History();
    this.commit('open', 'Photo');
  }

  // --- words ---------------------------------------------------------------------------------------------------------

  /** @returns {boolean} whether it is a new word */
  addWord(text) {
    const word = text.trim().replace(/\s+/g, ' ');
    if (!word || this.words.some((known) => known.text.toLowerCase() === word.toLowerCase())) return false;
    const taken = new Set(this.words.map((known) => known.colour));
    const colour = COLOURS.find((candidate) => !taken.has(candidate)) ?? COLOURS[this.words.length % COLOURS.length];
    this.words = [...this.words, { text: word, on: true, colour }];
    return true;
  }

  /** Words that were not found make room for the next ones. */
  dropMissing() {
    this.words = this.words.filter((word) => this.stateOf(word.text) !== 'missing');
  }

  removeWord(text) {
    this.words = this.words.filter((word) => word.text !== text);
    this.masks.forgetClicks(text);
  }

  switchWord(text) {
    this.words = this.words.map((word) => (word.text === text ? { ...word, on: !word.on } : word));
    const on = this.words.find((word) => word.text === text).on;
    this.#wire();
    this.commit('words', `${text} ${on ? 'on' : 'off'}`);
    this.hooks.words();
    this.hooks.masks();
  }

  /** 'asking' | 'found' | 'missing' | 'unknown' for a word: what is known of it so far. */
  stateOf(text) {
    if (this.found?.words.includes(text)) return this.found.found.includes(text) ? 'found' : 'missing';
    return this.finding ? 'asking' : 'unknown';
  }

  /** Ask for all words together: they compete. An answer that a newer question has overtaken is dropped. */
  async find() {
    this.finding?.abort();
    const asked = this.words.map((word) => word.text);
    const control = (this.finding = asked.length ? new AbortController() : null);
    this.hooks.words();
    try {
      const answer = asked.length ? await api.find(this.photo.id, asked, this.step, control.signal) : null;
      if (control !== this.finding) return null;
      const found = answer && readable(answer, asked);
      const labels = found && (await this.#decode(found.png));
      if (control !== this.finding) return null;
      const news = String(found?.found ?? []) !== String(this.found?.found ?? []);
      this.found = found;
      this.masks.setLabels(labels, found?.words ?? []);
      this.#wire();
      if (news) this.commit('words', found?.found.join(', ') || 'No words'); // a word that is not there changes nothing
      return found;
    } catch (error) {
      if (error.name === 'AbortError') return null;
      throw error;
    } finally {
      if (control === this.finding) this.finding = null;
      this.hooks.words();
      this.hooks.masks();
    }
  }

  stopFinding() {
    this.finding?.abort();
    this.finding = null;
  }

  /** The photo's regions before any was named; asked for once a step. @returns {Promise<Uint8Array>} */
  regions() {
    if (this.regionsOf?.step !== this.step) {
      const asked = api.regions(this.photo.id, this.step).then((png) => this.#decode(png));
      this.regionsOf = { step: this.step, pixels: asked };
      asked.catch(() => (this.regionsOf = null)); // to be asked for again
    }
    return this.regionsOf.pixels;
  }

  async #decode(png) {
    const { width, height, pixels } = await decodeGrey(png);
    if (width !== this.photo.width || height !== this.photo.height) throw new Error('The masks have another size than the photo.');
    return pixels;
  }

  /** Tell the masks which label values count. */
  #wire() {
    this.masks.on.fill(0);
    this.found?.words.forEach((text, i) => {
      this.masks.on[i + 1] = this.words.some((word) => word.text === text && word.on) ? 1 : 0;
    });
  }

  /** Colours of the label values, in order. */
  colours() {
    return (this.found?.words ?? []).map((text) => this.words.find((word) => word.text === text)?.colour ?? COLOURS[0]);
  }

  // --- what is marked -------------------------------------------------------------------------------------------------

  /** The words that mark something, and whether anything is marked at all. */
  marked() {
    const counts = this.masks.counts();
    const words = (this.found?.words ?? []).filter((_, i) => counts[i + 1] > 0);
    return { words, byHand: counts[0] > 0, pixels: counts.reduce((sum, count) => sum + count, 0) };
  }

  /** The mask as a PNG file. @returns {Promise<Uint8Array>} */
  maskFile() {
    return encodeGrey(this.masks.selection(), this.photo.width, this.photo.height);
  }

  /** What is marked, with corrections, as /masks takes it. */
  async labelled() {
    const { words: marked, byHand } = this.marked();
    const names = byHand ? [...marked, BY_HAND] : marked;
    const value = new Uint8Array(256);
    this.found?.words.forEach((text, i) => (value[i + 1] = marked.indexOf(text) + 1));
    value[0] = names.length;
    const labels = new Uint8Array(this.masks.labels.length);
    for (let i = 0; i < labels.length; i += 1) if (this.masks.has(i)) labels[i] = value[this.masks.ownerAt(i)];
    const scores = Object.fromEntries(names.map((name) => [name, this.found?.scores[name] ?? 1]));
    return { words: names, scores, labels: toBase64(await encodeGrey(labels, this.photo.width, this.photo.height)) };
  }

  /** @param {{grow: number|null, texture: boolean}} options @param {AbortSignal} signal */
  async erase(options, signal) {
    const { words, byHand } = this.marked();
    const mask = await this.maskFile();
    const answer = await api.erase(this.photo.id, this.step, mask, options, signal);
    this.step = answer.step;
    this.regionsOf = null; // a step of this number may have been another
    this.words = [];
    this.found = null;
    this.masks.clear();
    this.#wire();
    this.commit('erase', `Erased ${[...words, ...(byHand ? [words.length ? 'more by hand' : 'by hand'] : [])].join(', ')}`, words);
    return answer;
  }

  // --- history --------------------------------------------------------------------------------------------------------

  /**
   * Remember the state after something was done.
   * @param {'open'|'words'|'hand'|'erase'} kind @param {string} label @param {string[]} [erased] words that are gone now
   */
  commit(kind, label, erased = []) {
    const { marks, width, height, clicks } = this.masks;
    this.history.push({
      kind,
      label,
      erased,
      step: this.step,
      words: this.words.filter((word) => this.found?.words.includes(word.text)), // not those still being asked for
      find: this.found,
      marks: marks.some(Boolean) ? encodeGrey(marks, width, height) : null,
      clicks,
    });
    this.hooks.history();
  }

  /** Words erased on the way to where we are. */
  erasedWords() {
    return this.history.entries.slice(0, this.history.index + 1).flatMap((entry) => entry.erased);
  }

  /** Go to an entry of the history. */
  async goTo(index) {
    this.stopFinding();
    this.history.index = index;
    const entry = this.history.current;
    const marks = entry.marks ? (await decodeGrey(await entry.marks)).pixels : new Uint8Array(this.masks.marks.length);
    const labels = entry.find ? await this.#decode(entry.find.png) : new Uint8Array(marks.length);
    if (entry !== this.history.current) return; // somebody went on meanwhile
    this.step = entry.step;
    this.words = entry.words;
    this.found = entry.find;
    Object.assign(this.masks, { marks, labels, clicks: entry.clicks, names: entry.find?.words ?? [] });
    this.#wire();
    this.hooks.step();
  }

  /** Drop what was changed by hand since the last entry. */
  async revertMarks() {
    const { marks } = this.history.current;
    if (marks) this.masks.marks.set((await decodeGrey(await marks)).pixels);
    else this.masks.marks.fill(0);
    this.hooks.masks();
  }

  /** Take over the words and masks of the same photo, opened before. */
  inherit(other) {
    if (other.step !== 0 || other.masks.marks.length !== this.masks.marks.length) return;
    const { marks, labels, clicks, names } = other.masks;
    Object.assign(this.masks, { marks, labels, clicks, names });
    this.words = other.words;
    this.found = other.found;
    this.#wire();
    this.commit('words', 'Opened again');
  }
}

/** The answer in the words' own spelling, its labels as bytes. */
function readable(answer, asked) {
  const same = answer.words.length === asked.length;
  const name = (text) => (same ? (asked[answer.words.indexOf(text)] ?? text) : text);
  return {
    words: same ? asked : answer.words,
    found: answer.found.map(name),
    missing: answer.not_found.map(name),
    scores: Object.fromEntries(Object.entries(answer.scores).map(([text, score]) => [name(text), score])),
    nearest: answer.nearest ?? [],
    png: fromBase64(answer.labels),
  };
}
