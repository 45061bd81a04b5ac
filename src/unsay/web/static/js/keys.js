/** Keys that work everywhere on the page, except where somebody types. */

import { onPhoto, typing } from './dom.js';

const TOOLS = { v: 'pick', b: 'brush', e: 'eraser', h: 'hand' };

/**
 * @param {{ready: () => boolean, goBy: (n: number) => void, useTool: (kind: any) => void, resizeBy: (factor: number) => void,
 *   view: import('./view.js').View}} on
 */
export function wireKeys(on) {
  document.addEventListener('keydown', (event) => {
    if (!on.ready() || typing()) return;
    const done = event.ctrlKey || event.metaKey ? withControl(event, on) : plain(event, on);
    if (done) event.preventDefault();
  });
}

function withControl(event, on) {
  const key = event.key.toLowerCase();
  if (key === 'z') on.goBy(event.shiftKey ? 1 : -1);
  else if (key === 'y') on.goBy(1);
  else return false;
  return true;
}

function plain(event, on) {
  if (event.altKey || !onPhoto()) return false;
  const { key } = event;
  if (key === '[') on.resizeBy(1 / 1.25);
  else if (key === ']') on.resizeBy(1.25);
  else if (key === '+' || key === '=') on.view.zoomBy(1.4);
  else if (key === '-') on.view.zoomBy(1 / 1.4);
  else if (key === '0') on.view.fit();
  else if (TOOLS[key]) on.useTool(TOOLS[key]);
  else return false;
  return true;
}
