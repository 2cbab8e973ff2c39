// "Try it": sends the probe of a provider, and shows its answer in place. Without this script the form does.

import { call, element, problem, Unreachable } from "./api.js";
import { milliseconds } from "./shown.js";

const cuts = {
  broken: "the upstream broke the answer off",
  deadline: "the answer took too long",
  limit: "the answer is longer than 1 MiB",
};

function note(good, ...content) {
  const mark = element("span", { "aria-hidden": "true" }, good ? "✓" : "✕");
  return element("div", { className: `note ${good ? "good" : "bad"}` }, mark, element("div", { className: "stack" }, ...content));
}

function soft(...content) {
  return element("span", { className: "small soft" }, ...content);
}

/** The answer of a probe, as the page without scripts shows it. */
function answered(result) {
  const good = result.status >= 200 && result.status < 300 && !result.fault;
  const type = result.contentType ? `, ${result.contentType}` : "";
  const content = [element("p", {},
    element("strong", {}, String(result.status)),
    ` after ${milliseconds(result.ms)}, first byte after ${milliseconds(result.firstByteMs)}. `,
    soft(element("code", {}, `${result.method} ${result.path}`), type))];
  if (result.fault) {
    content.push(element("p", {}, `${result.fault.message} `, soft("(", element("code", {}, result.fault.code), ")")));
  }
  if (result.body) {
    content.push(element("pre", { tabIndex: 0, role: "region", "aria-label": "The answer" }, result.body));
  }
  if (result.truncated) {
    const why = cuts[result.end] ? `: ${cuts[result.end]}` : "";
    content.push(element("p", { className: "small soft" }, `Only the first bytes are shown${why}.`));
  }
  return note(good, ...content);
}

async function send(name) {
  try {
    const answer = await call("POST", `/auth/providers/${encodeURIComponent(name)}/probe`);
    return answer.ok ? answered(answer.document) : note(false, element("p", {}, problem(answer)));
  } catch (failure) {
    if (!(failure instanceof Unreachable)) throw failure;
    return note(false, element("p", {}, failure.message));
  }
}

for (const form of document.querySelectorAll("[data-probe]")) {
  const button = form.querySelector("button");
  const place = document.getElementById(`result-${form.dataset.probe}`);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    place.replaceChildren(element("p", { className: "small soft" }, "Waiting for the answer…"));
    try {
      place.replaceChildren(await send(form.dataset.probe));
    } finally {
      button.disabled = false;
      button.focus();
    }
  });
}
