/**
 * What is marked, on the photo's own pixels. Two bytes a pixel: which word was found there, and what a person did there.
 */

export const ADDED = 1; // brushed on
export const CUT = 2; // rubbed out
export const OFF = 4; // in a piece that was clicked off

/** @typedef {{x0: number, y0: number, x1: number, y1: number}} Box the end is not part of it */

export class Masks {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.labels = new Uint8Array(width * height);
    this.marks = new Uint8Array(width * height);
    /** which words count, by their value in labels */
    this.on = new Uint8Array(256).fill(1);
    /** where pieces were clicked off: so that they stay off when another word changes the labels
     * @type {{x: number, y: number, word: string}[]} */
    this.clicks = [];
    /** @type {string[]} the words of label values 1, 2, ... */
    this.names = [];
  }

  /** Is this pixel marked? */
  has(i) {
    const mark = this.marks[i];
    if (mark & ADDED) return true;
    const label = this.labels[i];
    return label > 0 && this.on[label] > 0 && !(mark & (CUT | OFF));
  }

  /** The mask itself: 255 where marked. */
  selection() {
    const out = new Uint8Array(this.labels.length);
    for (let i = 0; i < out.length; i += 1) if (this.has(i)) out[i] = 255;
    return out;
  }

  /** How many pixels are marked: [of each label value], with those drawn by hand alone at 0. */
  counts() {
    const counts = new Uint32Array(256);
    for (let i = 0; i < this.labels.length; i += 1) if (this.has(i)) counts[this.ownerAt(i)] += 1;
    return counts;
  }

  /** The word that a marked pixel belongs to; 0 where only a hand has drawn. */
  ownerAt(i) {
    const label = this.labels[i];
    return this.on[label] ? label : 0;
  }

  /**
   * New labels, of other words: strokes stay, and pieces clicked off stay off where they are still the same word's.
   * @param {Uint8Array|null} labels @param {string[]} names
   */
  setLabels(labels, names) {
    this.labels = labels ?? new Uint8Array(this.width * this.height);
    this.names = names;
    for (let i = 0; i < this.marks.length; i += 1) this.marks[i] &= ~OFF;
    for (const { x, y, word } of this.clicks) {
      if (names[this.labels[y * this.width + x] - 1] === word) this.#fillPiece(x, y, true);
    }
  }

  /** A word is taken away, and with it what was clicked. */
  forgetClicks(word) {
    this.clicks = this.clicks.filter((click) => click.word !== word);
  }

  clear() {
    this.labels.fill(0);
    this.marks.fill(0);
    this.clicks = [];
  }

  /**
   * Switch the connected piece under a pixel.
   * @returns {{off: boolean, label: number, box: Box}|null} null where there is none
   */
  togglePiece(x, y) {
    const i = y * this.width + x;
    const label = this.labels[i];
    if (!label || this.marks[i] & CUT) return null;
    const off = !(this.marks[i] & OFF);
    const box = this.#fillPiece(x, y, off);
    if (off) this.clicks = [...this.clicks, { x, y, word: this.names[label - 1] }]; // the history holds the old list
    else this.clicks = this.clicks.filter((c) => this.marks[c.y * this.width + c.x] & OFF);
    return { off, label, box };
  }

  /**
   * Mark the connected region under a pixel, whatever it is called; or take it back, where that pixel is marked so. What
   * words and the eraser did there is the same afterwards.
   * @param {Uint8Array} regions a value for each region
   * @returns {{add: boolean, box: Box}}
   */
  toggleRegion(regions, x, y) {
    const { marks, width, height } = this;
    const value = regions[y * width + x];
    const add = !this.has(y * width + x);
    const seen = new Uint8Array(regions.length);
    const box = flood(width, height, x, y, (i) => regions[i] === value && !seen[i], (i) => {
      seen[i] = 1;
      if (!add) marks[i] &= ~ADDED;
      else if (!this.has(i)) marks[i] |= ADDED;
    });
    return { add, box };
  }

  #fillPiece(x, y, off) {
    const { labels, marks, width, height } = this;
    const label = labels[y * width + x];
    if (!label) return null;
    const belongs = (i) => labels[i] === label && !(marks[i] & CUT) && Boolean(marks[i] & OFF) !== off;
    return flood(width, height, x, y, belongs, (i) => {
      if (off) marks[i] |= OFF;
      else marks[i] &= ~OFF;
    });
  }

  /**
   * Draw a stroke from one point to another with a round brush.
   * @param {boolean} add true: brush, false: eraser
   * @returns {Box} what may have changed
   */
  stroke(from, to, radius, add) {
    const { width, height, marks } = this;
    const box = {
      x0: Math.max(0, Math.floor(Math.min(from.x, to.x) - radius)),
      y0: Math.max(0, Math.floor(Math.min(from.y, to.y) - radius)),
      x1: Math.min(width, Math.ceil(Math.max(from.x, to.x) + radius) + 1),
      y1: Math.min(height, Math.ceil(Math.max(from.y, to.y) + radius) + 1),
    };
    const [set, unset] = add ? [ADDED, ~CUT] : [CUT, ~ADDED];
    for (let y = box.y0; y < box.y1; y += 1) {
      const span = spanOfRow(from, to, radius, y + 0.5);
      if (!span) continue;
      const end = Math.min(width, Math.ceil(span[1] - 0.5));
      for (let x = Math.max(0, Math.ceil(span[0] - 0.5)); x < end; x += 1) {
        const i = y * width + x;
        marks[i] = (marks[i] & unset) | set;
      }
    }
    return box;
  }
}

/** A stroke is two discs and the band between them, which is convex: one span in each row. */
function spanOfRow(from, to, radius, y) {
  const xs = [];
  for (const end of [from, to]) {
    const half = radius * radius - (y - end.y) ** 2;
    if (half >= 0) xs.push(end.x - Math.sqrt(half), end.x + Math.sqrt(half));
  }
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  if (length > 0) xs.push(...bandCrossings(from, to, radius / length, y));
  return xs.length ? [Math.min(...xs), Math.max(...xs)] : null;
}

function bandCrossings(from, to, scale, y) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const xs = [];
  for (const side of [-1, 1]) {
    const t = dy ? (y - from.y - side * dx * scale) / dy : -1;
    if (t >= 0 && t <= 1) xs.push(from.x - side * dy * scale + t * dx);
  }
  return xs;
}

/**
 * Visit the 8-connected area of (x, y), row by row. `visit` must make `belongs` false, or this never ends.
 * @returns {Box}
 */
export function flood(width, height, x, y, belongs, visit) {
  const box = { x0: x, y0: y, x1: x + 1, y1: y + 1 };
  const stack = [x, y];
  while (stack.length) {
    const row = stack.pop();
    const start = stack.pop();
    if (!belongs(row * width + start)) continue;
    const span = fillSpan(width, row, start, belongs, visit);
    box.x0 = Math.min(box.x0, span[0]);
    box.x1 = Math.max(box.x1, span[1]);
    box.y0 = Math.min(box.y0, row);
    box.y1 = Math.max(box.y1, row + 1);
    for (const next of [row - 1, row + 1]) {
      if (next >= 0 && next < height) pushStarts(stack, width, next, span, belongs);
    }
  }
  return box;
}

function fillSpan(width, row, start, belongs, visit) {
  let [left, right] = [start, start + 1];
  while (left > 0 && belongs(row * width + left - 1)) left -= 1;
  while (right < width && belongs(row * width + right)) right += 1;
  for (let x = left; x < right; x += 1) visit(row * width + x);
  return [left, right];
}

/** One start for each run of pixels that touches the span from a neighbouring row. */
function pushStarts(stack, width, row, span, belongs) {
  let inside = false;
  const end = Math.min(width, span[1] + 1);
  for (let x = Math.max(0, span[0] - 1); x < end; x += 1) {
    const now = belongs(row * width + x);
    if (now && !inside) stack.push(x, row);
    inside = now;
  }
}
