/** The page: one photo at a time, its session, and what its buttons do. */

import * as api from './api.js';
import { Tools } from './brush.js';
import { refresh } from './buttons.js';
import { Compare } from './compare.js';
import { byId, clearProblem, make, say, showProblem } from './dom.js';
import { wireDownloads } from './downloads.js';
import { drawStrip } from './history.js';
import { wireKeys } from './keys.js';
import { Overlay } from './overlay.js';
import { Pictures } from './pictures.js';
import { Session } from './session.js';
import { wireSize } from './size.js';
import { tooLarge, wireStart } from './start.js';
import { View } from './view.js';
import { drawChips, drawSuggestions, focusWord, markedSentence, offered, sentence, split, wireWords } from './words.js';
import { watchQueue, withProgress } from './work.js';

const MOST_WORDS = 254; // a byte a pixel says which, and one is for what is drawn by hand

/** @type {Session|null} */
let session = null;
/** @type {Overlay|null} */
let overlay = null;
/** @type {Pictures|null} */
let pictures = null;
let sample = null;
let busy = false;
let anything = false; // is anything marked?
let drawn = false; // has the stroke of now touched the photo?

const view = new View(byId('stage'), byId('layer'), () => {
  compare?.place();
  tools?.showRing();
  byId('zoom-now').textContent = `${Math.round(view.scale * 100)}%`;
});
const compare = new Compare(byId('split'), byId('before'), view);
const tools = new Tools(byId('stage'), view, byId('ring'), {
  stroke: (from, to, radius, add) => {
    const box = session.masks.stroke(from, to, radius, add);
    if (box.x1 <= box.x0 || box.y1 <= box.y0) return; // beside the photo
    drawn = true;
    overlay.draw(box);
  },
  strokeEnd: (add) => {
    if (!drawn) return;
    drawn = false;
    session.commit('hand', add ? 'Brush' : 'Eraser');
    masksChanged({ seen: true });
    say('');
  },
  cancelStroke: () => {
    drawn = false;
    session.revertMarks();
  },
  pick: pickPiece,
  hover: (point) => byId('stage').classList.toggle('over-piece', Boolean(overlay?.light(point))),
  note: say,
});
const size = wireSize(tools);

// --- opening ------------------------------------------------------------------------------------------------------------

/** Run one job at a time, behind the card; null if it was cancelled or failed, which is then said. */
async function run(title, job) {
  if (busy) return null;
  busy = true;
  clearProblem();
  refreshButtons();
  try {
    const done = await withProgress(title, job);
    if (done === null) say('Cancelled. Nothing was changed.');
    return done;
  } catch (error) {
    report(error);
    return null;
  } finally {
    busy = false;
    refreshButtons();
  }
}

function report(error) {
  say('');
  if (error.status === 404 && session) {
    const again = { label: 'Open it again', run: () => open(session.file, sample, session) };
    showProblem('The server has let this photo go (photos are kept for a while only).', again);
  } else showProblem(error.message);
}

/**
 * @param {File} file @param {any} [fromSample] @param {Session} [earlier] the same photo, which the server has let go
 */
async function open(file, fromSample, earlier) {
  const refused = await tooLarge(file);
  if (refused) return showProblem(refused);
  const photo = await run('Opening the photo', (signal, progress) =>
    api.upload(file, (share) => (share < 1 ? progress(`${Math.round(share * 100)}% sent`, share) : progress('looking at it')), signal),
  );
  if (!photo) return;
  if (session && !earlier) api.letGo(session.photo.id);
  sample = fromSample ?? null;
  await begin(photo, file, earlier);
}

async function begin(photo, file, earlier) {
  pictures?.close();
  session?.stopFinding();
  pictures = new Pictures(photo.id);
  session = null;
  session = new Session(photo, file, {
    words: wordsChanged,
    masks: masksChanged,
    step: stepChanged,
    history: () => session && historyChanged(),
  });
  overlay = new Overlay(byId('overlay'), session.masks);
  byId('start').hidden = true;
  byId('editor').hidden = false;
  document.body.classList.add('editing');
  byId('photo-name').textContent = photo.name;
  document.title = `${photo.name} – Unsay`;
  byId('grow').value = String(sample?.grow ?? '');
  byId('texture').checked = true;
  if (sample?.grow) byId('more').open = true; // what is not as usual is seen
  view.show(photo.width, photo.height);
  size.suit(Math.max(photo.width, photo.height));
  useTool('pick');
  if (earlier) session.inherit(earlier);
  say(sample?.hint ?? 'Name what should go, click it, or brush over it.');
  historyChanged();
  await stepChanged();
  focusWord();
}

function close() {
  if (session) api.letGo(session.photo.id);
  session?.stopFinding();
  pictures?.close();
  session = overlay = pictures = null;
  byId('editor').hidden = true;
  byId('start').hidden = false;
  document.body.classList.remove('editing');
  document.title = 'Unsay';
  clearProblem();
  byId('pick').focus();
}

// --- what changed ---------------------------------------------------------------------------------------------------------

async function stepChanged() {
  const current = session;
  const step = current.step;
  try {
    const [now, before] = await Promise.all([pictures.url(step), pictures.url(0)]);
    if (current !== session || step !== session.step) return;
    byId('picture').src = now;
    byId('before').src = before;
  } catch (error) {
    report(error);
  }
  byId('picture').alt = step ? `The photo after ${step} ${step === 1 ? 'step' : 'steps'}` : 'The photo';
  if (step === 0) compare.show(false);
  wordsChanged();
  masksChanged();
  historyChanged();
}

function wordsChanged() {
  drawChips(session, { toggle: (text) => session.switchWord(text), remove: removeWord });
  drawSuggestions(offered(session, sample?.words ?? []), addWords);
  byId('finding').hidden = !session.finding;
  refreshButtons();
}

/** @param {{seen?: boolean}} [how] seen: the overlay shows it already */
function masksChanged({ seen = false } = {}) {
  if (!seen) {
    overlay.light(null);
    overlay.setColours(session.colours());
    overlay.draw();
  }
  const marked = session.marked();
  byId('marked').textContent = markedSentence(session, marked);
  byId('overlay').setAttribute('aria-label', byId('marked').textContent);
  anything = marked.pixels > 0 && marked.pixels < session.photo.width * session.photo.height;
  refreshButtons();
}

function historyChanged() {
  drawStrip(byId('history'), session.history, goTo, make);
  refreshButtons();
}

const refreshButtons = () => refresh({ session, busy, compare, tools, marked: Boolean(session) && anything });

// --- what people do -------------------------------------------------------------------------------------------------------

function compareAs(shown) {
  compare.show(shown);
  byId('overlay').hidden = shown;
  refreshButtons();
}

async function goTo(index) {
  if (busy || !session.history.entries[index]) return;
  clearProblem();
  const erased = session.history.entries[index].kind === 'erase';
  try {
    await session.goTo(index);
    compareAs(erased && session.step > 0);
    say(`Back at: ${session.history.current.label}.`);
  } catch (error) {
    report(error);
  }
}

async function addWords(text) {
  const words = split(text);
  if (session.words.length + words.length > MOST_WORDS) return showProblem(`At most ${MOST_WORDS} words can be looked for at once.`);
  session.dropMissing();
  const fresh = words.filter((word) => session.addWord(word));
  byId('word').value = '';
  if (!fresh.length || (await findAll())) return;
  for (const word of fresh) session.removeWord(word);
  byId('word').value = fresh.join(', ');
  wordsChanged();
}

async function removeWord(text) {
  session.removeWord(text);
  focusWord();
  await findAll();
}

/** @returns {Promise<boolean>} false if the server refused the words, which is then said */
async function findAll() {
  clearProblem();
  compareAs(false);
  say(session.words.length ? 'Looking …' : '');
  const stopWatching = watchQueue((waiting) => session?.finding && say(`Looking … ${waiting}`));
  try {
    const found = await session.find();
    if (found) say(sentence(found));
    return true;
  } catch (error) {
    report(error);
    return error.status !== 422;
  } finally {
    stopWatching();
  }
}

function pickPiece(point) {
  if (!view.contains(point)) return;
  const [x, y] = [Math.floor(point.x), Math.floor(point.y)];
  const toggled = session.masks.togglePiece(x, y);
  if (!toggled) return pickRegion(x, y);
  const word = session.found.words[toggled.label - 1];
  session.commit('hand', `${word}: a piece ${toggled.off ? 'off' : 'on'}`);
  overlay.light(null);
  overlay.draw(toggled.box);
  masksChanged({ seen: true });
  say(`One piece of “${word}” is ${toggled.off ? 'left out; click it again to take it back' : 'marked again'}.`);
}

/** What lies under a click where no word was found: the region there, as the networks group the photo. */
async function pickRegion(x, y) {
  const [asked, step] = [session, session.step];
  try {
    const regions = await session.regions();
    if (asked !== session || step !== session.step) return;
    const { add, box } = session.masks.toggleRegion(regions, x, y);
    session.commit('hand', add ? 'A region' : 'A region off');
    overlay.draw(box);
    masksChanged({ seen: true });
    say(add ? 'The region under the click is marked; click it again to take it back.' : 'The region is no longer marked.');
  } catch (error) {
    report(error);
  }
}

async function erase() {
  const text = byId('grow').value.trim();
  const options = { grow: text === '' ? null : Number(text), texture: byId('texture').checked };
  useTool('pick');
  const done = await run('Erasing', (signal) => session.erase(options, signal));
  if (!done) return;
  pictures.forgetFrom(done.step);
  await stepChanged();
  compare.set(0.5);
  compareAs(true);
  byId('split').focus({ preventScroll: true });
  say(`Done in ${done.seconds.toFixed(1)} s: ${(100 * done.hole_share).toFixed(1)}% of the photo was filled. Move the line to compare.`);
}

function useTool(kind) {
  if (kind !== 'pick' && session) compareAs(false);
  document.querySelector(`input[name=tool][value=${kind}]`).checked = true;
  byId('size-part').classList.toggle('idle', kind === 'pick' || kind === 'hand');
  tools.use(kind);
}

function wire() {
  wireWords(addWords);
  for (const input of document.querySelectorAll('input[name=tool]')) input.addEventListener('change', () => useTool(input.value));
  byId('erase').addEventListener('click', erase);
  byId('undo').addEventListener('click', () => goTo(session.history.index - 1));
  byId('redo').addEventListener('click', () => goTo(session.history.index + 1));
  byId('compare').addEventListener('click', () => compareAs(!compare.shown));
  byId('another').addEventListener('click', close);
  byId('zoom-in').addEventListener('click', () => view.zoomBy(1.4));
  byId('zoom-out').addEventListener('click', () => view.zoomBy(1 / 1.4));
  byId('zoom-fit').addEventListener('click', () => view.fit());
  wireDownloads(() => session, run);
  wireKeys({
    ready: () => Boolean(session) && !busy,
    goBy: (n) => goTo(session.history.index + n),
    useTool,
    resizeBy: size.by,
    view,
  });
  if (!('CompressionStream' in window)) showProblem('This browser is too old for this page: it needs one of 2023 or later.');
  wireStart((file, fromSample) => !busy && open(file, fromSample));
}

// A page that is left lets its photo go; one that comes back from the browser's cache finds out at once that it is gone.
addEventListener('pagehide', () => session && api.letGo(session.photo.id));
addEventListener('pageshow', (event) => event.persisted && session && api.photo(session.photo.id).catch(report));

wire();
