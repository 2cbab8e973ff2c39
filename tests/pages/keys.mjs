// The form of keys: what is saved, what is sent, and what a mistake costs.

import assert from "node:assert/strict";
import { check, control, ready, revoke, row, save, saved, shows, signIn } from "./browser.mjs";
import { login, provider } from "./tollgate.mjs";
import { fake, tollgate } from "./world.mjs";

const ACME = "providers.acme.apiKey";
const BETA = "providers.beta.apiKey";
const LOGIN = "codex.oauth";
const KEY = "sk-0123456789abcdefgh";
const MASK = "sk-01234...efgh";

/** A page of keys for a new user who has stored these credentials. */
async function keys(open, creds = {}, details = {}) {
  const user = await tollgate.user({ ...details, creds });
  return { user, page: await signIn(await open(), tollgate, user.token) };
}

/** The bodies of the changes that a page sends. */
function sent(page) {
  const bodies = [];
  page.on("request", (request) => { if (request.method() === "PUT") bodies.push(request.postDataJSON()); });
  return bodies;
}

/** A JSON web token that expires at a time in seconds. */
function jwt(exp) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "none" })}.${part({ exp })}.x`;
}

check("a key is saved, and then shown as a mask alone", async ({ open }) => {
  const { user, page } = await keys(open);
  await control(page, ACME).fill(KEY);
  await shows(page, "1 unsaved change");
  await saved(page);
  await shows(row(page, ACME), "Stored");
  assert.equal(await control(page, ACME).getAttribute("placeholder"), MASK);
  assert.ok(!(await page.content()).includes(KEY));
  assert.deepEqual(await user.creds(), { providers: { acme: { apiKey: MASK } } });
});

check("a stored key is replaced and cleared, and only what changed is sent", async ({ open }) => {
  const { user, page } = await keys(open, { providers: { acme: { apiKey: KEY }, beta: { apiKey: KEY }, gamma: { apiKey: KEY } } });
  const bodies = sent(page);
  await control(page, ACME).fill("another-key-0123456789");
  await row(page, BETA).getByLabel("Clear").check();
  await shows(page, "2 unsaved changes");
  await saved(page);
  // With the host that the page showed.
  const $origins = { [ACME]: [`http://127.0.0.1:${fake.port}`] };
  assert.deepEqual(bodies, [{ providers: { acme: { apiKey: "another-key-0123456789" }, beta: { apiKey: null } }, $origins }]);
  assert.deepEqual(await user.creds(), { providers: { acme: { apiKey: "another-...6789" }, gamma: { apiKey: MASK } } });
});

check("a change is undone, and all are discarded, before they are saved", async ({ open }) => {
  const { user, page } = await keys(open, { providers: { acme: { apiKey: KEY } } });
  const bodies = sent(page);
  await row(page, ACME).getByLabel("Clear").check();
  await shows(row(page, ACME), "Will be cleared");
  await row(page, ACME).getByRole("button", { name: /Undo/ }).click();
  await shows(row(page, ACME), "Stored");
  await control(page, ACME).fill("x");
  await control(page, BETA).fill("y");
  await shows(page, "2 unsaved changes");
  await page.getByRole("button", { name: "Discard" }).click();
  assert.equal(await control(page, ACME).inputValue(), "");
  assert.equal(await page.locator("#changes").textContent(), "");
  await save(page);
  await shows(page, "There is nothing to save.");
  assert.deepEqual(bodies, []);
  assert.deepEqual(await user.creds(), { providers: { acme: { apiKey: MASK } } });
});

for (const [name, document] of [
  ["the vendor's file, nested", { tokens: { access_token: jwt(4_102_444_800), refresh_token: "r" }, last_refresh: "2026-01-01" }],
  ["a flat document", { accessToken: "opaque", refreshToken: "r", expiresAt: 4_102_444_800_000 }],
]) {
  check(`a login is pasted: ${name}`, async ({ open }) => {
    const { user, page } = await keys(open);
    await control(page, LOGIN).fill(JSON.stringify(document, null, 2));
    await saved(page);
    await shows(row(page, LOGIN), "Stored");
    assert.deepEqual(await user.creds(), { codex: { oauth: { status: "configured", expiresAt: 4_102_444_800_000 } } });
  });
}

for (const [name, text, expected] of [
  ["no JSON", "{ tokens: oops", /not JSON/],
  ["null, which would remove it", "null", /no object/],
  ["a list", `[{"accessToken": "a"}]`, /no object/],
  ["a text", `"accessToken"`, /no object/],
  ["JSON without a token", `{"tokens": {"refresh_token": "r"}}`, /access/i],
  ["a token whose expiry nobody can read", `{"accessToken": "opaque", "refreshToken": "r"}`, /expiry cannot be read/],
]) {
  check(`a bad paste marks its field, and nothing that was typed is lost: ${name}`, async ({ open }) => {
    const { user, page } = await keys(open, { codex: { oauth: { accessToken: "a", refreshToken: "r", expiresAt: 4_102_444_700_000 } } });
    const before = await user.creds();
    await control(page, ACME).fill(KEY);
    await control(page, LOGIN).fill(text);
    await save(page);
    await shows(row(page, LOGIN).locator(".error"), expected);
    assert.equal(await control(page, LOGIN).getAttribute("aria-invalid"), "true");
    assert.equal(await control(page, LOGIN).evaluate((one) => one === document.activeElement), true);
    assert.deepEqual([await control(page, ACME).inputValue(), await control(page, LOGIN).inputValue()], [KEY, text]);
    assert.deepEqual(await user.creds(), before);
    // Mended, all of it is saved.
    await control(page, LOGIN).fill(JSON.stringify({ accessToken: "a", refreshToken: "r", expiresAt: 4_102_444_800_000 }));
    await saved(page);
    assert.deepEqual(Object.keys(await user.creds()).sort(), ["codex", "providers"]);
  });
}

check("a provider file that is dropped in has its field at the next load", async ({ open }) => {
  const { user, page } = await keys(open);
  await tollgate.drop("delta.toml", provider(fake.port, { title: "Delta" }));
  await page.reload();
  await control(page, "providers.delta.apiKey").fill(KEY);
  await saved(page);
  assert.deepEqual(await user.creds(), { providers: { delta: { apiKey: MASK } } });
});

check("no name of a section is special", async ({ open }) => {
  await tollgate.drop("special.toml", login(fake.port).replace(`"Codex"`, `"Special"`).replace(`"codex"`, `"constructor"`).replace("/codex", "/special"));
  const { user, page } = await keys(open);
  await control(page, "constructor.oauth").fill(JSON.stringify({ accessToken: "a", refreshToken: "r", expiresAt: 4_102_444_800_000 }));
  await saved(page);
  assert.deepEqual(Object.keys(await user.creds()), ["constructor"]);
});

check("two tabs that save different fields keep both", async ({ open }) => {
  const { user, page } = await keys(open);
  const other = await open();
  await other.goto(`${tollgate.url}/config`);
  await control(page, ACME).fill(KEY);
  await control(other, BETA).fill(KEY);
  await saved(page);
  await saved(other);
  await shows(row(other, ACME), "Stored");
  assert.deepEqual(await user.creds(), { providers: { acme: { apiKey: MASK }, beta: { apiKey: MASK } } });
});

check("what a group and what everybody has is shown, and an own key comes first", async ({ open }) => {
  await tollgate.call("PATCH", "/admin/credentials/groups/research", { providers: { acme: { apiKey: KEY } } });
  await tollgate.call("PATCH", "/admin/credentials/everybody", { providers: { gamma: { apiKey: KEY } } });
  const { page } = await keys(open, {}, { group: "research" });
  await shows(row(page, ACME), "Shared by your group");
  await page.getByText("Additional providers").click();
  await shows(row(page, "providers.gamma.apiKey"), "Shared by everybody");
  assert.ok(!(await page.content()).includes(MASK), "the page shows a piece of a shared key");
  await control(page, ACME).fill(KEY);
  await saved(page);
  await shows(row(page, ACME), "Stored");
  await shows(row(page, ACME), "Also shared by your group: used while you have none of your own");
  await tollgate.call("PATCH", "/admin/credentials/everybody", { providers: { gamma: { apiKey: null } } });
});

check("a key whose provider moved names both hosts, and goes to the new one once that is confirmed", async ({ open }) => {
  await tollgate.drop("moved.toml", provider(fake.port, { title: "Moved" }));
  const { user, page } = await keys(open, { providers: { moved: { apiKey: KEY } } });
  await tollgate.drop("moved.toml", provider(fake.port, { title: "Moved", host: "localhost" }));
  await page.reload();
  const note = page.locator(".note.warn");
  await shows(note, `http://127.0.0.1:${fake.port}`);
  await shows(note, `http://localhost:${fake.port}`);
  await shows(row(page, "providers.moved.apiKey"), "Waits");
  const call = () => user.call("POST", "/proxy/moved/v1/chat/completions", { model: "m", messages: [] });
  await assert.rejects(call, /credential_moved/);
  await note.getByRole("button").click();
  await shows(row(page, "providers.moved.apiKey"), "Stored");
  assert.equal(await note.count(), 0);
  assert.equal((await call()).object, "chat.completion");
});

check("without JavaScript the form saves and clears keys, and shows what is wrong", async ({ open }) => {
  const { user, page } = await keys(open);
  await control(page, ACME).fill(KEY);
  await saved(page);
  await row(page, ACME).getByLabel("Clear").check();
  await control(page, BETA).fill(KEY);
  await saved(page);
  assert.deepEqual(await user.creds(), { providers: { beta: { apiKey: MASK } } });
  await control(page, LOGIN).fill("oops");
  await control(page, ACME).fill(KEY);
  await row(page, BETA).getByLabel("Clear").check();
  await save(page);
  await shows(page, "Nothing was saved.");
  await shows(row(page, LOGIN).locator(".error"), /not JSON/);
  assert.deepEqual([await control(page, ACME).inputValue(), await control(page, LOGIN).inputValue()], [KEY, "oops"]);
  assert.ok(await row(page, BETA).getByLabel("Clear").isChecked());
  assert.deepEqual(await user.creds(), { providers: { beta: { apiKey: MASK } } });
}, { javaScriptEnabled: false });

check("what is typed while a save runs is not wiped, and the page stays", async ({ open }) => {
  const { user, page } = await keys(open, { providers: { gamma: { apiKey: KEY } } });
  let go;
  const gate = new Promise((done) => { go = done; });
  let asked;
  const sent = new Promise((done) => { asked = done; });
  await page.route("**/auth/creds?**", async (route) => { asked(); await gate; await route.continue(); });
  await control(page, ACME).fill(KEY);
  await page.getByText("Additional providers").click();
  await row(page, "providers.gamma.apiKey").getByLabel("Clear").check();
  await save(page);
  await sent;
  await control(page, BETA).fill("typed-meanwhile-0123");
  await control(page, ACME).fill("typed-after-it-was-sent");
  go();
  await shows(page, "Saved, but for what you typed since then.");
  await shows(page, "2 unsaved changes");
  const values = [await control(page, ACME).inputValue(), await control(page, BETA).inputValue()];
  assert.deepEqual(values, ["typed-after-it-was-sent", "typed-meanwhile-0123"]);
  await shows(row(page, "providers.gamma.apiKey"), "Not set");
  assert.deepEqual(await user.creds(), { providers: { acme: { apiKey: MASK } } });
  await saved(page);
  assert.deepEqual(await user.creds(), { providers: { acme: { apiKey: "typed-af...sent" }, beta: { apiKey: "typed-me...0123" } } });
});

check("an error is seen though a search hides its row, and names its field", async ({ open }) => {
  const { page } = await keys(open);
  await control(page, LOGIN).fill("null");
  await page.getByLabel("Search providers").fill("acme");
  await save(page);
  await shows(row(page, LOGIN).getByRole("alert"), /no object/);
  assert.equal(await page.getByLabel("Search providers").inputValue(), "");
  const input = page.getByRole("textbox", { name: "Codex Codex login" });
  assert.ok(await input.evaluate((one) => one === document.activeElement));
  const described = await input.evaluate((one) => one.getAttribute("aria-describedby").split(" ").map((id) => document.getElementById(id).textContent).join(" "));
  assert.match(described, /no object.*Goes to/s);
  assert.equal(await page.getByRole("textbox", { name: "Acme API key" }).count(), 1);
});

check("a refusal of the whole save stays on the page", async ({ open }) => {
  const { page } = await keys(open);
  const answer = (code, message) => ({ status: 503, json: { error: { code, message, type: "x" } } });
  await page.route("**/auth/creds?**", (route) => route.fulfill(answer("store_unavailable", "The store is away")));
  await control(page, ACME).fill(KEY);
  await save(page);
  await shows(page.getByRole("alert"), "Nothing was saved. The store is away");
  await page.unroute("**/auth/creds?**");
  // Nobody knows what became of this one.
  await page.route("**/auth/creds?**", (route) => route.fulfill(answer("change_unconfirmed", "Check whether it was done")));
  await save(page);
  await shows(page.getByRole("alert"), "Check whether it was done");
  assert.equal(await page.getByText("Nothing was saved").count(), 0);
  assert.equal(await control(page, ACME).inputValue(), KEY);
});

for (const javaScriptEnabled of [true, false]) {
  check(`a new value beside Clear is an error${javaScriptEnabled ? "" : ", without JavaScript"}`, async ({ open }) => {
    const { user, page } = await keys(open, { providers: { acme: { apiKey: KEY } } });
    await row(page, ACME).getByLabel("Clear Acme API key").check();
    await control(page, ACME).fill("another-key-0123456789");
    await save(page);
    await shows(row(page, ACME).locator(".error"), "undo one of them");
    assert.deepEqual(await user.creds(), { providers: { acme: { apiKey: MASK } } });
  }, { javaScriptEnabled });
}

check("Discard removes what a refused form had", async ({ open, context }) => {
  const { page } = await keys(open);
  const cookie = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
  const action = await page.locator("#keys").getAttribute("action");
  const form = new URLSearchParams({ [`set.${LOGIN}`]: "null", [`set.${ACME}`]: KEY });
  const headers = { cookie, origin: tollgate.url, "content-type": "application/x-www-form-urlencoded" };
  const refused = await fetch(tollgate.url + action, { method: "POST", headers, body: form });
  const body = await refused.text();
  assert.equal(refused.status, 422);
  await page.route("**/config", (route) => route.fulfill({ contentType: "text/html", body }));
  await page.reload();
  await shows(page, "2 unsaved changes");
  await page.getByRole("button", { name: "Discard" }).click();
  assert.deepEqual([await control(page, ACME).inputValue(), await control(page, LOGIN).inputValue()], ["", ""]);
  assert.equal(await page.locator("#changes").textContent(), "");
});

check("a login shows when it expires, and that it has", async ({ open }) => {
  const { user, page } = await keys(open, { codex: { oauth: { accessToken: "a", refreshToken: "r", expiresAt: 4_102_444_800_000 } } });
  await shows(row(page, LOGIN), "Expires 2100-01-01 00:00 UTC");
  await user.call("PUT", "/auth/creds", { codex: { oauth: { accessToken: "a", refreshToken: "r", expiresAt: 1_577_836_800_000 } } });
  await page.reload();
  await shows(row(page, LOGIN), "Expired since 2020-01-01 00:00 UTC");
});

check("without JavaScript a token is created and revoked", async ({ open }) => {
  const { user, page } = await keys(open);
  await page.getByRole("link", { name: "Tokens" }).click();
  await page.getByLabel("Label", { exact: true }).fill("laptop");
  await page.getByRole("button", { name: "Create token" }).click();
  const token = await page.locator("#made").textContent();
  const call = () => tollgate.call("POST", "/proxy/acme/v1/chat/completions", { model: "m" }, token);
  await assert.rejects(call, /credential_missing/);
  await revoke(page, "laptop");
  await page.locator("#made").waitFor({ state: "detached" });
  await assert.rejects(call, /invalid_token/);
  assert.ok(!(await page.content()).includes(token));
  const labels = Object.values(await user.call("GET", "/auth/tokens")).map((one) => one.label);
  assert.ok(!labels.includes("laptop"), labels.join());
}, { javaScriptEnabled: false });

check("with the keyboard alone: sign in, type a key, save", async ({ open }) => {
  const user = await tollgate.user();
  const page = await open();
  await page.goto(`${tollgate.url}/config`);
  // A browser sets the focus of `autofocus` when it draws the page, which may be after it was loaded.
  await page.locator("input:focus").waitFor();
  await page.keyboard.type(user.token);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Keys" }).waitFor();
  await ready(page);
  await tabTo(page, control(page, ACME));
  await page.keyboard.type(KEY);
  await tabTo(page, page.getByRole("button", { name: "Save changes" }));
  await page.keyboard.press("Enter");
  await shows(page, "Saved.");
  assert.deepEqual(await user.creds(), { providers: { acme: { apiKey: MASK } } });
});

/** Presses Tab until a control has the focus, which has to be visible on each that has it. */
async function tabTo(page, target) {
  for (let press = 0; press < 40; press += 1) {
    await page.keyboard.press("Tab");
    const outlined = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle !== "none");
    assert.ok(outlined, "the focus is not visible");
    if (await target.evaluate((one) => one === document.activeElement)) return;
  }
  assert.fail("Tab does not reach it");
}
