// The configuration in force, and edits of the solver's parameters with an admin key.

import { element, write } from "./words.js";

const HINTS = {
  time_budget_ms: "Milliseconds for a plan; empty for moves alone.",
  per_engine_ms: "The same for each replica, where that is more.",
  move_budget: "Changes to try for a plan; empty for time alone.",
  acceptance: "Of a worse order at the start, 0 to 1.",
  cooling: "Temperature's factor from level to level, 0 to 1.",
  horizon: "Most urgent requests that are searched over.",
  restarts: "Times that a search begins anew.",
  max_preemptions: "Running requests that a plan may put back.",
  seed: "Of the random moves.",
};
const form = document.getElementById("settings");
const fields = document.getElementById("settings-fields");
const key = document.getElementById("admin-key");
const result = document.getElementById("settings-result");
let path = "";
let inForce = {};
let reader = {}; // the headers by which this page is read

export async function loadSettings(headers) {
  reader = headers;
  const answer = await fetch("dashboard/config", { headers });
  if (!answer.ok) return;
  const said = await answer.json();
  path = said.path;
  write(document.getElementById("shown"), yaml(said.config));
  write(document.getElementById("settings-note"), Object.keys(said.fields).length ? `${path}, of the requests to come.` : "There is no solver in force that could be set.");
  show(said.fields);
}

function show(values) {
  for (const name of Object.keys(inForce)) if (!(name in values)) input(name).parentElement.remove();
  for (const [name, value] of Object.entries(values)) {
    const text = value === null ? "" : String(value);
    const there = name in inForce;
    if (!there) fields.append(field(name));
    // What somebody is typing stays.
    if (!there || input(name).value === inForce[name]) input(name).value = text;
    inForce[name] = text;
  }
  inForce = Object.fromEntries(Object.keys(values).map((name) => [name, inForce[name]]));
}

function field(name) {
  const id = `set-${name}`;
  return element(
    "p",
    { className: "field" },
    element("label", { text: name, for: id }),
    element("input", { id, name, inputmode: "decimal", autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-hint ${id}-error` }),
    element("small", { id: `${id}-hint`, text: HINTS[name] || "" }),
    element("span", { id: `${id}-error`, className: "error" }),
  );
}

function input(name) {
  return document.getElementById(`set-${name}`);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const changed = Object.keys(inForce).filter((name) => input(name).value.trim() !== inForce[name]);
  clearErrors();
  if (!changed.length) return say("Nothing is changed.");
  put(changed, changed.map((name) => `${path}.${name}=${input(name).value.trim() || "null"}`));
});

document.getElementById("settings-back").addEventListener("click", () => {
  clearErrors();
  put(Object.keys(inForce), []);
});

// Edits of other names stay: the server holds one list, in place of the one before.
async function put(names, edits) {
  const headers = { ...reader, "content-type": "application/json" };
  if (key.value) headers.authorization = `Bearer ${key.value}`;
  busy(true);
  try {
    const before = await ask("GET", headers);
    const own = new Set(names.map((name) => `${path}.${name}`));
    const others = before.edits.filter((edit) => !own.has(edit.split("=")[0].trim()));
    const after = await ask("PUT", headers, { edits: [...others, ...edits] });
    accept(after.config);
    say(`In force since ${new Date().toLocaleTimeString("en-GB")}.`);
  } catch (error) {
    blame(error);
  } finally {
    busy(false);
  }
}

async function ask(method, headers, content) {
  const answer = await fetch("slosched/config", { method, headers, body: content && JSON.stringify(content) });
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.error.message), { status: answer.status });
  return said;
}

function accept(config) {
  const solver = path.split(".").reduce((at, name) => at[name], config);
  for (const name of Object.keys(inForce)) {
    inForce[name] = solver[name] === null ? "" : String(solver[name]);
    input(name).value = inForce[name];
  }
}

// "--set policy.solver.cooling: must be ...", a line for each problem.
function blame(error) {
  if (error.status === 401 || error.status === 403) {
    mark(key);
    key.focus();
    return say(error.message, true);
  }
  const rest = [];
  let first = null;
  for (const line of error.message.split("\n")) {
    const [, name, text] = line.match(/^--set ([\w.]+): (.*)$/) || [];
    const at = name?.startsWith(`${path}.`) ? input(name.slice(path.length + 1)) : null;
    if (!at) {
      rest.push(line);
      continue;
    }
    mark(at);
    write(document.getElementById(`${at.id}-error`), text);
    first ||= at;
  }
  first?.focus();
  say(rest.join("; ") || "Nothing has changed: see the fields.", true);
}

function mark(at) {
  at.setAttribute("aria-invalid", "true");
}

function clearErrors() {
  for (const at of form.querySelectorAll("[aria-invalid]")) at.removeAttribute("aria-invalid");
  for (const at of form.querySelectorAll(".error")) write(at, "");
  say("");
}

function say(text, wrong = false) {
  result.className = wrong ? "error" : "";
  write(result, text);
}

function busy(is) {
  for (const button of form.querySelectorAll("button")) button.disabled = is;
}

// Plain data, as the file has it.
function yaml(value, indent = "") {
  if (Array.isArray(value)) return value.length ? value.map((one) => `\n${indent}- ${flow(one)}`).join("") : " []";
  if (value === null || typeof value !== "object") return ` ${flow(value)}`;
  const lines = Object.entries(value).map(([name, inner]) => `${indent}${name}:${yaml(inner, `${indent}  `)}`);
  if (!lines.length) return " {}";
  return (indent ? "\n" : "") + lines.join("\n");
}

function flow(value) {
  return typeof value === "string" && /^[\w./-]+$/.test(value) ? value : JSON.stringify(value);
}
