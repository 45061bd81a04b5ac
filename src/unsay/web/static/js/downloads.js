/** The download menu. */

import * as api from './api.js';
import { byId, saveFile } from './dom.js';

const stem = (name) => name.replace(/\.[^.]*$/, '') || 'photo';

/** What can be had: the menu's button, whether it needs a mask, and how it is asked for. */
const KINDS = {
  'get-photo': [false, (s) => api.file(s.photo.id, s.step, null, `${stem(s.photo.name)}.unsaid.${s.photo.format}`)],
  'get-png': [false, (s) => api.file(s.photo.id, s.step, 'png', `${stem(s.photo.name)}.unsaid.png`)],
  'get-cutout': [true, async (s) => api.cutout(s.photo.id, s.step, await s.maskFile(), `${stem(s.photo.name)}.cutout.png`)],
  'get-labels': [true, (s) => masks(s, 'labels', 'labels.png')],
  'get-coco': [true, (s) => masks(s, 'coco', 'coco.json')],
  'get-labelme': [true, (s) => masks(s, 'labelme', 'labelme.json')],
};

async function masks(session, format, ending) {
  return api.masks(session.photo.id, session.step, format, await session.labelled(), `${stem(session.photo.name)}.${ending}`);
}

/** @param {() => import('./session.js').Session} current @param {(title: string, job: () => Promise<any>) => Promise<any>} run */
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
      const got = await run('Writing the file', () => get(current()));
      if (got) saveFile(got.blob, got.name);
    });
  }
}

/** @param {boolean} marked whether anything is marked */
export function allowDownloads(marked) {
  for (const [id, [needsMask]] of Object.entries(KINDS)) byId(id).disabled = needsMask && !marked;
  byId('mask-note').hidden = marked;
}
