// Numbers and names as people read them, and elements that hold them as text.

export const NOTHING = "–";

export function percent(part, whole) {
  if (!whole) return NOTHING;
  const share = (100 * part) / whole;
  return share === 100 || share === 0 ? `${share}%` : `${share.toFixed(1)}%`;
}

export function number(n) {
  return n.toLocaleString("en");
}

export function count(n, one, more = `${one}s`) {
  return `${number(n)} ${n === 1 ? one : more}`;
}

// Seconds as the server says them: null for never.
export function seconds(s) {
  if (s === null) return NOTHING;
  const size = Math.abs(s);
  if (size < 0.9995) return `${Math.round(1000 * s)} ms`;
  if (size < 99.95) return `${s.toFixed(1)} s`;
  if (size < 5999) return `${Math.floor(s / 60)} min ${String(Math.round(size % 60)).padStart(2, "0")} s`;
  return `${(s / 3600).toFixed(1)} h`;
}

// Of what counts down: the unit does not change under the reader's eyes.
export function countdown(s) {
  return s < 600 ? `${s.toFixed(1)} s` : seconds(s);
}

export function milliseconds(ms) {
  return seconds(ms / 1000);
}

// An element with some text, which is never read as HTML, and some children.
export function element(tag, { text, className, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Only what changed is written, so that selections and screen readers are left alone.
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
