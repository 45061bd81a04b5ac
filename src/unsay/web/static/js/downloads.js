/** The download menu. */

import * as api from './api.js';
import { byId, saveFile } from './dom.js';

const stem = (name) => name.replace(/\.[^.]*$/, '') || 'photo';

/** What can be had: the menu's button, whether it needs a mask, and how it is asked for. */
const KINDS = {
  'get-photo': [false, (s, signal) => api.file(s.photo.id, s.step, null, `${stem(s.photo.name)}.unsaid.${s.photo.format}`, signal)],
  'get-png': [false, (s, signal) => api.file(s.photo.id, s.step, 'png', `${stem(s.photo.name)}.unsaid.png`, signal)],
  'get-cutout': [true, cutout],
  'get-labels': [true, (s, signal) => masks(s, 'labels', 'labels.png', signal)],
  'get-coco': [true, (s, signal) => masks(s, 'coco', 'coco.json', signal)],
  'get-labelme': [true, (s, signal) => masks(s, 'labelme', 'labelme.json', signal)],
};

async function cutout(session, signal) {
  const { id, name } = session.photo;
  return api.cutout(id, session.step, await session.maskFile(), `${stem(name)}.cutout.png`, signal);
}

async function masks(session, format, ending, signal) {
  const { id, name } = session.photo;
  return api.masks(id, session.step, format, await session.labelled(), `${stem(name)}.${ending}`, signal);
}

/** @param {() => import('./session.js').Session} current @param {(title: string, job: (signal: AbortSignal) => Promise<any>) => Promise<any>} run */
export function wireDownloads(current, run) {
  const [button, menu] = [byId('download'), byId('download-menu')];
  const open = (shown) => {
    menu.hidden = !shown;
    button.setAttribute('aria-expanded', String(shown));
    if (shown) menu.querySelector('button:not(:disabled)').focus();
  };
  button.addEventListener('click', () => open(menu.hidden));
  menu.addEventListener('keydown', (event) => event.key === 'Escape' && (open(false), button.focus()));
  document.addEventListener('pointerdown', (event) => {
    if (!menu.hidden && !event.target.closest('#download-menu, #download')) open(false);
  });
  menu.addEventListener('focusout', (event) => {
    if (event.relatedTarget && !event.relatedTarget.closest('#download-menu, #download')) open(false);
  });
  for (const [id, [, get]] of Object.entries(KINDS)) {
    byId(id).addEventListener('click', async () => {
      open(false);
      button.focus();
      const got = await run('Writing the file', (signal) => get(current(), signal));
      if (got) saveFile(got.blob, got.name);
    });
  }
}

/** @param {boolean} marked whether anything is marked */
export function allowDownloads(marked) {
  for (const [id, [needsMask]] of Object.entries(KINDS)) byId(id).disabled = needsMask && !marked;
  byId('mask-note').hidden = marked;
}
