// Classes, replicas and hindsight: a picture comes in, cards are filled.

import { count, element, milliseconds, NOTHING, number, percent, seconds, write } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const LIMITS = { ttft: "TTFT", tpot: "TPOT", e2e: "end to end" };

export function drawLead(picture) {
  const lead = document.getElementById("lead");
  const met = sum(picture.classes, (one) => one.minute.attained);
  const all = sum(picture.classes, (one) => one.minute.counted);
  const now = picture.underway ? count(picture.underway, "request is", "requests are") : "Nothing is";
  const waits = picture.queue ? picture.queue.waiting.length + picture.queue.more : 0;
  const kept = all
    ? `${percent(met, all)} of the ${count(all, "request")} that ended in the last ${picture.minute_s < 60 ? seconds(picture.minute_s) : "minute"} kept their SLO.`
    : "Nothing ended in the last minute.";
  write(lead, `${kept} ${now} under way${waits ? `, of which ${number(waits)} wait here` : ""}.`);
  lead.hidden = false;
}

export function drawClasses(picture) {
  keyed(document.getElementById("classes"), picture.classes, (one) => one.name, classCard, (card, one) =>
    fillClass(card, one, picture.minute_s),
  );
}

function classCard(one) {
  const spark = document.createElementNS(SVG, "svg");
  spark.setAttribute("class", "spark");
  spark.setAttribute("role", "img");
  spark.setAttribute("viewBox", "0 0 100 40");
  spark.setAttribute("preserveAspectRatio", "none");
  const facts = ["Broken limits", "TTFT, median", "TTFT, 99 of 100", "Ended a second", "Waiting", "Refused, failed", "Since the start"];
  return element(
    "article",
    { className: "card" },
    element("div", { className: "head" }, element("h3", { text: one.name }), element("small")),
    element("div", { className: "figure" }, element("strong"), spark),
    element("div", { className: "bar", "aria-hidden": "true" }, element("i"), element("i", { className: "missed" })),
    element("p"),
    element("dl", {}, ...facts.flatMap((text) => [element("dt", { text }), element("dd")])),
  );
}

function fillClass(card, one, span) {
  const minute = one.minute;
  write(card.querySelector("small"), limits(one.limits));
  write(card.querySelector("strong"), percent(minute.attained, minute.counted));
  write(card.querySelector("p"), minute.counted ? `${number(minute.attained)} of ${count(minute.counted, "request")} in time` : "nothing ended in the last minute");
  const [met, missed] = card.querySelectorAll(".bar i");
  width(met, minute.attained, minute.counted);
  width(missed, minute.counted - minute.attained, minute.counted);
  const broken = Object.entries(minute.broken).filter(([, n]) => n);
  const values = [
    broken.map(([name, n]) => `${LIMITS[name]} ${number(n)}`).join(", ") || "none",
    seconds(minute.ttft_p50),
    seconds(minute.ttft_p99),
    `${(minute.counted / span).toFixed(1)} requests, ${number(Math.round(minute.tokens / span))} tokens`,
    one.waiting === null ? "in the engine" : number(one.waiting),
    `${number(minute.ended.shed)}, ${number(minute.ended.failed)}`,
    one.total.counted ? `${percent(one.total.attained, one.total.counted)} of ${number(one.total.counted)}` : NOTHING,
  ];
  card.querySelectorAll("dd").forEach((dd, at) => write(dd, values[at]));
  card.querySelector("dd").classList.toggle("late", broken.length > 0);
  drawSpark(card.querySelector("svg"), one.history);
}

function limits(of) {
  return Object.entries(of).map(([name, ms]) => `${LIMITS[name]} ${milliseconds(ms)}`).join(" · ");
}

function drawSpark(svg, history) {
  const lines = [];
  const shares = history.map((tally) => tally && tally[1] ? tally[0] / tally[1] : null);
  shares.forEach((share, at) => {
    if (share === null) return;
    if (!at || shares[at - 1] === null) lines.push([]);
    lines.at(-1).push(`${((100 * at) / (history.length - 1)).toFixed(1)},${(38 - 36 * share).toFixed(1)}`);
  });
  const known = shares.filter((share) => share !== null);
  const label = known.length
    ? `Kept in the last five minutes: least ${percent(Math.min(...known), 1)}, newest ${percent(known.at(-1), 1)}`
    : "Nothing ended in the last five minutes";
  if (svg.dataset.points === JSON.stringify(lines)) return;
  svg.dataset.points = JSON.stringify(lines);
  svg.setAttribute("aria-label", label);
  const drawn = [2, 38].map((y) => shape("line", { x1: 0, x2: 100, y1: y, y2: y, "vector-effect": "non-scaling-stroke" }));
  // A point of its own is a short line: round ends would be stretched with the picture.
  for (const points of lines) drawn.push(shape("polyline", { points: points.length > 1 ? points.join(" ") : dash(points[0]) }));
  svg.replaceChildren(...drawn);
}

function dash(point) {
  const [x, y] = point.split(",").map(Number);
  return `${x - 1.2},${y} ${x + 1.2},${y}`;
}

function shape(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export function drawReplicas(picture) {
  document.getElementById("replicas-section").hidden = !picture.replicas;
  if (!picture.replicas) return;
  const reasons = new Map(picture.reasons.map((reason) => [reason.replica, reason]));
  const classes = new Map(picture.queue.waiting.map((one) => [one.request_id, one.slo_class]));
  keyed(document.getElementById("replicas"), picture.replicas, (one) => one.name, replicaCard, (card, one) =>
    fillReplica(card, one, reasons.get(one.name), classes),
  );
}

const STATES = { ready: "● ready", draining: "◐ draining: gets nobody new", away: "○ away: does not answer" };

function replicaCard(one) {
  const meter = (text) =>
    element("div", { className: "meter" }, element("span", { text }), element("div", { className: "bar", "aria-hidden": "true" }, element("i"), element("i", { className: "open" })), element("span"));
  return element(
    "article",
    { className: "card" },
    element("div", { className: "head" }, element("h3", { text: one.name }), element("small")),
    meter("Batch"),
    meter("KV"),
    element("p", { className: "faint" }),
    element("p", { className: "why" }),
  );
}

function fillReplica(card, one, reason, classes) {
  write(card.querySelector("small"), STATES[one.state]);
  const [batch, kv] = card.querySelectorAll(".meter");
  width(batch.querySelectorAll("i")[0], one.running, one.slots);
  width(batch.querySelectorAll("i")[1], one.others, one.slots);
  const others = one.others ? ` and ${number(one.others)} of others` : "";
  write(batch.lastChild, `${number(one.running)}${others} of ${count(one.slots, "slot")}`);
  const promised = one.kv_promised / one.kv_tokens;
  width(kv.querySelectorAll("i")[0], one.kv_used ?? promised, 1);
  width(kv.querySelectorAll("i")[1], Math.max(promised - (one.kv_used ?? promised), 0), 1);
  const used = one.kv_used === null ? "" : `${percent(one.kv_used, 1)} used, `;
  write(kv.lastChild, `${used}${percent(promised, 1)} promised`);
  const [facts, why] = card.querySelectorAll("p");
  write(facts, `${count(one.queued, "request waits", "requests wait")} for it. ${speed(one.slower)}`);
  write(why, reason ? because(reason, classes) : "Nobody is next.");
}

function speed(slower) {
  if (Math.abs(slower - 1) < 0.05) return "Steps take as long as its profile says.";
  return slower > 1 ? `Steps take ${slower.toFixed(2)} times as long as its profile says.` : `Steps take ${percent(slower, 1)} of the time that its profile says.`;
}

function because(reason, classes) {
  const named = (id) => (classes.has(id) ? `#${id} (${classes.get(id)})` : `#${id}`);
  const spare =
    reason.slack === null ? "has no deadline" : reason.slack < 0 ? `is late by ${seconds(-reason.slack)} already` : `has ${seconds(reason.slack)} to spare`;
  const head = `Next is ${named(reason.request_id)}: it ${spare}, and is ${seconds(reason.work)} of work.`;
  if (!reason.runner_up) return `${head} Nobody else waits for this replica.`;
  return `${head} If ${named(reason.runner_up)} went first, ${exchange(reason, named)}.`;
}

function exchange(reason, named) {
  const later = reason.delay >= 0 ? "later" : "earlier";
  const size = Math.abs(reason.delay);
  const delay = size < 0.0005 ? "answers would end as soon" : `answers would end ${seconds(size)} ${later} on average`;
  if (!reason.late && !reason.saved) return `as many SLOs would be kept, and ${delay}`;
  const more = reason.late > reason.late_ids.length ? ` and ${number(reason.late - reason.late_ids.length)} more` : "";
  const late = reason.late ? `${reason.late_ids.map(named).join(", ")}${more} would be late` : "";
  const saved = reason.saved ? `${count(reason.saved, "request that is late now", "requests that are late now")} would be in time` : "";
  const both = [late, saved].filter(Boolean).join(", and ");
  return reason.saved > reason.late ? `${both}: the next plan will see to it` : both;
}

export function drawHindsight(picture) {
  const section = document.getElementById("hindsight-section");
  section.hidden = !picture.replicas;
  if (!picture.replicas) return;
  const of = picture.hindsight;
  write(document.getElementById("hindsight-lead"), of ? gain(of) : "Nothing came in the last minute.");
  const lines = of
    ? [
        ["As it was served", of.as_served, 0, "by the model"],
        ["First come, first served", of.fcfs, 0, "by the model"],
        ["Measured", of.measured, of.pending, of.pending ? `${number(of.pending)} not over yet` : "all are over"],
      ]
    : [];
  keyed(document.getElementById("hindsight"), lines, ([name]) => name, comparison, (row, [, met, open, text]) => {
    const [done, pending] = row.querySelectorAll("i");
    width(done, met, of.requests);
    width(pending, open, of.requests);
    write(row.lastChild, `${number(met)} of ${number(of.requests)}, ${text}`);
  });
  const left = of && of.left_out ? ` ${count(of.left_out, "request that was", "requests that were")} refused, given up or failed ${of.left_out === 1 ? "is" : "are"} in neither.` : "";
  write(
    document.getElementById("hindsight-note"),
    of ? `The last minute's requests, served twice by the same model of the replicas: sent when and where they really were, and in order of arrival to whoever has room first. Its steps are those that the replicas' profiles say and tokens have shown, ${of.scaled.map((factor) => `× ${factor.toFixed(2)}`).join(", ")}, so that answers take as long as they did. Who still waits goes by the plan, and answers that are not over are as long as expected.${left} Worked out in ${seconds(of.seconds)}, every five seconds while somebody watches.` : "",
  );
}

function gain(of) {
  const difference = of.as_served - of.fcfs;
  if (!difference) return "First come, first served would have kept as many SLOs in the last minute.";
  const many = `${number(Math.abs(difference))} ${difference > 0 ? "more" : "fewer"} SLO${Math.abs(difference) === 1 ? "" : "s"}`;
  return `${many} kept in the last minute than first come, first served would have, by the same model of the replicas.`;
}

function comparison([name]) {
  return element(
    "div",
    { className: "compare" },
    element("span", { text: name }),
    element("div", { className: "bar", "aria-hidden": "true" }, element("i"), element("i", { className: "open" })),
    element("span"),
  );
}

// One child for each item, in their order; a child stays as long as its key.
function keyed(parent, items, key, make, fill) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const children = items.map((item) => {
    const child = old.get(key(item)) || make(item);
    child.dataset.key = key(item);
    fill(child, item);
    return child;
  });
  if (children.length !== parent.children.length || children.some((child, at) => parent.children[at] !== child)) {
    parent.replaceChildren(...children);
  }
}

function width(bar, part, whole) {
  bar.style.width = `${whole ? Math.min((100 * part) / whole, 100) : 0}%`;
}

function sum(items, value) {
  return items.reduce((total, item) => total + value(item), 0);
}
