/** The words as chips, what was found, and what the photo shows otherwise. */

import { byId, make } from './dom.js';

const percent = (score) => (score === undefined ? '' : `${Math.round(score * 100)}%`);

/** @param {import('./session.js').Session} session @param {{toggle: (text: string) => void, remove: (text: string) => void}} on */
export function drawChips(session, on) {
  const kept = document.activeElement?.dataset?.key;
  byId('chips').replaceChildren(...session.words.map((word) => chip(session, word, on)));
  byId('chips').hidden = session.words.length === 0;
  if (kept) document.querySelector(`[data-key="${CSS.escape(kept)}"]`)?.focus();
}

function chip(session, word, on) {
  const state = session.stateOf(word.text);
  const score = percent(session.found?.scores[word.text]);
  const swatch = make('span', { className: 'swatch', 'aria-hidden': 'true' });
  swatch.style.background = state === 'missing' ? '' : word.colour;
  const usable = state === 'found';
  const told = { asking: 'looking', missing: `not found ${score}`, found: score, unknown: '' }[state];
  const toggle = make(
    'button',
    { type: 'button', className: 'chip-switch', role: 'switch', 'aria-checked': String(usable && word.on), disabled: !usable },
    swatch,
    make('span', { className: 'chip-word', textContent: word.text }),
    make('span', { className: 'chip-score', textContent: told }),
  );
  toggle.dataset.key = `switch ${word.text}`;
  toggle.addEventListener('click', () => on.toggle(word.text));
  const remove = make('button', { type: 'button', className: 'chip-remove', 'aria-label': `Remove ${word.text}`, textContent: '×' });
  remove.addEventListener('click', () => on.remove(word.text));
  return make('li', { className: `chip chip-${state}${usable && !word.on ? ' chip-off' : ''}` }, toggle, remove);
}

/** Words to click on. @param {string[]} words @param {(text: string) => void} add */
export function drawSuggestions(words, add) {
  byId('suggestions').replaceChildren(
    ...words.map((text) => {
      const button = make('button', { type: 'button', className: 'suggestion', textContent: text, 'aria-label': `Find ${text}` });
      button.addEventListener('click', () => add(text));
      return make('li', {}, button);
    }),
  );
  byId('suggest').hidden = words.length === 0;
}

const listed = (words) => words.map((text) => `“${text}”`).join(', ');

/** What was found, in a sentence. */
export function sentence(found) {
  const parts = [];
  if (found.found.length) parts.push(`Found ${listed(found.found)}. Click a piece to leave it out.`);
  if (found.missing.length) {
    const seems = found.nearest.length ? ` The photo seems to show ${found.nearest.slice(0, 4).join(', ')}.` : '';
    parts.push(`Not found: ${listed(found.missing)}.${seems} You can also click on it, or brush over it.`);
  }
  return parts.join(' ');
}

/** Words from what was typed: a comma ends one. */
export const split = (text) => text.split(/[,;\n]/).map((word) => word.trim()).filter(Boolean);

/**
 * Words worth offering: the sample's, what the photo seems to show; not those asked for or erased already.
 * @param {import('./session.js').Session} session @param {string[]} first
 */
export function offered(session, first) {
  const known = new Set([...session.words.map((word) => word.text), ...session.erasedWords()]);
  const nearest = session.found?.missing.length ? session.found.nearest : [];
  return [...new Set([...first, ...nearest, ...(session.photo.nearest ?? [])])].filter((text) => !known.has(text)).slice(0, 8);
}

/** What is marked, in a sentence; also the overlay's text for those who cannot see it. */
export function markedSentence(session, { words, byHand, pixels }) {
  if (!pixels) return 'Nothing is marked yet.';
  const things = [...words, ...(byHand ? ['an area marked by hand'] : [])].join(', ');
  const share = (100 * pixels) / (session.photo.width * session.photo.height);
  const size = share < 0.1 ? 'less than 0.1' : share.toFixed(share < 10 ? 1 : 0);
  if (share === 100) return 'The whole photo is marked: click or rub out what should stay.';
  const warning = share > 50 ? ': so much rarely comes out well' : '';
  return `Marked: ${things} (${size}% of the photo${warning})`;
}

/** Enter and a typed comma end a word. @param {(text: string) => void} add */
export function wireWords(add) {
  const field = byId('word');
  byId('words-form').addEventListener('submit', (event) => {
    event.preventDefault();
    add(field.value);
  });
  field.addEventListener('input', (event) => /[,;]/.test(event.data ?? '') && add(field.value));
}

/** To where one types; on a phone that would bring up the keyboard, over the photo. */
export function focusWord() {
  byId(matchMedia('(pointer: coarse)').matches ? 'stage' : 'word').focus({ preventScroll: true });
}
