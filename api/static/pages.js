// What the pages do beyond HTML: times in the reader's zone, countdowns, copying, and news without reloading.
// Without this script everything works; a reader then reloads the page.
"use strict";

const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const MAX_WAIT = 30; // seconds between two tries while nothing answers

function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = time.dateTime;
    time.textContent = LOCAL.format(new Date(time.dateTime));
  }
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
}

function showCountdowns() {
  for (const span of document.querySelectorAll("[data-countdown]")) {
    const seconds = Math.round((new Date(span.dataset.countdown) - Date.now()) / 1000);
    span.title = LOCAL.format(new Date(span.dataset.countdown));
    if (seconds <= 0) span.textContent = "is due";
    else if (seconds < 120) span.textContent = RELATIVE.format(seconds, "second");
    else if (seconds < 7200) span.textContent = RELATIVE.format(Math.round(seconds / 60), "minute");
    else span.textContent = RELATIVE.format(Math.round(seconds / 3600), "hour");
  }
}

function isReading(region) {
  const selection = document.getSelection();
  const selects = selection && !selection.isCollapsed && region.contains(selection.anchorNode);
  return selects || Boolean(region.querySelector("input:focus, select:focus, textarea:focus"));
}

function keyOf(element) {
  if (element.id) return "#" + CSS.escape(element.id);
  const form = element.closest("form");
  const hidden = form && form.querySelector("input[name=delivery]");
  return form && [form.getAttribute("action"), hidden ? hidden.value : ""].join(" ");
}

function replace(region, fresh) {
  const focused = region.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  for (const details of region.querySelectorAll("details[open][id]")) {
    const same = fresh.querySelector("#" + CSS.escape(details.id));
    if (same) same.open = true;
  }
  showTimes(fresh);
  region.replaceWith(fresh);
  if (!focused) return;
  for (const button of fresh.querySelectorAll("button, summary, a")) {
    if (keyOf(button) === focused) return button.focus({ preventScroll: true });
  }
}

class Live {
  constructor(region) {
    this.state = document.querySelector("[data-live-state]");
    this.text = document.querySelector("[data-live-text]");
    this.toggle = document.querySelector("[data-live-toggle]");
    this.seconds = Number(region.dataset.live);
    this.from = region.dataset.from || location.href; // an answer to a form names the page that it shows
    this.source = region.outerHTML; // as the server has sent it
    this.paused = false;
    this.failures = 0;
    this.state.hidden = false;
    this.toggle.addEventListener("click", () => this.pause(!this.paused));
    document.addEventListener("visibilitychange", () => this.schedule(0));
    this.schedule(this.seconds);
  }

  pause(paused) {
    this.paused = paused;
    this.toggle.textContent = paused ? "Resume updates" : "Pause updates";
    this.say(paused ? "Paused" : "Live", paused ? "paused" : "");
    this.schedule(0);
  }

  say(text, state) {
    if (this.text.textContent !== text) this.text.textContent = text;
    this.state.className = ("live " + state).trim();
  }

  schedule(seconds) {
    clearTimeout(this.timer);
    if (!this.paused && !document.hidden) this.timer = setTimeout(() => this.refresh(), seconds * 1000);
  }

  async refresh() {
    try {
      const answer = await fetch(this.from, { headers: { accept: "text/html" }, signal: AbortSignal.timeout(10000) });
      if (answer.status === 401 || new URL(answer.url).pathname === "/login") return location.reload();
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("#live");
      if (!answer.ok || !fresh) throw new Error(String(answer.status));
      this.show(fresh);
      this.failures = 0;
      if (!this.paused) this.say("Live", "");
    } catch {
      this.failures += 1;
      if (!this.paused) this.say("Not up to date: trying again", "late");
    }
    this.schedule(Math.min(this.seconds * 2 ** Math.min(this.failures, 5), Math.max(MAX_WAIT, this.seconds)));
  }

  show(fresh) {
    const region = document.getElementById("live");
    if (fresh.outerHTML === this.source || this.paused || isReading(region)) return;
    this.source = fresh.outerHTML;
    this.seconds = Number(fresh.dataset.live) || this.seconds;
    replace(region, document.importNode(fresh, true));
    showCountdowns();
  }
}

document.addEventListener("click", async (click) => {
  const button = click.target.closest("[data-copy]");
  if (!button) return;
  const { copy, copyOf } = button.dataset; // a text, or the id of the element that has it
  await navigator.clipboard.writeText(copyOf ? document.getElementById(copyOf).textContent : copy);
  const label = button.dataset.label ??= button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = label; }, 1500);
});

// A link that opens in a frame was made for this reader by the page around it, so it needs no button.
const opening = document.querySelector("[data-open-in-frame]");
if (opening && window.parent !== window) opening.requestSubmit();
const reload = document.querySelector("[data-reload]");
if (reload) setTimeout(() => location.assign(reload.dataset.to || location.href), Number(reload.dataset.reload) * 1000);
const region = document.querySelector("[data-live]");
if (region) new Live(region);
showTimes(document);
showCountdowns();
setInterval(showCountdowns, 1000);
