// The live page: one stream of pictures, drawn as they come, and tried again when it ends.

import { drawClasses, drawHindsight, drawLead, drawReplicas } from "./draw.js";
import { countDown, drawQueue } from "./queue.js";
import { loadSettings } from "./settings.js";
import { write } from "./words.js";

const SOONEST_MS = 500;
const LATEST_MS = 15_000;
const SILENCE_MS = 15_000;
const OFFSETS = 30;
const status = document.getElementById("status");
const unlock = document.getElementById("unlock");
const unlockKey = document.getElementById("unlock-key");
let key = ""; // here alone: in no storage, in no URL
let edition = null;
let offsets = []; // of this clock to the server's, s; the least is that of the quickest picture

function headers() {
  return key ? { authorization: `Bearer ${key}` } : {};
}

async function watch() {
  for (let pause = SOONEST_MS; ; pause = Math.min(2 * pause, LATEST_MS)) {
    const came = await once();
    if (came) pause = SOONEST_MS;
    await again(pause);
  }
}

// Follow one stream to its end; whether any picture came.
async function once() {
  const stop = new AbortController();
  let silence = setTimeout(() => stop.abort(), SILENCE_MS);
  let came = false;
  try {
    const answer = await fetch("dashboard/events", { headers: headers(), signal: stop.signal, cache: "no-store" });
    if (answer.status === 401 || answer.status === 403) return await locked(answer);
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    for await (const data of events(answer.body)) {
      clearTimeout(silence);
      silence = setTimeout(() => stop.abort(), SILENCE_MS);
      if (!came) offsets = []; // another process has another clock
      draw(JSON.parse(data));
      came = true;
    }
  } catch (error) {
    console.info(`slosched: ${error.message}`);
  } finally {
    clearTimeout(silence);
  }
  return came;
}

// The data of each server-sent event: ours have one line each.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) yield part.slice("data: ".length);
  }
}

function draw(picture) {
  offsets.push(performance.now() / 1000 - picture.now);
  if (offsets.length > OFFSETS) offsets.shift();
  say("live", "Live");
  drawLead(picture);
  drawClasses(picture);
  drawQueue(picture);
  countDown(serverNow());
  drawReplicas(picture);
  drawHindsight(picture);
  if (edition !== picture.edition) {
    edition = picture.edition;
    loadSettings(headers());
  }
}

function serverNow() {
  return performance.now() / 1000 - Math.min(...offsets);
}

function say(state, text) {
  status.dataset.state = state;
  write(status, text);
}

async function again(pause) {
  say("lost", `Not connected, again in ${Math.ceil(pause / 1000)} s`);
  await new Promise((resolve) => setTimeout(resolve, pause));
}

// Wait for a key; true, as there is nothing to wait for once it was typed.
async function locked(answer) {
  say("locked", "A key is needed");
  if (key) write(document.getElementById("unlock-why"), (await answer.json()).error.message);
  unlock.hidden = false;
  unlockKey.focus();
  await new Promise((resolve) => unlock.addEventListener("submit", resolve, { once: true }));
  key = unlockKey.value;
  unlockKey.value = "";
  unlock.hidden = true;
  return true;
}

unlock.addEventListener("submit", (event) => event.preventDefault());

const THEMES = ["system", "light", "dark"];
document.getElementById("theme").addEventListener("click", (event) => {
  const root = document.documentElement;
  const next = THEMES[(THEMES.indexOf(root.dataset.theme || "system") + 1) % THEMES.length];
  root.dataset.theme = next;
  write(event.target, `Theme: ${next}`);
});

const calm = matchMedia("(prefers-reduced-motion: reduce)");
let counted = 0;
setInterval(() => {
  if (calm.matches && performance.now() - counted < 1000) return;
  counted = performance.now();
  if (offsets.length) countDown(serverNow());
}, 250);

watch();
