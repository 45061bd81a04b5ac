/** Small helpers for the page's elements. Text goes in as text, never as HTML: file names and words are strangers'. */

/** @param {string} id @returns {any} the element with this id */
export const byId = (id) => document.getElementById(id);

/**
 * Make an element.
 * @param {string} tag
 * @param {Record<string, any>} [properties] set as properties; names with a dash and `role` as attributes
 * @param {...(Node|string)} children
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'role') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Say something politely: it is shown, and read out by a screen reader. */
export function say(text) {
  byId('status').textContent = text;
}

let problemAction = null;

/**
 * Show what went wrong, until it is dismissed or the next thing succeeds.
 * @param {string} text one sentence
 * @param {{label: string, run: () => void}} [action] what can be done about it
 */
export function showProblem(text, action) {
  problemAction = action?.run ?? null;
  byId('problem-text').textContent = text;
  byId('problem-action').hidden = !action;
  byId('problem-action').textContent = action?.label ?? '';
  byId('problem').hidden = false;
}

export function clearProblem() {
  byId('problem').hidden = true;
}

byId('problem-close').addEventListener('click', clearProblem);
byId('problem-action').addEventListener('click', () => {
  clearProblem();
  problemAction?.();
});

/** Hand a file to the person, under a name. */
export function saveFile(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = make('a', { href: url, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Whether keys pressed now are meant for a field that somebody types in; an empty one has nothing to undo. */
export function typing() {
  const active = document.activeElement;
  return active instanceof HTMLInputElement && /text|number/.test(active.type) && active.value !== '';
}

/** Whether a letter pressed now may be a shortcut: only on the photo, or where nothing has the focus. */
export function onPhoto() {
  return document.activeElement === document.body || document.activeElement === byId('stage');
}
