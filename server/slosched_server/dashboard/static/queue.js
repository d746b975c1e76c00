// Who waits: the table, and deadlines that count down between two pictures.

import { count, countdown, element, NOTHING, number, seconds, write } from "./words.js";

const body = document.querySelector("#queue tbody");
const note = document.getElementById("queue-note");
const scroll = document.getElementById("queue-scroll");
const COLUMNS = ["", "left name", "", "left", "left name", "", "", "", "left name"];
const DEADLINE = 2;
const PLAN = 3;
let waiting = [];

export function drawQueue(picture) {
  const queue = picture.queue;
  waiting = queue ? queue.waiting : [];
  scroll.hidden = !waiting.length;
  write(note, words(picture));
  while (body.rows.length > waiting.length) body.deleteRow(-1);
  waiting.forEach((one, at) => fill(body.rows[at] || addRow(), one));
}

export function countDown(now) {
  waiting.forEach((one, at) => {
    const cell = body.rows[at].cells[DEADLINE];
    const left = one.deadline === null ? null : one.deadline - now;
    cell.classList.toggle("late", left !== null && left < 0);
    write(cell, left === null ? "no limit" : left < 0 ? `▲ ${countdown(-left)} ago` : countdown(left));
  });
}

function words(picture) {
  if (!picture.queue) {
    return `${count(picture.underway, "request")} under way. Before one engine the queue is in the engine, which orders it; it is not seen from here.`;
  }
  if (!waiting.length) return "Nobody waits: whoever comes is sent on at once.";
  const all = waiting.length + picture.queue.more;
  return picture.queue.more
    ? `${count(all, "request waits", "requests wait")}; the first ${waiting.length} in the plan's order are shown, and there are ${number(picture.queue.more)} more.`
    : `${count(all, "request waits", "requests wait")}, in the plan's order.`;
}

function addRow() {
  const row = body.insertRow();
  for (const name of COLUMNS) row.append(element("td", { className: name }));
  return row;
}

function fill(row, one) {
  const next = one.replica !== "" && one.place === 0;
  row.classList.toggle("next", next);
  row.dataset.request = one.request_id;
  const texts = [
    next ? "next" : number(one.place + 1),
    one.slo_class,
    null, // counts down
    slack(one),
    one.replica || "open",
    `#${one.request_id}`,
    number(one.input_tokens),
    number(one.tokens),
    one.tenant || NOTHING,
  ];
  texts.forEach((text, at) => text !== null && write(row.cells[at], text));
  row.cells[PLAN].classList.toggle("late", one.slack !== null && one.slack < 0);
}

function slack(one) {
  if (!one.replica) return "not planned yet";
  if (one.first === null) return "▲ never";
  if (one.slack === null) return "in time";
  return one.slack < 0 ? `▲ late by ${seconds(-one.slack)}` : `${seconds(one.slack)} to spare`;
}
