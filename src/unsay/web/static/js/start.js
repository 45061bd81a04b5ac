/** How a photo comes in: dropped, pasted, picked, or one of the samples. */

import * as api from './api.js';
import { byId, make, showProblem } from './dom.js';

/** @param {(file: File, sample?: any) => void} open */
export function wireStart(open) {
  const picker = byId('file');
  picker.addEventListener('change', () => {
    if (picker.files.length) open(picker.files[0]);
    picker.value = '';
  });
  byId('pick').addEventListener('click', () => picker.click());
  wireDrop(open);
  document.addEventListener('paste', (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith('image/'));
    if (!file) return;
    event.preventDefault();
    open(file);
  });
  drawSamples(open);
}

function wireDrop(open) {
  const root = document.documentElement;
  const carriesFiles = (event) => event.dataTransfer?.types.includes('Files');
  document.addEventListener('dragover', (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    root.classList.add('dropping');
  });
  document.addEventListener('dragleave', (event) => !event.relatedTarget && root.classList.remove('dropping'));
  document.addEventListener('drop', (event) => {
    root.classList.remove('dropping');
    if (!carriesFiles(event)) return;
    event.preventDefault();
    if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
  });
}

async function drawSamples(open) {
  try {
    const list = await api.samples();
    byId('samples').replaceChildren(...list.map((sample) => thumbnail(sample, open)));
    byId('samples-part').hidden = list.length === 0;
  } catch {
    byId('samples-part').hidden = true; // one can do without
  }
}

function thumbnail(sample, open) {
  const button = make(
    'button',
    { type: 'button', className: 'sample', title: sample.licence },
    make('img', { src: sample.file, alt: '', width: 240, height: 160 }),
    make('span', { className: 'sample-name', textContent: sample.name }),
    make('span', { className: 'sample-words', textContent: `try “${sample.words[0]}”` }),
  );
  button.addEventListener('click', async () => {
    try {
      const blob = await api.blob(sample.file);
      open(new File([blob], sample.file.split('/').pop(), { type: blob.type }), sample);
    } catch (error) {
      showProblem(error.message);
    }
  });
  return make('li', {}, button);
}

/**
 * Why a file cannot be sent: better said before a minute of sending than after.
 * @param {File} file @returns {Promise<string|null>} a sentence, or null
 */
export async function tooLarge(file) {
  try {
    const { limits } = await api.status();
    if (file.size <= limits.bytes) return null;
    const [has, most] = [file.size, limits.bytes].map((bytes) => (bytes / 1e6).toFixed(0));
    return `${file.name} has ${has} MB; this server takes at most ${most} MB. Save it smaller and try again.`;
  } catch {
    return null; // the upload will say what is wrong
  }
}
