// The tools of the console: provider files, explain, check. They work without JavaScript.

import assert from "node:assert/strict";
import { accessible, check, shows, signInConsole } from "./browser.mjs";
import { provider, Tollgate } from "./tollgate.mjs";
import { fake, tollgate } from "./world.mjs";

const KEY = "sk-0123456789abcdefgh";
const CHAT = "/proxy/acme/v1/chat/completions";
const TOO_EARLY = "<img src=x onerror=alert(1)>";

const button = (page, name) => page.getByRole("button", { name, exact: true }).click();

/** Asks the page of explanations. */
async function ask(page, { method, path, user = "" }) {
  await page.goto(`${tollgate.url}/console/explain`);
  if (method) await page.getByLabel("Method").selectOption(method);
  await page.getByLabel("Path or URL").fill(path);
  await page.getByLabel("User").fill(user);
  await button(page, "Explain");
}

async function checkText(page, file, text) {
  await page.goto(`${tollgate.url}/console/check`);
  await page.getByLabel("File").fill(file);
  await page.getByLabel("Text").fill(text);
  await button(page, "Check");
}

check("explain: the verdict, each header with its rule, the owner of the key", async ({ open }) => {
  const user = await tollgate.user({ name: "grace", creds: { providers: { acme: { apiKey: KEY } } } });
  const page = await signInConsole(await open(), tollgate);
  await page.getByRole("link", { name: "Explain" }).click();
  await shows(page, "Ask about a request");
  await accessible(page, "explain: empty");
  await ask(page, { path: CHAT, user: "grace" });
  await shows(page, "It is sent upstream");
  await shows(page, "grace's own");
  const row = page.locator("tr", { has: page.locator("th", { hasText: /^authorization$/ }) });
  assert.match(await row.innerText(), /\*\*\*[\s\S]*set[\s\S]*openai-compatible\.toml:\d+/);
  assert.ok(!(await page.content()).includes(KEY));
  await accessible(page, "explain: sent");
  await ask(page, { path: CHAT, user: user.id, method: "GET" });
  await shows(page, "The nearest endpoint");
  await accessible(page, "explain: no endpoint");
  await page.getByRole("link", { name: "Explain that one" }).click();
  await shows(page, "It is sent upstream");
  await ask(page, { path: "/proxy/beta/v1/chat/completions" });
  await shows(page, "credential_missing");
  await accessible(page, "explain: refused");
  await ask(page, { path: "no path", user: "grace" });
  await accessible(page, "explain: a wrong path");
});

check("explain: what is wrong stays beside what was typed", async ({ open }) => {
  const page = await signInConsole(await open(), tollgate);
  await ask(page, { path: CHAT, user: TOO_EARLY });
  await shows(page, "No user has this id or name");
  assert.equal(await page.getByLabel("User").inputValue(), TOO_EARLY);
  await ask(page, { path: `/proxy/${TOO_EARLY}` });
  await shows(page, "it is no path and no URL");
  assert.equal(await page.getByLabel("Path or URL").inputValue(), `/proxy/${TOO_EARLY}`);
}, { javaScriptEnabled: false });

check("check: findings are marked, and what it would change is shown", async ({ open }) => {
  const good = provider(fake.port, { title: "Acme", more: `keys_url = "https://acme.example/keys"` });
  const page = await signInConsole(await open(), tollgate);
  await page.getByRole("link", { name: "Check" }).click();
  await accessible(page, "check: empty");
  await checkText(page, "acme.toml", good);
  await shows(page, "It would change nothing");
  const bad = `\n${good.replace("base_url", "base_ulr")}# ${TOO_EARLY}\n`;
  await checkText(page, "acme.toml", bad);
  await shows(page, "It would not serve");
  assert.equal(await page.locator("mark").first().innerText(), "base_ulr");
  assert.match(await page.locator(".label").first().innerText(), /error TG010/);
  assert.equal(await page.getByLabel("Text", { exact: true }).inputValue(), bad, "nothing typed is lost");
  await page.getByRole("link", { name: "line 4, column 1" }).click();
  assert.ok(page.url().endsWith("#line-4"));
  await accessible(page, "check: errors");
  await checkText(page, "new.toml", provider(fake.port, { title: TOO_EARLY, host: "localhost" }));
  await shows(page, "It would widen exposure");
  await shows(page, "new: added");
  await accessible(page, "check: widens");
  await checkText(page, "no/such.txt", "x");
  await shows(page, "it is a name such as");
  assert.equal(await page.getByLabel("Text").inputValue(), "x");
  await accessible(page, "check: a wrong name");
});

check("check: it needs no script", async ({ open }) => {
  const page = await signInConsole(await open(), tollgate);
  await checkText(page, "acme.toml", "title = ");
  await shows(page, "TG003");
}, { javaScriptEnabled: false });

check("providers: a list of many files, and a page of each", async ({ open }) => {
  const many = Array.from({ length: 150 }, (_, index) => `many-${String(index).padStart(3, "0")}`);
  const files = Object.fromEntries(many.map((name) => [`${name}.toml`, provider(fake.port, { title: name })]));
  const crowded = await Tollgate.start({ ...files, "one.toml": provider(fake.port, { title: TOO_EARLY }) });
  await crowded.drop("zz-broken.toml", "title = ").catch(() => {});
  const page = await signInConsole(await open(), crowded);
  await page.getByRole("link", { name: "Providers", exact: true }).click();
  const rows = page.locator("#files tbody tr");
  assert.equal(await rows.count(), 100);
  assert.match(await rows.first().innerText(), /zz-broken\.toml\s+rejected[\s\S]*TG003/);
  await accessible(page, "providers");
  const { bytes } = await crowded.bytes("/console/providers", await cookie(page));
  assert.ok(bytes < 100 * 1024, `${bytes} bytes`);
  await page.getByRole("link", { name: "Next", exact: true }).click();
  await shows(page, /Page 2 of \d/);
  await page.getByLabel("Search files").fill("many-007");
  await button(page, "Show");
  await shows(page, /1 file of \d+/);
  await rows.first().getByRole("link").click();
  await page.getByRole("heading", { name: "many-007.toml" }).waitFor();
  await accessible(page, "a provider");
  await page.getByRole("link", { name: /^Explain POST .*chat/ }).click();
  await shows(page, "credential_missing");
  await page.goto(`${crowded.url}/console/providers?state=rejected`);
  assert.equal(await rows.count(), 1);
  await rows.first().getByRole("link").first().click();
  await shows(page, "It does not serve");
  await accessible(page, "a provider: rejected");
  await page.goto(`${crowded.url}/console/providers/item?file=one.toml`);
  await page.getByRole("heading", { name: TOO_EARLY }).waitFor();
  await shows(page, "Live.");
  await crowded.drop("one.toml", "title = ").catch(() => {});
  await shows(page, "the last good one does");
  await shows(page, "TG003");
  await page.goto(`${crowded.url}/console/providers?q=one.toml`);
  await shows(page, "Live.");
  const generation = await page.locator("#generation").innerText();
  await crowded.drop("one.toml", provider(fake.port, { title: "Mended" })).catch(() => {});
  await page.waitForFunction((before) => document.getElementById("generation").innerText !== before, generation);
  await page.goto(`${crowded.url}/console/providers?q=nothing-like-it`);
  await shows(page, "No file matches");
  await accessible(page, "providers: none");
  await crowded.end();
});

const cookie = async (page) =>
  (await page.context().cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
