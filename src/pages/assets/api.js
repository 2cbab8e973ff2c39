// Calls of tollgate's API with the session of this browser. No token is kept here: the cookie is out of reach of scripts.

const area = document.body.dataset.area;
const session = area === "/console" ? "/admin/session" : "/auth/session";
/** The user that the page was made for; none on pages of operators. */
const user = document.body.dataset.user;

/** The server did not answer: it is down, or the network is. */
export class Unreachable extends Error {}

/** The path of a change, for the user that the page was made for: if somebody else has signed in meanwhile, it is refused. */
function change(path) {
  return user ? `${path}${path.includes("?") ? "&" : "?"}as=${encodeURIComponent(user)}` : path;
}

/**
 * Calls an operation. If the sign-in has ended, asks for the token again, and then goes on: nothing on the page is lost.
 * Returns the status and the JSON document.
 */
export async function call(method, path, body) {
  const target = method === "GET" ? path : change(path);
  for (;;) {
    const answer = await send(method, target, body);
    if (answer.status !== 401 || !(await signInAgain())) return answer;
  }
}

/** Reads a document. If the sign-in has ended, that is the answer: nothing asks for the token. */
export function get(path) {
  return send("GET", path);
}

async function send(method, path, body, headers = {}) {
  const request = { method, headers, cache: "no-store", redirect: "error" };
  if (body !== undefined) {
    request.headers = { ...headers, "content-type": "application/json" };
    request.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new Unreachable("tollgate cannot be reached. Nothing is lost: try again.");
  }
  const document = await response.json().catch(() => null);
  return { status: response.status, ok: response.ok, document };
}

/** The message of a refused call. */
export function problem(answer) {
  return answer.document?.error?.message ?? `tollgate answered ${answer.status}.`;
}

/** Shows a short message in the corner, and reads it to screen readers. */
export function tell(message) {
  const toast = document.getElementById("toast");
  toast.textContent = message;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { toast.textContent = ""; }, 6000);
}

/** Makes an element. Texts are set as text, never as markup. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/**
 * Starts a session with a token. Returns what is wrong, or an empty text. A token of another user starts none: what is typed
 * on this page would be saved for that one.
 */
async function signIn(token) {
  const headers = { authorization: `Bearer ${token}` };
  if (user) {
    const me = await send("GET", "/auth/me", undefined, headers);
    if (!me.ok) return problem(me);
    if (me.document?.id !== user) return "This is the token of another user. Sign in as the one whose page this is.";
  }
  const answer = await send("POST", session, undefined, headers);
  return answer.ok ? "" : problem(answer);
}

let asking = null;

/** Asks for the token in a dialog. True if there is a session again. */
export function signInAgain() {
  asking ??= ask().finally(() => { asking = null; });
  return asking;
}

function ask() {
  const token = element("input", { type: "password", id: "again", className: "mono", required: true, autocomplete: "current-password" });
  const error = element("p", { className: "error", hidden: true, role: "alert" });
  const label = element("label", { htmlFor: "again" }, area === "/console" ? "Admin token" : "Your gateway token");
  const cancel = element("button", { type: "button" }, "Cancel");
  const form = element("form", {},
    element("h2", { id: "again-title" }, "Your sign-in has ended"),
    element("p", { className: "soft" }, "Sign in again to go on. What you typed stays."),
    element("div", { className: "field" }, label, token, error),
    element("div", { className: "buttons" }, cancel, element("button", { className: "main" }, "Sign in")));
  const dialog = element("dialog", { "aria-labelledby": "again-title" }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    const end = (signedIn) => { dialog.remove(); resolve(signedIn); };
    cancel.addEventListener("click", () => end(false));
    dialog.addEventListener("cancel", () => end(false));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        error.textContent = await signIn(token.value.trim());
        if (!error.textContent) return end(true);
      } catch (failure) {
        error.textContent = failure.message;
      }
      error.hidden = false;
      token.select();
    });
  });
}
