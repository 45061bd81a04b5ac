/** The marked areas as translucent colours with an outline, on a canvas of at most 2048 pixels a side. */

import { ADDED, CUT, OFF, flood } from './masks.js';

const LONG_SIDE = 2048;
const GHOST = 256; // found, but switched off: only an outline is drawn
const HAND = 255; // the class of what is drawn by hand alone

/** Colours of words, told apart on most photos and by most eyes; the last is the hand's. */
export const COLOURS = ['#ff5a4f', '#2f9bff', '#ffb400', '#17c08b', '#b56bff', '#ff7ac4', '#00c2d6', '#a4c639'];
const HAND_COLOUR = '#ff3d8b';

const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

export class Overlay {
  /** @param {HTMLCanvasElement} canvas @param {import('./masks.js').Masks} masks */
  constructor(canvas, masks) {
    this.canvas = canvas;
    this.masks = masks;
    const shrink = Math.min(2, LONG_SIDE / Math.max(masks.width, masks.height));
    this.width = canvas.width = Math.max(1, Math.round(masks.width * shrink));
    this.height = canvas.height = Math.max(1, Math.round(masks.height * shrink));
    this.columns = this.#nearest(this.width, masks.width);
    this.rows = this.#nearest(this.height, masks.height);
    this.classes = new Uint16Array(this.width * this.height);
    this.hover = new Uint8Array(this.width * this.height);
    this.hovering = null;
    this.reach = Math.max(1, Math.round(Math.max(this.width, this.height) / 800));
    /** colour channels by class */
    this.colours = Array.from({ length: 256 }, () => channels(HAND_COLOUR));
  }

  #nearest(count, full) {
    return Uint32Array.from({ length: count }, (_, i) => Math.min(full - 1, Math.floor(((i + 0.5) * full) / count)));
  }

  /** @param {string[]} hexes colours of label values 1, 2, ... */
  setColours(hexes) {
    hexes.forEach((hex, i) => (this.colours[i + 1] = channels(hex)));
  }

  #classAt(i) {
    const { labels, marks, on } = this.masks;
    const [label, mark] = [labels[i], marks[i]];
    if (mark & ADDED) return label && on[label] ? label : HAND;
    if (!label || mark & CUT) return 0;
    return !on[label] || mark & OFF ? label + GHOST : label;
  }

  /** @param {import('./masks.js').Box} [box] in the photo's pixels; all, if left out */
  draw(box) {
    const area = box ? this.#scaled(box) : { x0: 0, y0: 0, x1: this.width, y1: this.height };
    if (area.x1 <= area.x0 || area.y1 <= area.y0) return;
    for (let y = area.y0; y < area.y1; y += 1) {
      const row = this.rows[y] * this.masks.width;
      for (let x = area.x0; x < area.x1; x += 1) this.classes[y * this.width + x] = this.#classAt(row + this.columns[x]);
    }
    this.#paint(area);
  }

  /** The box on this canvas, wider by the outline's reach. */
  #scaled(box) {
    const [sx, sy] = [this.width / this.masks.width, this.height / this.masks.height];
    const rim = this.reach + 1;
    return {
      x0: Math.max(0, Math.floor(box.x0 * sx) - rim),
      y0: Math.max(0, Math.floor(box.y0 * sy) - rim),
      x1: Math.min(this.width, Math.ceil(box.x1 * sx) + rim),
      y1: Math.min(this.height, Math.ceil(box.y1 * sy) + rim),
    };
  }

  #paint(area) {
    const [w, h] = [area.x1 - area.x0, area.y1 - area.y0];
    const image = new ImageData(w, h);
    for (let y = 0; y < h; y += 1) {
      for (let x = 0; x < w; x += 1) this.#pixel(image.data, (y * w + x) * 4, area.x0 + x, area.y0 + y);
    }
    this.canvas.getContext('2d').putImageData(image, area.x0, area.y0);
  }

  #pixel(out, at, x, y) {
    const { width, classes, reach } = this;
    const i = y * width + x;
    const kind = classes[i];
    const left = classes[i - Math.min(x, reach)];
    const right = classes[i + Math.min(width - 1 - x, reach)];
    const up = classes[i - Math.min(y, reach) * width];
    const down = classes[i + Math.min(this.height - 1 - y, reach) * width];
    const edge = left !== kind || right !== kind || up !== kind || down !== kind;
    if (!kind) {
      // a light line outside the coloured one: it shows on photos of any colour
      const near = Math.max(left, right, up, down);
      if (near && near < GHOST) put(out, at, [255, 255, 255], 210);
      return;
    }
    const ghost = kind >= GHOST;
    const lit = this.hover[i];
    const strength = ghost ? (lit ? 90 : 0) : lit ? 175 : 115;
    put(out, at, this.colours[ghost ? kind - GHOST : kind], edge ? (ghost ? 150 : 255) : strength);
  }

  /**
   * Light up the piece under a pixel of the photo; outside all pieces, none.
   * @returns {boolean} whether there is one
   */
  light(point) {
    const spot = point && this.#spot(point);
    if (spot && this.hovering && this.hover[spot.y * this.width + spot.x]) return true;
    const before = this.hovering;
    this.hover.fill(0);
    this.hovering = spot ? this.#lightPiece(spot) : null;
    for (const box of [before, this.hovering]) if (box) this.#paint(box);
    return this.hovering !== null;
  }

  #spot(point) {
    const x = Math.floor((point.x * this.width) / this.masks.width);
    const y = Math.floor((point.y * this.height) / this.masks.height);
    return x >= 0 && y >= 0 && x < this.width && y < this.height ? { x, y } : null;
  }

  #lightPiece({ x, y }) {
    const kind = this.classes[y * this.width + x];
    if (!kind || kind === HAND) return null;
    const belongs = (i) => this.classes[i] === kind && !this.hover[i];
    return flood(this.width, this.height, x, y, belongs, (i) => (this.hover[i] = 1));
  }
}

function put(out, at, colour, alpha) {
  out[at] = colour[0];
  out[at + 1] = colour[1];
  out[at + 2] = colour[2];
  out[at + 3] = alpha;
}
