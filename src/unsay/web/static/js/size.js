/** The brush's size: a slider, and steps from the keyboard. In the photo's pixels. */

import { byId } from './dom.js';

/** @param {import('./brush.js').Tools} tools */
export function wireSize(tools) {
  const slider = byId('size');
  const show = () => {
    slider.value = String(tools.size);
    byId('size-now').textContent = `${tools.size} px`;
    tools.showRing();
  };
  const set = (size) => {
    tools.size = Math.max(1, Math.min(Number(slider.max), Math.round(size)));
    show();
  };
  slider.addEventListener('input', () => set(Number(slider.value)));
  return {
    /** A size that suits a photo: a 24th of its long side, at most a quarter of it. */
    suit: (longSide) => {
      slider.max = String(Math.max(100, Math.round(longSide / 4)));
      set(Math.max(8, longSide / 24));
    },
    by: (factor) => set(factor > 1 ? Math.max(tools.size + 1, tools.size * factor) : tools.size * factor),
  };
}
