/** The photo on its stage: where it lies, how large, and how a place on the screen becomes a pixel. */

const CLOSEST = 16; // screen pixels to one of the photo's, or 8 times the fit, whichever is more

export class View {
  /** @param {HTMLElement} stage @param {HTMLElement} layer what is moved and scaled */
  constructor(stage, layer, moved) {
    this.stage = stage;
    this.layer = layer;
    this.moved = moved;
    this.width = this.height = 1;
    this.zoom = 1;
    this.x = this.y = 0;
    new ResizeObserver(() => this.#keep()).observe(stage);
  }

  show(width, height) {
    Object.assign(this, { width, height });
    this.layer.style.width = `${width}px`;
    this.layer.style.height = `${height}px`;
    this.fit();
  }

  /** The scale at which the whole photo is seen. */
  get whole() {
    return Math.min((this.stage.clientWidth - 24) / this.width, (this.stage.clientHeight - 24) / this.height, 4) || 1;
  }

  get scale() {
    return this.whole * this.zoom;
  }

  fit() {
    this.zoom = 1;
    this.x = this.y = 0;
    this.#place();
  }

  /** @param {number} factor @param {{x: number, y: number}} [at] the client point that stays where it is */
  zoomBy(factor, at) {
    const most = Math.max(8, CLOSEST / this.whole);
    const zoom = Math.min(most, Math.max(1, this.zoom * factor));
    const middle = this.#middle();
    const [px, py] = at ? [at.x - middle.x, at.y - middle.y] : [0, 0];
    const change = zoom / this.zoom;
    this.x = px - (px - this.x) * change;
    this.y = py - (py - this.y) * change;
    this.zoom = zoom;
    this.#keep();
  }

  panBy(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.#keep();
  }

  /** x and y are how far the photo's middle is from the stage's: bounded, so that the photo cannot be lost. */
  #keep() {
    const [w, h] = [this.width * this.scale, this.height * this.scale];
    const [mx, my] = [(w - this.stage.clientWidth) / 2 + 12, (h - this.stage.clientHeight) / 2 + 12];
    this.x = Math.max(-Math.max(0, mx), Math.min(Math.max(0, mx), this.x));
    this.y = Math.max(-Math.max(0, my), Math.min(Math.max(0, my), this.y));
    this.#place();
  }

  #place() {
    const left = (this.stage.clientWidth - this.width * this.scale) / 2 + this.x;
    const top = (this.stage.clientHeight - this.height * this.scale) / 2 + this.y;
    this.layer.style.transform = `translate(${left}px, ${top}px) scale(${this.scale})`;
    this.left = left;
    this.top = top;
    this.moved();
  }

  #middle() {
    const box = this.stage.getBoundingClientRect();
    return { x: box.left + this.stage.clientWidth / 2, y: box.top + this.stage.clientHeight / 2 };
  }

  /** The place in the photo, in its pixels and with fractions, of a pointer event. */
  toPhoto(event) {
    const box = this.stage.getBoundingClientRect();
    return { x: (event.clientX - box.left - this.left) / this.scale, y: (event.clientY - box.top - this.top) / this.scale };
  }

  /** The place on the stage, in CSS pixels, of a place in the photo. */
  toStage(point) {
    return { x: this.left + point.x * this.scale, y: this.top + point.y * this.scale };
  }

  contains(point) {
    return point.x >= 0 && point.y >= 0 && point.x < this.width && point.y < this.height;
  }
}
