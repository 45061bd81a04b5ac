/** What runs now: how long already, how many wait before it, and a way to cancel. */

import * as api from './api.js';
import { byId } from './dom.js';

const POLL = 1000;

/**
 * Run a job behind the card that shows it.
 * @template T
 * @param {string} title
 * @param {(signal: AbortSignal, progress: (text: string, share?: number) => void) => Promise<T>} job
 * @returns {Promise<T|null>} null if it was cancelled
 */
export async function withProgress(title, job) {
  const control = new AbortController();
  const card = showCard(title, control);
  const stopWatching = watchQueue(card.progress);
  try {
    return await job(control.signal, card.progress);
  } catch (error) {
    if (error.name === 'AbortError') return null;
    throw error;
  } finally {
    stopWatching();
    card.close();
  }
}

function showCard(title, control) {
  const began = performance.now();
  const [card, bar] = [byId('working'), byId('working-bar')];
  const focused = document.activeElement;
  const tick = () => {
    byId('working-time').textContent = `${Math.floor((performance.now() - began) / 1000)} s`;
  };
  const progress = (text, share) => {
    byId('working-note').textContent = text;
    if (share === undefined) bar.removeAttribute('value');
    else bar.value = share;
  };
  byId('working-title').textContent = title;
  progress('');
  tick();
  const timer = setInterval(tick, 250);
  const cancel = () => control.abort();
  byId('cancel').onclick = card.oncancel = cancel;
  card.showModal();
  const close = () => {
    clearInterval(timer);
    card.close();
    focused?.focus?.({ preventScroll: true });
  };
  return { progress, close };
}

/**
 * Tell how many jobs wait, whenever that changes.
 * @param {(text: string) => void} tell
 * @returns {() => void} ends it
 */
export function watchQueue(tell) {
  let told = '';
  const timer = setInterval(async () => {
    try {
      const { waiting } = await api.status();
      const now = waiting ? `${waiting} waiting` : '';
      if (now !== told) tell(now);
      told = now;
    } catch {
      // the job's own request will say what is wrong
    }
  }, POLL);
  return () => clearInterval(timer);
}
