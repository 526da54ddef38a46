// What the pages do beyond HTML: countdowns, copying, each form sent once, and news without reloading. Times are in
// times.js.
// Without this script everything works; a reader then reloads the page.
"use strict";

const RELATIVE = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: "auto" });
const MAX_WAIT = 30; // seconds between two tries while nothing answers
const STREAM_GAP = 1; // seconds between two refreshes that a stream has caused, at least
const RESEND = 10; // seconds after which a form without an answer can be sent again
const STREAM_REST = 60; // seconds between two refreshes while a stream says nothing

function finish(root) {
  showTimes(root);
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
}

function showCountdowns() {
  for (const span of document.querySelectorAll("[data-countdown]")) {
    const seconds = Math.round((new Date(span.dataset.countdown) - Date.now()) / 1000);
    span.title = formats.exact.format(new Date(span.dataset.countdown));
    if (seconds <= 0) span.textContent = _("is due");
    else if (seconds < 120) span.textContent = RELATIVE.format(seconds, "second");
    else if (seconds < 7200) span.textContent = RELATIVE.format(Math.round(seconds / 60), "minute");
    else if (seconds < 172800) span.textContent = RELATIVE.format(Math.round(seconds / 3600), "hour");
    else span.textContent = RELATIVE.format(Math.round(seconds / 86400), "day");
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

// The rows of a list by their keys; a region without such rows is no list.
function rowsOf(region) {
  return new Map([...region.querySelectorAll("tr[data-row]")].map((row) => [row.dataset.row, row]));
}

// Whether rows that move would move under the reader's eyes or hand.
function isInUse(region) {
  const focused = document.activeElement;
  const hovers = matchMedia("(hover: hover)").matches && region.matches(":hover");
  const isScrolled = region.getBoundingClientRect().top < 0;
  return hovers || isScrolled || (focused !== region && region.contains(focused)) || Boolean(panel && panel.href);
}

// Update the rows that stay, but for their first cells: these have the links, and a click on one must not be lost.
function updateRows(region, fresh) {
  const rows = rowsOf(region);
  finish(fresh);
  for (const [key, row] of rowsOf(fresh)) {
    const shown = rows.get(key);
    for (let n = 1; shown && n < row.cells.length; n += 1) {
      if (shown.cells[n].innerHTML !== row.cells[n].innerHTML) shown.cells[n].innerHTML = row.cells[n].innerHTML;
    }
  }
}

function replace(region, fresh) {
  const focused = region.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  for (const details of region.querySelectorAll("details[open][id]")) {
    const same = fresh.querySelector("#" + CSS.escape(details.id));
    if (same) same.open = true;
  }
  finish(fresh);
  region.replaceWith(fresh);
  if (!focused) return;
  for (const button of fresh.querySelectorAll("button, summary, a")) {
    if (keyOf(button) === focused) return button.focus({ preventScroll: true });
  }
}

// A page with it is not reloaded.
function hasTypedText() {
  const fields = document.querySelectorAll("form[method=post] input, form[method=post] textarea");
  return [...fields].some((field) => field.value !== field.defaultValue);
}

// The stream of what changes. Without one, for example since the tenant has too many, the page asks as if there were none.
class Stream {
  constructor(url, changed) {
    this.url = url;
    this.changed = changed;
    this.isLive = false;
  }

  open() {
    if (this.source || !window.EventSource) return;
    this.source = new EventSource(this.url);
    for (const kind of ["ready", "event", "reset"]) this.source.addEventListener(kind, () => this.hear(true));
    this.source.addEventListener("unavailable", () => this.hear(false));
    this.source.addEventListener("error", () => this.fail());
  }

  hear(isLive) {
    this.isLive = isLive;
    this.changed();
  }

  fail() {
    this.isLive = false;
    this.changed();
    if (this.source.readyState !== EventSource.CLOSED) return; // the browser connects again
    this.close();
    this.timer = setTimeout(() => this.open(), STREAM_REST * 1000);
  }

  close() {
    clearTimeout(this.timer);
    if (this.source) this.source.close();
    this.source = null;
    this.isLive = false;
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
    this.refreshedAt = Date.now();
    this.state.hidden = false;
    this.stream = region.dataset.stream ? new Stream(region.dataset.stream, () => this.hear()) : null;
    this.news = document.querySelector("[data-news]");
    this.toggle.addEventListener("click", () => this.pause(!this.paused));
    if (this.news) this.news.addEventListener("click", () => this.showNews());
    document.addEventListener("visibilitychange", () => this.follow());
    addEventListener("pagehide", () => this.stream && this.stream.close());
    addEventListener("pageshow", (shown) => shown.persisted && this.follow());
    this.schedule(this.seconds);
    if (this.stream && !document.hidden) this.stream.open();
  }

  // Take up, or stop, asking and listening: a browser has few connections, so only the page that is seen has one.
  follow() {
    const follows = !this.paused && !document.hidden;
    if (this.stream && follows) this.stream.open();
    else if (this.stream) this.stream.close();
    this.schedule(0);
  }

  hear() {
    if (!this.refreshing) this.schedule(Math.max(STREAM_GAP - (Date.now() - this.refreshedAt) / 1000, 0));
    else this.heard = true;
  }

  pause(paused) {
    this.paused = paused;
    this.toggle.textContent = paused ? _("Resume updates") : _("Pause updates");
    this.say(paused ? _("Paused") : _("Live"), paused ? "paused" : "");
    this.follow();
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
    this.refreshing = true;
    this.heard = false;
    try {
      const headers = { accept: "text/html", "x-refresh": "1" }; // without suggestions for filters
      const answer = await fetch(this.from, { headers, signal: AbortSignal.timeout(10000) });
      if (answer.status === 401 || new URL(answer.url).pathname === "/login") {
        if (!hasTypedText()) return location.reload();
        throw new Error("the session has ended");
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("#live");
      if (!answer.ok || !fresh) throw new Error(String(answer.status));
      this.show(fresh);
      this.failures = 0;
      if (!this.paused) this.say(_("Live"), "");
    } catch {
      this.failures += 1;
      if (!this.paused) this.say(_("Not up to date: trying again"), "late");
    }
    this.refreshing = false;
    this.refreshedAt = Date.now();
    this.schedule(this.pauseBetween());
  }

  // The seconds until the next refresh.
  pauseBetween() {
    if (this.failures) return Math.min(this.seconds * 2 ** Math.min(this.failures, 5), Math.max(MAX_WAIT, this.seconds));
    if (this.heard) return STREAM_GAP;
    return this.stream && this.stream.isLive ? STREAM_REST : this.seconds;
  }

  show(fresh) {
    const region = document.getElementById("live");
    this.waiting = null;
    if (this.paused || isReading(region)) return;
    if (fresh.outerHTML === this.source) return this.announce(0);
    if (this.news && isInUse(region)) return this.keep(region, fresh);
    this.put(region, fresh);
  }

  // Let new rows wait until the reader wants them, or does something else.
  keep(region, fresh) {
    const shown = rowsOf(region);
    this.waiting = fresh;
    this.source = null; // the page shows some of it
    this.announce([...rowsOf(fresh).keys()].filter((key) => !shown.has(key)).length);
    updateRows(region, document.importNode(fresh, true));
    showCountdowns();
  }

  settle() {
    const region = document.getElementById("live");
    if (this.waiting && !this.paused && !isReading(region) && !isInUse(region)) this.put(region, this.waiting);
  }

  showNews() {
    if (!this.waiting) return;
    this.put(document.getElementById("live"), this.waiting);
    const region = document.getElementById("live");
    region.tabIndex = -1;
    region.focus({ preventScroll: true });
    if (region.getBoundingClientRect().top < 0) region.scrollIntoView();
  }

  announce(count) {
    if (!this.news) return;
    this.news.hidden = !count;
    this.news.textContent = this.news.dataset.news.replace("0", count);
  }

  put(region, fresh) {
    this.waiting = null;
    this.announce(0);
    this.source = fresh.outerHTML;
    this.seconds = Number(fresh.dataset.live) || this.seconds;
    replace(region, document.importNode(fresh, true));
    if (panel) panel.mark();
    showCountdowns();
  }
}

// A part of a page of ours, for this one.
async function fetchPart(url, id) {
  const answer = await fetch(url, { headers: { accept: "text/html" }, signal: AbortSignal.timeout(10000) });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById(id);
  if (!answer.ok || !fresh) throw new Error(String(answer.status));
  return document.importNode(fresh, true);
}

// Shows an event beside the list. On a narrow screen, and for a click with a key held, the event's page opens instead.
class Panel {
  constructor(element) {
    this.element = element;
    this.wide = matchMedia("(min-width: 64rem)");
    this.failures = 0;
    document.addEventListener("click", (click) => this.click(click));
    document.addEventListener("keydown", (key) => this.press(key));
    element.querySelector("[data-close]").addEventListener("click", () => this.close());
  }

  links() {
    return [...document.querySelectorAll("a[data-in-panel]")];
  }

  click(click) {
    const link = click.target.closest("a[data-in-panel]");
    const isPlain = click.button === 0 && !(click.ctrlKey || click.metaKey || click.shiftKey || click.altKey);
    if (!link || !isPlain || !this.wide.matches) return;
    click.preventDefault();
    this.open(link.href);
  }

  press(key) {
    if (this.element.hidden) return;
    if (key.key === "Escape") return this.close();
    const step = { ArrowDown: 1, ArrowUp: -1 }[key.key];
    const links = this.links();
    const at = links.indexOf(document.activeElement);
    if (!step || at < 0 || !links[at + step]) return;
    key.preventDefault();
    links[at + step].focus();
    this.open(links[at + step].href);
  }

  open(href) {
    this.href = href;
    this.element.querySelector("[data-page]").href = href;
    this.element.querySelector("[data-shown]").replaceChildren();
    this.element.hidden = false;
    this.element.parentElement.classList.add("has-panel");
    this.mark();
    this.refresh();
  }

  close() {
    const link = this.links().find((other) => other.href === this.href);
    this.href = null;
    clearTimeout(this.timer);
    this.element.hidden = true;
    this.element.parentElement.classList.remove("has-panel");
    this.mark();
    if (link) link.focus();
  }

  mark() {
    for (const link of this.links()) {
      if (link.href === this.href) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  async refresh() {
    clearTimeout(this.timer);
    const href = this.href;
    let seconds = MAX_WAIT;
    try {
      const fresh = await fetchPart(href, "live");
      if (href !== this.href) return;
      seconds = Number(fresh.dataset.live);
      this.show(fresh);
      this.failures = 0;
    } catch {
      if (href !== this.href) return;
      this.failures += 1;
      seconds = Math.min(2 ** this.failures, MAX_WAIT);
      if (!this.element.querySelector("[data-shown] > *")) location.assign(href); // it says what is wrong
    }
    this.timer = setTimeout(() => (document.hidden ? this.refreshWhenSeen() : this.refresh()), seconds * 1000);
  }

  refreshWhenSeen() {
    document.addEventListener("visibilitychange", () => this.href && this.refresh(), { once: true });
  }

  show(fresh) {
    fresh.id = "shown";
    const shown = document.getElementById("shown");
    if (shown && (fresh.outerHTML === this.source || isReading(shown))) return;
    this.source = fresh.outerHTML;
    if (shown) {
      replace(shown, fresh);
    } else {
      finish(fresh);
      this.element.querySelector("[data-shown]").replaceChildren(fresh);
    }
    showCountdowns();
  }
}

async function followAnswer(region, failures) {
  try {
    const fresh = await fetchPart(region.dataset.from, "answer");
    if (!isReading(region)) replace(region, fresh);
    failures = 0;
  } catch {
    failures += 1;
  }
  waitForAnswer(failures);
}

function waitForAnswer(failures) {
  const region = document.querySelector("#answer[data-again]");
  const seconds = region && Math.min(Number(region.dataset.again) * 2 ** failures, MAX_WAIT);
  if (region) setTimeout(() => followAnswer(region, failures), seconds * 1000);
}

document.addEventListener("click", async (click) => {
  const button = click.target.closest("[data-copy]");
  if (!button) return;
  const { copy, copyOf } = button.dataset; // a text, or the id of the element that has it
  await navigator.clipboard.writeText(copyOf ? document.getElementById(copyOf).textContent : copy);
  const label = button.dataset.label ??= button.textContent;
  button.textContent = _("Copied");
  setTimeout(() => { button.textContent = label; }, 1500);
});

const sent = new Set(); // forms
// A second click, while the answer to the first is on its way, would do the same again.
document.addEventListener("submit", (submit) => {
  if (submit.defaultPrevented || submit.target.method !== "post") return;
  if (sent.has(submit.target)) return submit.preventDefault();
  sent.add(submit.target);
  setTimeout(() => sent.delete(submit.target), RESEND * 1000);
});
addEventListener("pageshow", () => sent.clear()); // the reader came back

// A link that opens in a frame was made for this reader by the page around it, so it needs no button.
const opening = document.querySelector("[data-open-in-frame]");
if (opening && window.parent !== window) opening.requestSubmit();
const reload = document.querySelector("[data-reload]");
if (reload) setTimeout(() => location.assign(reload.dataset.to || location.href), Number(reload.dataset.reload) * 1000);
const beside = document.getElementById("panel");
const panel = beside && new Panel(beside);
const region = document.querySelector("[data-live]");
const live = region && new Live(region);
waitForAnswer(0);
finish(document);
showCountdowns();
setInterval(() => {
  showCountdowns();
  if (live) live.settle();
}, 1000);
