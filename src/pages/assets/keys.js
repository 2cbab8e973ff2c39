// The form of keys: shows what is unsaved, undoes it, searches, and saves only what changed. Without this script the form
// works by itself.

import { call, element, problem, tell, Unreachable } from "./api.js";

const form = document.getElementById("keys");
const rows = [...form.querySelectorAll(".key")].map((root) => new Row(root));
const bar = document.getElementById("save");
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
  const undo = element("button", { type: "button", className: "quiet", hidden: true }, "Undo");
  undo.setAttribute("aria-label", `Undo the change of ${root.querySelector(".name").innerText.replace(/\s+/g, " ")}`);
  state.append(undo);

  this.root = root;
  this.place = root.dataset.place ?? clear?.value;
  this.changed = () => Boolean(clear?.checked || input?.value.trim());
  this.value = () => {
    if (clear?.checked) return null;
    if (root.dataset.kind !== "oauth2") return input.value.trim();
    return JSON.parse(input.value);
  };
  this.fail = (message) => {
    if (!error) return tell(message);
    error.textContent = message;
    error.hidden = !message;
    if (message) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  this.focus = () => {
    root.closest("details")?.setAttribute("open", "");
    (input ?? clear).focus();
  };
  this.undo = () => {
    if (input) { input.value = ""; input.disabled = false; }
    if (clear) clear.checked = false;
    this.fail("");
    this.show();
  };
  this.show = () => {
    const changed = this.changed();
    root.classList.toggle("changed", changed);
    undo.hidden = !changed;
    if (input && clear) input.disabled = clear.checked;
    if (!chip) return;
    chip.className = changed ? "chip info" : stored.className;
    chip.textContent = !changed ? stored.text : clear?.checked ? "Will be cleared" : "Changed";
  };
  undo.addEventListener("click", () => { this.undo(); count(); (input ?? clear).focus(); });
  input?.addEventListener("input", () => { this.fail(""); this.show(); count(); });
  clear?.addEventListener("change", () => { this.show(); count(); });
}

function count() {
  const number = rows.filter((row) => row.changed()).length;
  changes.textContent = number === 0 ? "" : number === 1 ? "1 unsaved change" : `${number} unsaved changes`;
  discard.hidden = number === 0;
  bar.classList.toggle("dirty", number > 0);
}

/** Puts a value at its dotted place in a document. */
function put(document, place, value) {
  const steps = place.split(".");
  const last = steps.pop();
  let at = document;
  for (const step of steps) at = at[step] ??= {};
  at[last] = value;
}

/** The document of all changes, or null if one of them is not readable: nothing is sent then. */
function collect() {
  const document = {};
  let bad = null;
  for (const row of rows.filter((one) => one.changed())) {
    try {
      put(document, row.place, row.value());
    } catch (error) {
      row.fail(`This is not JSON (${error.message}). Paste the whole file. Nothing was saved.`);
      bad ??= row;
    }
  }
  bad?.focus();
  return bad ? null : document;
}

/** Shows a refusal at the field that it is about. */
function refuse(answer) {
  const pointer = answer.document?.error?.at;
  const place = pointer?.slice(1).replaceAll("/", ".").replaceAll("~1", "/").replaceAll("~0", "~");
  const row = rows.find((one) => place && (one.place === place || place.startsWith(`${one.place}.`)));
  if (!row) return tell(`Nothing was saved: ${problem(answer)}`);
  row.fail(`${problem(answer).replace(/^\/\S*: /, "")}. Nothing was saved.`);
  row.focus();
}

async function save(event) {
  event.preventDefault();
  const body = collect();
  if (!body) return;
  if (Object.keys(body).length === 0) return tell("There is nothing to save.");
  saveButton.disabled = true;
  try {
    const answer = await call(form.dataset.method, form.dataset.operation, body);
    if (!answer.ok) return refuse(answer);
    for (const row of rows) row.undo();
    count();
    location.assign(form.dataset.saved);
  } catch (failure) {
    if (!(failure instanceof Unreachable)) throw failure;
    tell(failure.message);
  } finally {
    saveButton.disabled = false;
  }
}

function search(input) {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
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

if (bar) {
  form.addEventListener("submit", save);
  form.addEventListener("reset", () => { for (const row of rows) row.undo(); count(); });
  addEventListener("beforeunload", (event) => { if (rows.some((row) => row.changed())) event.preventDefault(); });
  const box = document.getElementById("search");
  box.closest(".search").hidden = false;
  box.addEventListener("input", () => search(box));
  for (const row of rows) row.show();
  count();
}
