// Keeps a page up to date: figures by their texts, regions by the page itself, which is fetched again. One stream of events;
// none while the page is hidden. Without this script a page has links that load it again.

import { cost, exact, milliseconds, percent, rough } from "./shown.js";

const place = document.getElementById("live");
const topics = place.dataset.topics;
const regions = (place.dataset.regions ?? "").split(" ").filter(Boolean);
const announced = place.dataset.announces;

/** The longest pause before another try, in milliseconds. */
const MAX_PAUSE = 30_000;

let source = null;
let timer = 0;
let pause = 1000;
let attention = null;

function say(text, ...more) {
  if (place.textContent !== text) place.replaceChildren(text, ...more);
}

// === the stream ===

function open() {
  clearTimeout(timer);
  if (source || document.hidden) return;
  const stream = new EventSource(`/admin/events?topics=${topics}`);
  source = stream;
  stream.addEventListener("open", () => { pause = 1000; say("Live."); });
  stream.addEventListener("status", () => refresh());
  stream.addEventListener("overview", (event) => show(JSON.parse(event.data)));
  stream.addEventListener("end", (event) => {
    close();
    const { reason } = JSON.parse(event.data);
    if (reason === "session") return signedOut();
    if (reason === "replaced") return say("Updates are paused: newer pages of this sign-in are open. They go on when you come back to this one.");
    later();
  });
  stream.addEventListener("error", () => {
    if (source !== stream) return;
    close();
    ask();
  });
}

function close() {
  source?.close();
  source = null;
}

/** Learns why the stream failed: a browser does not say. An answer that is a stream is left at once. */
async function ask() {
  const leave = new AbortController();
  try {
    const answer = await fetch(`/admin/events?topics=${topics}`, { cache: "no-store", redirect: "error", signal: leave.signal });
    if (answer.status === 401) return signedOut();
    if (answer.status === 503) return later(`Updates are paused. ${(await answer.json()).error.message}.`);
  } catch { /* tollgate is away, and is asked again. */ } finally { leave.abort(); }
  later();
}

function later(reason = "The connection is lost: trying again…") {
  say(reason);
  timer = setTimeout(open, pause);
  pause = Math.min(2 * pause, MAX_PAUSE);
}

function signedOut() {
  const link = Object.assign(document.createElement("a"), { href: location.href, textContent: "Sign in again" });
  say("Your sign-in has ended. ", link);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) return open();
  clearTimeout(timer);
  close();
});
addEventListener("pagehide", close);
addEventListener("pageshow", open);

// === figures ===

/** The number of failed calls, and the numbers by outcome, the greatest first. */
function failed(number, failures) {
  const parts = Object.entries(failures).sort((one, other) => other[1] - one[1])
    .map(([outcome, calls]) => `${exact(calls)} ${outcome.replaceAll("_", " ")}`);
  return `${exact(number)} failed${parts.length ? ": " : ""}${parts.join(", ")}`;
}

function show(overview) {
  const { now } = overview;
  const times = now.firstByte;
  const estimated = now.estimatedTokens > 0;
  const texts = {
    at: overview.at.slice(0, 16).replace("T", " "),
    rate: now.requestsPerSecond.toFixed(now.requestsPerSecond >= 100 ? 0 : 1),
    requests: `${exact(now.requests)} in the last minute`,
    errors: percent(now.failed, now.requests),
    failed: failed(now.failed, now.failures),
    p50: times ? milliseconds(times.p50Ms) : "–",
    slow: times ? `p95 ${milliseconds(times.p95Ms)}, p99 ${milliseconds(times.p99Ms)}` : "no answer yet",
    streams: String(now.streams),
    inflight: `${now.inFlight.now} of ${now.inFlight.max} requests`,
    connections: String(now.connections.now),
    tokens: rough(now.tokens, estimated),
    cost: cost(now.cost, estimated),
  };
  for (const [name, text] of Object.entries(texts)) {
    for (const one of document.querySelectorAll(`[data-figure="${name}"]`)) {
      if (one.textContent !== text) one.textContent = text;
    }
  }
  const current = JSON.stringify([overview.attention, overview.day, overview.setup]);
  if (current !== attention) refresh();
  attention = current;
}

// === regions ===

let running = null;
let again = false;

/** Fetches this page, and puts its regions in place of those that differ. One at a time; what comes meanwhile is one more. */
function refresh() {
  if (running) { again = true; return; }
  running = load().catch(() => {}).finally(() => {
    running = null;
    if (again) { again = false; refresh(); }
  });
}

async function load() {
  const answer = await fetch(location.href, { cache: "no-store", redirect: "error" });
  // What the page is about is gone: its own message says so.
  if (answer.status === 404) return location.reload();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  let changed = false;
  for (const id of regions) {
    const [old, fresh] = [document.getElementById(id), page.getElementById(id)];
    if (old && fresh) changed = replace(old, document.importNode(fresh, true)) || changed;
  }
  const toast = document.getElementById("toast");
  if (changed && announced && toast) toast.textContent = announced;
}

/** The place of an element among those below a root that can have the focus or be opened. */
const parts = (root) => [...root.querySelectorAll("a, button, input, select, textarea, summary, details, [tabindex]")];
const name = (one) => one.id || `${one.tagName} ${one.getAttribute("href") ?? ""} ${one.getAttribute("aria-label") ?? ""} ${one.querySelector(":scope > summary")?.textContent ?? one.name ?? ""}`;

/** Replaces a region if it differs. What is open stays open, and the focus and the scroll position stay. */
function replace(old, fresh) {
  const before = old.cloneNode(true);
  for (const one of before.querySelectorAll("details")) one.open = false;
  const after = fresh.cloneNode(true);
  for (const one of after.querySelectorAll("details")) one.open = false;
  if (before.isEqualNode(after)) return false;
  const opened = parts(old).filter((one) => one.open).map(name);
  const focused = old.contains(document.activeElement) ? name(document.activeElement) : null;
  const scrolled = [...old.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  const [x, y] = [scrollX, scrollY];
  old.replaceWith(fresh);
  for (const one of parts(fresh)) {
    if (one.tagName === "DETAILS" && opened.includes(name(one))) one.open = true;
  }
  fresh.querySelectorAll(".scroll").forEach((one, at) => { one.scrollLeft = scrolled[at] ?? 0; });
  if (focused) (parts(fresh).find((one) => name(one) === focused) ?? document.getElementById("main")).focus({ preventScroll: true });
  scrollTo(x, y);
  return true;
}

document.getElementById("refresh")?.setAttribute("hidden", "");
open();
