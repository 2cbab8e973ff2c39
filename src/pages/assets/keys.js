// The form of keys: shows what is unsaved, undoes it, searches, and saves only what changed. Without this script the form
// works by itself.

import { call, element, problem, tell, Unreachable } from "./api.js";

const form = document.getElementById("keys");
const rows = [...form.querySelectorAll(".key")].map((root) => new Row(root));
const bar = document.getElementById("save");
const box = document.getElementById("search");
const refused = document.getElementById("refused");
const discard = document.getElementById("discard");
const changes = document.getElementById("changes");
const saveButton = bar?.querySelector("button.main");

/** One field. */
function Row(root) {
  const input = root.querySelector(".value input, .value textarea");
  const clear = root.querySelector("input[name=clear]");
  const error = root.querySelector(".error");
  const state = root.querySelector(".state");
  const chip = state.querySelector(".chip");
  const stored = chip && { text: chip.textContent, className: chip.className };
  const name = root.querySelector(".name").textContent.replace(/\s+/g, " ").trim();
  const undo = element("button", { type: "button", className: "quiet", hidden: true }, "Undo");
  undo.setAttribute("aria-label", `Undo the change of ${name}`);
  state.append(undo);

  this.root = root;
  this.place = root.dataset.place ?? clear?.value;
  this.isPasted = "pasted" in root.dataset;
  this.changed = () => Boolean(clear?.checked || input?.value.trim());
  /** What the person sees, to find out if it was changed since then. */
  this.seen = () => JSON.stringify([clear?.checked, input?.value]);
  /** The value to send. Throws what is wrong with it. */
  this.value = () => {
    const typed = input?.value.trim();
    if (clear?.checked && typed) throw new Error("`Clear` is chosen, and a new value is typed: undo one of them");
    if (clear?.checked) return null;
    return root.dataset.kind === "oauth2" ? login(typed) : typed;
  };
  this.fail = (message) => {
    if (!error) return tell(message);
    error.textContent = message;
    error.hidden = !message;
    input.setAttribute("aria-describedby", `${message ? `${error.id} ` : ""}${input.id}-about`);
    if (message) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  this.focus = () => {
    // A search may hide the row.
    if (box.value) { box.value = ""; search(); }
    root.closest("details")?.setAttribute("open", "");
    (input ?? clear).focus();
  };
  this.undo = () => {
    if (input) input.value = "";
    if (clear) clear.checked = false;
    this.fail("");
    this.show();
  };
  /** Its change was saved. */
  this.settle = () => {
    if (stored) Object.assign(stored, clear?.checked ? { text: "Not set", className: "chip" } : { text: "Stored", className: "chip good" });
    this.undo();
  };
  this.show = () => {
    const changed = this.changed();
    root.classList.toggle("changed", changed);
    undo.hidden = !changed;
    if (!chip) return;
    chip.className = changed ? "chip info" : stored.className;
    chip.textContent = !changed ? stored.text : clear?.checked ? "Will be cleared" : "Changed";
  };
  undo.addEventListener("click", () => { this.undo(); count(); (input ?? clear).focus(); });
  input?.addEventListener("input", () => { this.fail(""); this.show(); count(); });
  clear?.addEventListener("change", () => { if (input) this.fail(""); this.show(); count(); });
}

/** A login that was pasted. Anything but an object is refused: `null` would remove it. */
function login(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON (${error.message}). Paste the whole file`);
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new Error("This JSON is no object: paste the whole file");
  }
  return value;
}

function count() {
  const number = rows.filter((row) => row.changed()).length;
  changes.textContent = number === 0 ? "" : number === 1 ? "1 unsaved change" : `${number} unsaved changes`;
  discard.hidden = number === 0;
  bar.classList.toggle("dirty", number > 0);
}

/** Puts a value at its dotted place in a document. No name is special: a section may be called `constructor`. */
function put(document, place, value) {
  const steps = place.split(".");
  const last = steps.pop();
  let at = document;
  for (const step of steps) at = at[step] ??= Object.create(null);
  at[last] = value;
}

/** The document of these changes, or null if one of them is not readable: nothing is sent then. */
function collect(changed) {
  const document = Object.create(null);
  const bad = [];
  for (const row of changed) {
    try {
      put(document, row.place, row.value());
    } catch (error) {
      row.fail(`${error.message}. Nothing was saved.`);
      bad.push(row);
    }
  }
  bad[0]?.focus();
  return bad.length > 0 ? null : document;
}

/** A note that stays until the next try. */
function note(...content) {
  const mark = element("span", { "aria-hidden": "true" }, "✕");
  const shown = element("div", { className: "note bad", role: "alert" }, mark, element("div", {}, ...content));
  refused.replaceChildren(shown);
  shown.scrollIntoView({ block: "nearest" });
}

/** Shows a refusal at the field that it is about, or above them all. */
function refuse(answer) {
  const { at: pointer, code } = answer.document?.error ?? {};
  // Nobody knows yet if it was saved: the message says what to do.
  if (code === "change_unconfirmed") return note(problem(answer));
  const place = pointer?.slice(1).replaceAll("/", ".").replaceAll("~1", "/").replaceAll("~0", "~");
  const row = rows.find((one) => place && (one.place === place || place.startsWith(`${one.place}.`)));
  if (!row) return note(element("strong", {}, "Nothing was saved."), ` ${problem(answer)}`);
  row.fail(`${problem(answer).replace(/^\/\S*: /, "")}. Nothing was saved.`);
  row.focus();
}

async function save(event) {
  event.preventDefault();
  refused.replaceChildren();
  const changed = rows.filter((row) => row.changed());
  if (changed.length === 0) return tell("There is nothing to save.");
  const body = collect(changed);
  if (!body) return;
  const sent = changed.map((row) => [row, row.seen()]);
  const { saved, savedLogin } = form.dataset;
  const next = changed.some((row) => row.isPasted && row.value()) ? savedLogin : saved;
  saveButton.disabled = true;
  try {
    const answer = await call(form.dataset.method, form.dataset.operation, body);
    if (!answer.ok) return refuse(answer);
    for (const [row, seen] of sent) if (row.seen() === seen) row.settle();
    count();
    // What was typed meanwhile is not saved yet.
    if (rows.some((row) => row.changed())) return tell("Saved, but for what you typed since then.");
    location.assign(next);
  } catch (failure) {
    if (!(failure instanceof Unreachable)) throw failure;
    note(failure.message);
  } finally {
    saveButton.disabled = false;
  }
}

function search() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const row of rows) {
    const text = (row.root.dataset.search ?? row.place).toLowerCase();
    row.root.hidden = !words.every((word) => text.includes(word));
    found += row.root.hidden ? 0 : 1;
  }
  for (const card of form.querySelectorAll(".card")) {
    card.hidden = !card.querySelector(".key:not([hidden])");
    if (card.matches("details") && words.length > 0) card.open = true;
  }
  document.getElementById("nothing-found").hidden = found > 0;
}

/** Removes all that is typed. The browser's own reset would bring back what a refused form had. */
function reset(event) {
  event.preventDefault();
  refused.replaceChildren();
  for (const row of rows) row.undo();
  count();
}

if (bar) {
  form.addEventListener("submit", save);
  form.addEventListener("reset", reset);
  addEventListener("beforeunload", (event) => { if (rows.some((row) => row.changed())) event.preventDefault(); });
  box.closest(".search").hidden = false;
  box.addEventListener("input", search);
  for (const row of rows) row.show();
  count();
}
