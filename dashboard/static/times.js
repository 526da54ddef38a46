// Times in one zone a page: the reader's, or UTC by choice. The page names it. Without this script all times are in UTC.
"use strict";

const LAST_LABEL = 85; // percent of an axis; as in charts.py
const DAY = 86400;
const STEP = 300; // seconds: labels, and the offsets of time zones, are multiples of it
const SVG = "http://www.w3.org/2000/svg";
// English pages show times as the reader's system writes them; others, in their language.
const LANGUAGE = document.documentElement.lang;
const TEXTS = JSON.parse(document.body.dataset.texts || "{}");
let formats;

function _(text) {
  return TEXTS[text] || text;
}

// A frame of another site may have no storage.
function isUtcChosen() {
  try { return localStorage.getItem("zone") === "UTC"; } catch { return false; }
}

function chooseUtc(chosen) {
  try { localStorage.setItem("zone", chosen ? "UTC" : ""); } catch { /* chosen for this page only */ }
  useZone(chosen);
  showTimes(document);
}

function useZone(isUtc) {
  const format = (options) => new Intl.DateTimeFormat(LANGUAGE === "en" ? undefined : LANGUAGE, isUtc ? { ...options, timeZone: "UTC" } : options);
  formats = {
    isUtc,
    zone: format({}).resolvedOptions().timeZone,
    long: format({ dateStyle: "medium", timeStyle: "medium" }),
    short: format({ month: "short", day: "numeric", hour: "numeric", minute: "2-digit" }),
    exact: format({ dateStyle: "medium", timeStyle: "long" }), // with the zone
    clock: format({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
    day: format({ month: "short", day: "numeric" }),
  };
  nameZone();
}

function nameZone() {
  const note = document.querySelector("[data-zone]");
  if (!note) return;
  note.querySelector("[data-zone-name]").textContent = note.dataset.zone.replace("{zone}", formats.zone);
  const choice = note.querySelector("label");
  choice.hidden = Intl.DateTimeFormat().resolvedOptions().timeZone === "UTC";
  choice.firstElementChild.checked = formats.isUtc;
}

function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const when = new Date(time.dateTime);
    time.title = formats.exact.format(when);
    time.textContent = (time.classList.contains("short") ? formats.short : formats.long).format(when);
  }
  for (const title of root.querySelectorAll("title[data-since]")) {
    const { since, until, text } = title.dataset;
    title.textContent = `${formats.short.formatRange(new Date(since), new Date(until))}: ${text}`;
  }
  root.querySelectorAll("svg[data-tick]").forEach(showAxis);
  root.querySelectorAll("form:has([name=zone])").forEach(showFilter);
}

// The times of a filter are of the zone that its hidden field names.
function showFilter(form) {
  form.elements.zone.value = formats.zone;
  for (const name of form.querySelectorAll("[data-zone-of]")) name.textContent = formats.zone;
  for (const field of form.querySelectorAll("input[data-time]")) {
    const when = new Date(field.dataset.time);
    if (!formats.isUtc) when.setMinutes(when.getMinutes() - when.getTimezoneOffset());
    field.value = when.toISOString().slice(0, 19);
  }
}

function showAxis(axis) {
  const [since, until, tick] = [Date.parse(axis.dataset.since) / 1000, Date.parse(axis.dataset.until) / 1000, Number(axis.dataset.tick)];
  for (const old of axis.querySelectorAll("line, text:not(.now)")) old.remove();
  for (let at = Math.ceil(since / STEP) * STEP; at < until; at += STEP) {
    const when = new Date(at * 1000);
    const percent = ((at - since) / (until - since)) * 100;
    const offset = formats.isUtc ? 0 : when.getTimezoneOffset() * 60;
    if ((at - offset) % tick || percent >= LAST_LABEL) continue;
    const line = document.createElementNS(SVG, "line");
    for (const [name, value] of Object.entries({ x1: `${percent}%`, x2: `${percent}%`, y1: 0, y2: 4 })) line.setAttribute(name, value);
    const label = document.createElementNS(SVG, "text");
    label.setAttribute("x", `${percent}%`);
    label.setAttribute("y", 17);
    label.textContent = (tick < DAY ? formats.clock : formats.day).format(when);
    axis.append(line, label);
  }
}

document.addEventListener("change", (change) => {
  if (change.target.closest("[data-zone]")) chooseUtc(change.target.checked);
});
useZone(isUtcChosen());
