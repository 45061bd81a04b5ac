/** Which of the page's buttons can be used now. */

import { byId } from './dom.js';
import { allowDownloads } from './downloads.js';

/**
 * @param {{session: import('./session.js').Session|null, busy: boolean, compare: import('./compare.js').Compare,
 *   tools: import('./brush.js').Tools, marked: boolean}} now
 */
export function refresh({ session, busy, compare, tools, marked }) {
  const idle = Boolean(session) && !busy;
  byId('undo').disabled = !idle || !session.history.canUndo;
  byId('redo').disabled = !idle || !session.history.canRedo;
  byId('download').disabled = byId('another').disabled = !idle;
  byId('download').classList.toggle('ready', idle && session.step > 0);
  byId('compare').disabled = !idle || session.step === 0;
  byId('compare').setAttribute('aria-pressed', String(compare.shown));
  byId('erase').disabled = !idle || !marked || Boolean(session.finding);
  byId('stage').classList.toggle('comparing', compare.shown);
  tools.enabled = idle && !compare.shown;
  allowDownloads(marked);
}
