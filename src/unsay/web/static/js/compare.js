/** Before and after: the photo as it was, laid over the result up to a line that can be moved. */

const STEP = 0.02;

export class Compare {
  /** @param {HTMLElement} handle role=slider @param {HTMLImageElement} before @param {import('./view.js').View} view */
  constructor(handle, before, view) {
    Object.assign(this, { handle, before, view });
    this.share = 0.5;
    handle.addEventListener('pointerdown', (event) => this.#grab(event));
    handle.addEventListener('pointermove', (event) => handle.hasPointerCapture(event.pointerId) && this.#follow(event));
    handle.addEventListener('keydown', (event) => this.#key(event));
  }

  get shown() {
    return !this.handle.hidden;
  }

  show(shown) {
    this.handle.hidden = this.before.hidden = !shown;
    this.place();
  }

  #grab(event) {
    event.preventDefault();
    event.stopPropagation();
    this.handle.focus();
    this.handle.setPointerCapture(event.pointerId);
  }

  #follow(event) {
    this.set(this.view.toPhoto(event).x / this.view.width);
  }

  #key(event) {
    const change = { ArrowLeft: -STEP, ArrowDown: -STEP, ArrowRight: STEP, ArrowUp: STEP, PageDown: -0.1, PageUp: 0.1 }[event.key];
    if (change !== undefined) this.set(this.share + change);
    else if (event.key === 'Home') this.set(0);
    else if (event.key === 'End') this.set(1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  set(share) {
    this.share = Math.min(1, Math.max(0, share));
    this.place();
  }

  place() {
    const percent = Math.round(this.share * 100);
    this.handle.setAttribute('aria-valuenow', String(percent));
    this.handle.setAttribute('aria-valuetext', `${percent} percent before, ${100 - percent} percent after`);
    this.before.style.clipPath = `inset(0 ${100 - this.share * 100}% 0 0)`;
    const { view } = this;
    const top = Math.max(0, view.toStage({ x: 0, y: 0 }).y);
    const bottom = Math.min(view.stage.clientHeight, view.toStage({ x: 0, y: view.height }).y);
    const x = view.toStage({ x: this.share * view.width, y: 0 }).x;
    const kept = Math.min(view.stage.clientWidth, Math.max(0, x));
    Object.assign(this.handle.style, { left: `${kept}px`, top: `${top}px`, height: `${Math.max(0, bottom - top)}px` });
  }
}
