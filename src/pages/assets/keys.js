// The form of keys: shows what is unsaved, undoes it, searches, and saves only what changed. What the page shows decides: a save
// is refused if another tab changed a value meanwhile, or if a key would go to another host. Without this script the form works
// by itself.

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
  const input = root.querySelector(".value input, .value textarea, .value select");
  const isShown = "stored" in root.dataset;
  /** What is stored of a value that is no secret: it stands in the control. */
  let shown = root.dataset.stored ?? "";
  const typed = () => input?.value.trim() ?? "";
  const clear = root.querySelector("input[name=clear]");
  const error = root.querySelector(".error");
  const state = root.querySelector(".state");
  const chip = state.querySelector(".chip");
  const stored = chip && { text: chip.textContent, className: chip.className };
  const mark = (isStored) => stored && Object.assign(stored, isStored ? { text: "Stored", className: "chip good" } : { text: "Not set", className: "chip" });
  const name = root.querySelector(".name").textContent.replace(/\s+/g, " ").trim();
  const undo = element("button", { type: "button", className: "quiet", hidden: true }, "Undo");
  undo.setAttribute("aria-label", `Undo the change of ${name}`);
  state.append(undo);

  this.root = root;
  this.place = root.dataset.place ?? clear?.value;
  const section = this.place.slice(0, this.place.lastIndexOf("."));
  const part = (name) => root.querySelector(`.hosts .${name}`);
  const codes = () => [...root.querySelectorAll("code[data-template]")];
  this.isPasted = "pasted" in root.dataset;
  this.isShown = isShown;
  /** True if a save sets it, and does not remove it. */
  this.isSet = () => Boolean(input) && !clear?.checked && typed() !== "";
  this.changed = () => Boolean(clear?.checked || typed() !== shown);
  /** What the person sees, to find out if it was changed since then. */
  this.seen = () => JSON.stringify([clear?.checked, input?.value]);
  /** The value to send. Throws what is wrong with it. */
  this.value = () => {
    const text = typed();
    if (clear?.checked && text !== shown) throw new Error("`Clear` is chosen, and a new value is typed: undo one of them");
    if (clear?.checked || isShown && !text) return null;
    const { kind, pattern } = root.dataset;
    if (pattern && !matches(text, pattern)) throw new Error(`The value does not match \`${pattern}\``);
    return kind === "oauth2" || kind === "json" ? object(text) : text;
  };
  /** The origins that it would go to, with what is typed. Those that lack a value are as the file has them. */
  this.origins = () => codes().map((code) => filled(code.dataset.template, section) ?? code.dataset.template);
  /** Shows where what is typed leads, and if what is stored stays at another host. */
  this.lead = () => {
    const isKept = "bound" in root.dataset && !this.changed();
    const bound = (root.dataset.bound ?? "").split(" ").filter(Boolean);
    const missing = new Set();
    let isNew = false;
    for (const code of codes()) {
      const { template, shared } = code.dataset;
      const origin = filled(template, section);
      code.textContent = shared && !typed() ? shared : host(origin ?? partly(template, section));
      if (!origin) for (const [, name] of template.matchAll(BRACES)) if (!value(section, name, isWhole(template))) missing.add(name);
      // The first value completes a part of a host: what is stored was saved for that.
      isNew ||= Boolean(origin) && !bound.includes(origin) && (isWhole(template) || !bound.includes(template));
    }
    if (!part("to")) return;
    const kept = isKept && isNew ? bound.map((one) => element("code", {}, host(one))) : [];
    part("stays").replaceChildren(...(kept.length > 0 ? ["Stays at ", ...listed(kept), " until confirmed for"] : []));
    part("stays").hidden = kept.length === 0;
    part("goes").hidden = kept.length > 0;
    part("lacks").hidden = !isKept || missing.size === 0;
    const names = [...missing].map((name) => element("code", {}, name));
    part("lacks").replaceChildren(": ", ...listed(names), missing.size === 1 ? " is missing" : " are missing");
  };
  /** True if another value is stored by now than the page shows. */
  this.isStale = (field) => isShown && this.changed() && (field.stored ?? "") !== shown;
  /** Takes over what is stored by now, and where it leads. What is typed stays. */
  this.update = (field) => {
    const { templates = {}, origins, boundTo = [], default: value } = field;
    if (isShown) {
      const now = typeof field.stored === "string" ? field.stored : "";
      if (!this.changed()) setValue(input, now);
      shown = now;
      mark(Boolean(now));
    }
    if (value === undefined) delete root.dataset.default;
    else root.dataset.default = value;
    if (boundTo.length > 0) root.dataset.bound = boundTo.join(" ");
    else delete root.dataset.bound;
    const isShared = !isShown && (field.used ?? "own") !== "own";
    const written = Object.keys(templates).length > 0 ? Object.keys(templates) : origins;
    const made = written.map((template) => {
      const code = element("code", {});
      code.dataset.template = template;
      if (isShared) code.dataset.shared = host(templates[template] ?? template);
      return code;
    });
    part("to").replaceChildren(...listed(made));
    root.querySelector(".hosts").hidden = made.length === 0;
  };
  /** The value that requests would have, were it saved now; empty for one that is not allowed. Of one that is no secret. */
  this.used = () => {
    const text = (clear?.checked ? "" : typed()) || root.dataset.default || "";
    return matches(text, root.dataset.pattern ?? ".*") ? text : "";
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
    if (input) input.value = shown;
    if (clear) clear.checked = false;
    this.fail("");
    this.show();
  };
  /** Its change was saved. */
  this.settle = () => {
    if (isShown) shown = clear?.checked ? "" : typed();
    else if (clear?.checked) delete root.dataset.bound;
    else root.dataset.bound = this.origins().join(" ");
    mark(isShown ? Boolean(shown) : !clear?.checked);
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

/** True if a whole text matches the pattern of its field; also if only the server can read the pattern. */
function matches(text, pattern) {
  try {
    return new RegExp(`^(?:${pattern})$`).test(text);
  } catch {
    return true;
  }
}

/** A login or another document that was pasted. Anything but an object is refused: `null` would remove it. */
function object(text) {
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

const BRACES = /\{([^{}]+)\}/g;
/** True if a value is the whole origin. */
const isWhole = (template) => /^\{[^{}]+\}$/.test(template);
/** What is shown of an origin: without TLS, the scheme too. */
const host = (origin) => origin.replace(/^https:\/\//, "");
/** Elements with commas between them. */
const listed = (all) => all.flatMap((one, index) => index > 0 ? [", ", one] : [one]);

/** The value of a field as far as it can be a part of a host; empty if it is not typed. */
function value(section, name, isWhole = false) {
  const text = rows.find((row) => row.place === `${section}.${name}`)?.used() ?? "";
  return isWhole ? origin(text) : /^[a-z0-9-]+$/i.test(text) ? text.toLowerCase() : "";
}

/** A template of an origin with the values of its section, as far as they are typed. */
function partly(template, section) {
  return template.replace(BRACES, (written, name) => value(section, name, isWhole(template)) || written);
}

/** The origin that a template makes of the values of its section. Null if it lacks one. */
function filled(template, section) {
  const names = [...template.matchAll(BRACES)].map(([, name]) => name);
  return names.every((name) => value(section, name, isWhole(template))) ? partly(template, section) : null;
}

/** A text as an origin. Empty if it is none. */
function origin(text) {
  return /^https?:\/\/[^/?#]+$/i.test(text) && URL.canParse(text) ? new URL(text).origin : "";
}

/** Puts a value into a control. Of choices, it may be none any more. */
function setValue(input, text) {
  input.value = text;
  if (input.value === text) return;
  input.append(element("option", { value: text }, text));
  input.value = text;
}

function count() {
  for (const row of rows) row.lead();
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

/** The fields of an answer, by place: what is stored by now. */
function byPlace({ document }) {
  const all = (document?.sections ?? []).flatMap(({ section, fields }) => fields.map((field) => [`${section}.${field.field}`, field]));
  return new Map(all);
}

/** Shows what is stored by now and where it leads, and marks the changes that this is about. */
function update(changed, fields) {
  const stale = changed.filter((row) => fields.has(row.place) && row.isStale(fields.get(row.place)));
  const before = changed.map((row) => [row, row.origins().sort().join(", ")]);
  for (const row of rows) if (row.root.dataset.place && fields.has(row.place)) row.update(fields.get(row.place));
  for (const row of rows) row.show();
  count();
  const marked = [];
  const mark = (row, problem) => { row.fail(`${problem} Nothing was saved.`); marked.push(row); };
  for (const [row, seen] of before) {
    const now = row.origins().sort().join(", ");
    const { stored } = fields.get(row.place) ?? {};
    if (stale.includes(row)) mark(row, `${stored ? `\`${stored}\`` : "Nothing"} is stored now: it was changed since this page was loaded. Save again if your change is to replace it.`);
    else if (now !== seen) mark(row, `It would go to ${now || "no host"} now, and not to ${seen || "no host"}, as this page showed: look at it, then save again.`);
  }
  marked[0]?.focus();
  return marked.length > 0;
}

/** A note that stays until the next try. */
function note(...content) {
  const mark = element("span", { "aria-hidden": "true" }, "✕");
  const shown = element("div", { className: "note bad", role: "alert" }, mark, element("div", {}, ...content));
  refused.replaceChildren(shown);
  shown.scrollIntoView({ block: "nearest" });
}

/** Shows a refusal at the field that it is about, or above them all. */
async function refuse(answer, changed) {
  const { at: pointer, code } = answer.document?.error ?? {};
  if (code === "origins_changed" && update(changed, byPlace(await call("GET", form.dataset.fields)))) return;
  if (answer.status === 413) return note(element("strong", {}, "Nothing was saved."), " This is too much for one save: save fewer documents at a time.");
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
  const set = changed.filter((row) => row.isSet());
  if (set.length > 0) body.$origins = Object.fromEntries(set.map((row) => [row.place, row.origins()]));
  saveButton.disabled = true;
  try {
    if (changed.some((row) => row.isShown)) {
      const now = await call("GET", form.dataset.fields);
      if (!now.ok) return await refuse(now, changed);
      const fields = byPlace(now);
      if (changed.some((row) => fields.has(row.place) && row.isStale(fields.get(row.place)))) return update(changed, fields);
    }
    const answer = await call(form.dataset.method, form.dataset.operation, body);
    if (!answer.ok) return await refuse(answer, changed);
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
