// The live tail: asks for later exchanges each second while the page is seen, and adds them as rows. Without this script the
// page is a list with a link to load it again.

import { element, problem, Unreachable, get } from "./api.js";
import { cost, exact, milliseconds } from "./shown.js";

/** The rows that stay. */
const ROWS = 200;
/** The exchanges of one answer: the most that the API gives. */
const LIMIT = 1000;
const INTERVAL = 1000;
/** The longest wait after failures, in milliseconds. */
const MAX_WAIT = 30_000;
/** The shortest time between two announcements to screen readers, in milliseconds. */
const QUIET = 10_000;

const body = document.getElementById("tail");
const state = document.getElementById("state");
const news = document.getElementById("news");
const pause = document.getElementById("pause");

let after = body.dataset.next;
let timer = 0;
let failures = 0;
let asking = false;
let ended = false;
let paused = false;
let unsaid = 0;
let saidAt = performance.now();

function show(...content) {
  state.replaceChildren(...content);
}

/** Asks again after a time, unless something waits already. */
function later(wait) {
  clearTimeout(timer);
  if (!ended && !paused && !document.hidden) timer = setTimeout(poll, wait);
}

async function poll() {
  if (asking || ended) return;
  asking = true;
  let wait = INTERVAL;
  try {
    wait = took(await get(`${body.dataset.call}${body.dataset.call.includes("?") ? "&" : "?"}limit=${LIMIT}&after=${after}`));
  } catch (failure) {
    if (!(failure instanceof Unreachable)) throw failure;
    wait = failed("tollgate cannot be reached.");
  } finally {
    asking = false;
  }
  later(wait);
}

/** Shows an answer. Returns the time until the next call. */
function took(answer) {
  if (answer.status === 401) {
    end("Your sign-in has ended. ", element("a", { href: location.href }, "Sign in again"));
    return 0;
  }
  if (answer.status === 429 || answer.status >= 500) return failed(problem(answer));
  if (!answer.ok) {
    end(problem(answer));
    return 0;
  }
  failures = 0;
  const { exchanges, next } = answer.document;
  after = String(next);
  if (!paused) show("Live: new requests show within two seconds");
  if (exchanges.length > 0) add(exchanges);
  announce();
  return exchanges.length < LIMIT ? INTERVAL : 0;
}

/** Waits longer after each failure. */
function failed(message) {
  failures += 1;
  const wait = Math.min(MAX_WAIT, INTERVAL * 2 ** failures);
  show(`${message} Trying again in ${wait / 1000} s`);
  return wait;
}

/** Nothing is asked any more. */
function end(...content) {
  ended = true;
  pause.hidden = true;
  show(...content);
  news.textContent = state.textContent;
}

function add(exchanges) {
  const rows = exchanges.slice(-ROWS).reverse().map(row);
  body.prepend(...rows);
  while (body.rows.length > ROWS) body.rows[body.rows.length - 1].remove();
  document.getElementById("none").hidden = true;
  document.getElementById("list").hidden = false;
  unsaid += exchanges.length;
}

/** Reads the number of new rows to screen readers, and not each row. */
function announce() {
  if (unsaid === 0 || performance.now() - saidAt < QUIET) return;
  news.textContent = unsaid === 1 ? "1 new request" : `${unsaid} new requests`;
  unsaid = 0;
  saidAt = performance.now();
}

function row(one) {
  const estimated = one.estimatedPromptTokens + one.estimatedAnswerTokens > 0;
  const time = element("time", { dateTime: one.at }, one.at.slice(5, 19).replace("T", " "));
  const user = element("a", { href: `?user=${encodeURIComponent(one.user)}` }, one.userName ?? one.user);
  const chip = element("span", { className: `chip ${kind(one.outcome)}` },
    `${one.status === undefined ? "" : `${one.status} `}${one.outcome.replaceAll("_", " ")}`);
  const outcome = one.fault ? [chip, " ", element("code", { className: "soft" }, one.fault)] : [chip];
  return element("tr", { className: "new" },
    element("td", { className: "mono time" }, time),
    element("td", {}, user),
    ...[one.provider, one.endpoint].map((text) => element("td", {}, text || "–")),
    element("td", { className: "wrap" }, one.model || "–"),
    element("td", { className: "time" }, ...outcome),
    number(`${estimated ? "~" : ""}${exact(one.tokens)}`),
    number(cost(one.cost, estimated)),
    number(one.firstByteMs === undefined ? "–" : milliseconds(one.firstByteMs)),
    number(milliseconds(one.durationMs)),
    element("td", {}, element("code", {}, one.requestId)));
}

function number(text) {
  return element("td", { className: "num" }, text);
}

/** The class of an outcome, as the page without scripts has it. */
function kind(outcome) {
  if (outcome === "success") return "good";
  return outcome === "refused" || outcome === "client_left" ? "warn" : "bad";
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Resume" : "Pause";
  if (paused) {
    clearTimeout(timer);
    show("Paused");
  } else {
    poll();
  }
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : later(0)));
document.getElementById("refresh").hidden = true;
later(0);
