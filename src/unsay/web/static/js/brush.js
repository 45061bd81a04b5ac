/** The tools: pick a piece, brush, eraser, hand. From the pointer, with fingers and from the keyboard. */

const TAP = 6; // a pointer that moves less, in CSS pixels, was a click

export class Tools {
  /**
   * @param {HTMLElement} stage
   * @param {import('./view.js').View} view
   * @param {HTMLElement} ring shows the brush, or the keyboard's place
   * @param {object} on what to do: stroke(from, to, radius, add), strokeEnd(add), cancelStroke(), pick(point), hover(point), note(text)
   */
  constructor(stage, view, ring, on) {
    Object.assign(this, { stage, view, ring, on });
    this.kind = 'pick';
    this.size = 40;
    this.enabled = true;
    this.space = false;
    this.pointers = new Map();
    this.drag = null;
    this.place = null;
    this.penDown = false;
    this.#listen();
  }

  get radius() {
    return this.size / 2;
  }

  /** @param {'pick'|'brush'|'eraser'|'hand'} kind */
  use(kind) {
    this.#liftPen();
    this.kind = kind;
    this.stage.dataset.tool = kind;
    this.showRing();
  }

  get draws() {
    return this.enabled && (this.kind === 'brush' || this.kind === 'eraser');
  }

  #listen() {
    const { stage } = this;
    stage.addEventListener('pointerdown', (event) => this.#down(event));
    stage.addEventListener('pointermove', (event) => this.#move(event));
    stage.addEventListener('pointerup', (event) => this.#up(event));
    stage.addEventListener('pointercancel', (event) => this.#cancel(event));
    stage.addEventListener('pointerleave', () => this.#leave());
    stage.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    stage.addEventListener('keydown', (event) => this.#key(event));
    document.addEventListener('keydown', (event) => {
      if (event.key !== ' ' || !this.#spaceIsOurs()) return;
      event.preventDefault();
      this.#setSpace(true);
    });
    document.addEventListener('keyup', (event) => event.key === ' ' && this.#setSpace(false));
    stage.addEventListener('blur', () => {
      this.#setSpace(false);
      this.#liftPen();
      this.#leave();
    });
  }

  /** The space bar moves the photo, unless what has the focus needs it. */
  #spaceIsOurs() {
    const active = document.activeElement;
    if (active === this.stage) return true;
    return this.stage.matches(':hover') && (active === document.body || active.matches('[type=radio], [type=range]'));
  }

  #setSpace(held) {
    this.space = held;
    this.stage.classList.toggle('panning', held);
  }

  // --- pointer --------------------------------------------------------------------------------------------------------

  #down(event) {
    if (event.target.closest('button, [role=slider]')) return;
    event.preventDefault();
    this.stage.focus({ preventScroll: true });
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.pointers.size === 2) return this.#startPinch();
    if (this.pointers.size > 2) return;
    const point = this.view.toPhoto(event);
    const draws = this.draws && !this.space && event.button === 0;
    this.drag = { kind: draws ? 'stroke' : 'pan', add: this.kind === 'brush', moved: 0, last: point, button: event.button };
    if (draws) this.#draw(point, point);
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    const point = this.view.toPhoto(event);
    if (!before) return this.#hover(point);
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.drag?.kind === 'pinch') return this.#pinch();
    if (!this.drag) return;
    this.drag.moved += Math.hypot(dx, dy);
    if (this.drag.kind === 'pan') {
      if (this.drag.moved > TAP) this.view.panBy(dx, dy);
      return;
    }
    const parts = event.getCoalescedEvents?.() ?? [];
    for (const part of parts.length ? parts : [event]) {
      const next = this.view.toPhoto(part);
      this.#draw(this.drag.last, next);
      this.drag.last = next;
    }
    this.place = point;
    this.showRing();
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    const drag = this.drag;
    this.drag = null;
    if (drag?.kind === 'stroke') this.on.strokeEnd(drag.add);
    const clicked = drag?.kind === 'pan' && drag.moved <= TAP && drag.button === 0 && !this.space;
    if (clicked && this.enabled && this.kind === 'pick') this.on.pick(this.view.toPhoto(event));
  }

  #cancel(event) {
    if (this.drag?.kind === 'stroke') this.on.cancelStroke();
    this.pointers.delete(event.pointerId);
    this.drag = null;
  }

  #hover(point) {
    this.place = this.view.contains(point) ? point : null;
    this.ring.classList.remove('keyboard');
    this.showRing();
    this.on.hover(this.enabled && this.kind === 'pick' ? this.place : null);
  }

  #leave() {
    this.place = null;
    this.showRing();
    this.on.hover(null);
  }

  #draw(from, to) {
    this.on.stroke(from, to, this.radius, this.drag?.add ?? this.kind === 'brush'); // a stroke stays what it began as
  }

  /** Two fingers move the photo; a stroke that the first of them began is taken back. */
  #startPinch() {
    if (this.drag?.kind === 'stroke') this.on.cancelStroke();
    this.drag = { kind: 'pinch', moved: TAP + 1, ...this.#spread() };
  }

  #spread() {
    const [a, b] = [...this.pointers.values()];
    return { middle: { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 }, distance: Math.hypot(a.x - b.x, a.y - b.y) || 1 };
  }

  #pinch() {
    if (this.pointers.size < 2) return;
    const now = this.#spread();
    this.view.panBy(now.middle.x - this.drag.middle.x, now.middle.y - this.drag.middle.y);
    this.view.zoomBy(now.distance / this.drag.distance, now.middle);
    Object.assign(this.drag, now);
  }

  #wheel(event) {
    event.preventDefault();
    const unit = (event.deltaMode === 1 ? 16 : 1) * (event.ctrlKey ? 4 : 1); // with Ctrl: a pinch on a touchpad, in small steps
    this.view.zoomBy(Math.exp((-event.deltaY * unit) / 400), { x: event.clientX, y: event.clientY });
  }

  // --- keyboard -------------------------------------------------------------------------------------------------------

  #key(event) {
    if (event.target !== this.stage || event.ctrlKey || event.metaKey || event.altKey) return;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) this.#step(way, event.shiftKey ? 5 : 1);
    else if (event.key === 'Enter') this.#act();
    else return;
    event.preventDefault();
  }

  /** Move the keyboard's place; if the pen is down, draw. */
  #step([dx, dy], times) {
    const { view } = this;
    const from = this.place ?? { x: view.width / 2, y: view.height / 2 };
    const stride = times * (this.draws ? Math.max(1, this.radius / 2) : Math.max(1, 12 / view.scale));
    this.place = {
      x: Math.min(view.width - 1, Math.max(0, from.x + dx * stride)),
      y: Math.min(view.height - 1, Math.max(0, from.y + dy * stride)),
    };
    if (this.penDown) this.#draw(from, this.place);
    this.ring.classList.add('keyboard');
    this.#keepInSight();
    this.showRing();
    if (this.kind === 'pick' && this.enabled) this.on.hover(this.place);
  }

  #keepInSight() {
    const at = this.view.toStage(this.place);
    const rim = 24;
    const [w, h] = [this.stage.clientWidth, this.stage.clientHeight];
    const dx = at.x < rim ? rim - at.x : Math.min(0, w - rim - at.x);
    const dy = at.y < rim ? rim - at.y : Math.min(0, h - rim - at.y);
    if (dx || dy) this.view.panBy(dx, dy);
  }

  #act() {
    if (!this.place || !this.enabled) return this.#step([0, 0], 1);
    if (this.kind === 'pick') return this.on.pick(this.place);
    if (!this.draws) return;
    if (this.penDown) return this.#liftPen();
    this.penDown = true;
    this.#draw(this.place, this.place);
    this.on.note(`${this.kind === 'brush' ? 'Brush' : 'Eraser'} down: arrow keys draw, Enter lifts it.`);
  }

  #liftPen() {
    if (!this.penDown) return;
    this.penDown = false;
    this.on.strokeEnd(this.kind === 'brush');
  }

  showRing() {
    const keyboard = this.ring.classList.contains('keyboard');
    this.ring.hidden = !this.place || !(this.draws || keyboard);
    if (this.ring.hidden) return;
    const at = this.view.toStage(this.place);
    const across = this.draws ? Math.max(4, this.size * this.view.scale) : 18;
    Object.assign(this.ring.style, { left: `${at.x}px`, top: `${at.y}px`, width: `${across}px`, height: `${across}px` });
  }
}
