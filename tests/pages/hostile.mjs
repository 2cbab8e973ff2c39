// Texts and sites that mean harm: markup in every text that a page shows, and pages of other origins.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { check, control, reloaded, shows, signIn, signInConsole } from "./browser.mjs";
import { listen, provider, Tollgate } from "./tollgate.mjs";
import { fake, tollgate } from "./world.mjs";

/** Markup that would run a script, with a name to find it by. */
const evil = (name) => `${name}"'><img src=x onerror=top.hit=1><script>top.hit=1</script>{{7*7}}`;

const HOSTILE = `
title = ${JSON.stringify(evil("title"))}
base_url = "http://127.0.0.1:${fake.port}"
path_prefix = "/proxy/{provider}"
group = "main"
[credentials]
section = "hostile"
[[credentials.field]]
name = "apiKey"
label = ${JSON.stringify(evil("label"))}
hint = ${JSON.stringify(evil("hint"))}
placeholder = ${JSON.stringify(evil("placeholder"))}
[[auth]]
field = "apiKey"
set = { authorization = "Bearer {secret}" }
[endpoint.chat]
method = "POST"
path = "/chat"
api = "chat-completions"
`;

/** No text of a page became markup, and none ran. */
async function harmless(page, names) {
  const found = await page.evaluate(() => ({
    hit: window.hit,
    images: [...document.images].map((one) => one.getAttribute("src")).filter((src) => src === "x"),
    scripts: [...document.scripts].filter((one) => !one.src).length,
    handlers: document.querySelectorAll("[onerror], [onclick], [onload], [style]").length,
    links: [...document.links].map((one) => one.protocol).filter((one) => !/^https?:$/.test(one)),
  }));
  assert.deepEqual(found, { hit: undefined, images: [], scripts: 0, handlers: 0, links: [] });
  const text = await page.evaluate(() => {
    const attributes = [...document.querySelectorAll("[placeholder]")].map((one) => one.placeholder);
    return [document.body.textContent, ...attributes].join("\n");
  });
  for (const name of names) assert.ok(text.includes(evil(name)), `${name} is not shown as it is`);
}

check("hostile texts of files, users, tokens and models are text on every page", async ({ open }) => {
  const own = await Tollgate.start({ "hostile.toml": HOSTILE });
  const user = await own.user({ name: evil("user").slice(0, 100) });
  const page = await signIn(await open(), own, user.token);
  await harmless(page, ["title", "label", "hint", "placeholder"]);
  await control(page, "hostile.apiKey").fill("x");
  await page.getByRole("button", { name: /Undo/ }).click();
  await harmless(page, []);

  await user.call("PUT", "/auth/creds", { hostile: { apiKey: "sk-0123456789abcdefgh" } });
  await user.call("POST", "/proxy/hostile/chat", { model: evil("model"), messages: [] });
  await usage(page, own);
  await harmless(page, ["model"]);

  await user.call("POST", "/auth/tokens", { label: evil("token") });
  await page.goto(`${own.url}/config/tokens`);
  await harmless(page, ["token", "title"]);
  for (const path of ["/connect", "/connect/hostile"]) {
    await page.goto(`${own.url}/config${path}`);
    await harmless(page, ["title"]);
  }
  await signInConsole(page, own);
  for (const [path, names] of [
    ["/providers", []], ["/providers/item?file=hostile.toml", []], ["/users", []], [`/users/${user.id}`, ["token", "title"]],
    [`/users/${user.id}/keys`, ["title", "label", "hint"]], ["/shared/everybody", ["title", "label", "hint", "placeholder"]],
    ["/shared", []], ["/tokens", []], ["/usage?by=model", ["model"]], ["/usage/tail", ["model"]], ["/audit", []],
    ["/explain?method=POST&path=/proxy/hostile/chat", []],
  ]) {
    await page.goto(`${own.url}/console${path}`);
    await harmless(page, names);
  }
  await page.goto(`${own.url}/config`);
  await page.goto(`${own.url}/config/${encodeURIComponent(evil("path"))}?saved=${encodeURIComponent(evil("query"))}`);
  await harmless(page, []);
  await own.end();
});

/** Loads the page of usage until the last call is in it: the ledger is written within a second. */
async function usage(page, own) {
  await page.goto(`${own.url}/config/usage`);
  await reloaded(page, page.locator("tbody tr"));
}

check("a link of a provider file that is a script is refused with the file", async ({ open }) => {
  const script = provider(fake.port, { title: "Script", more: `keys_url = "javascript:top.hit=1"` });
  await assert.rejects(tollgate.drop("script.toml", script), /keys_url/);
  const user = await tollgate.user();
  const page = await signIn(await open(), tollgate, user.token);
  await harmless(page, []);
  assert.equal(await page.locator(`[name="set.providers.script.apiKey"]`).count(), 0);
  await tollgate.drop("script.toml", provider(fake.port, { title: "Script" }));
});

check("a page of another origin changes nothing, whatever it posts to", async ({ open }) => {
  const user = await tollgate.user({ creds: { providers: { acme: { apiKey: "sk-0123456789abcdefgh" } } } });
  await signIn(await open(), tollgate, user.token);
  const before = await facts(user);
  const other = await listen((request, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><title>elsewhere</title>");
  });
  // Another port is the same site, so the strict cookie is sent; another name is another site.
  for (const [host, expected] of [["127.0.0.1", "cross_site"], ["localhost", "Sign in to tollgate"]]) {
    const page = await open();
    await page.goto(`http://${host}:${other.port}/`);
    for (const path of changes()) await page.evaluate(post, [tollgate.url + path, user.token]);
    // A form, which takes the browser to the page.
    await page.evaluate(submit, `${tollgate.url}/config/keys`);
    await shows(page, expected);
  }
  assert.deepEqual(await facts(user), before);
  other.stop();
});

/** Every address that changes something for a user: those of the table of pages, and those of the API. */
function changes() {
  const table = readFileSync("src/pages/route.rs", "utf8");
  const pages = [...table.matchAll(/\(Area::Config, "POST", "([^"]*)"/g)].map(([, path]) => `/config${path.replaceAll("*", "x")}`);
  const api = Object.entries(JSON.parse(readFileSync("schema/openapi.json", "utf8")).paths);
  const posts = api.filter(([path, item]) => path.startsWith("/auth") && item.post).map(([path]) => path.replaceAll(/{\w+}/g, "x"));
  assert.ok(pages.length > 4 && posts.length > 4);
  return ["/config/sign-in", "/config/sign-out", ...pages, ...posts];
}

function post([url, token]) {
  const body = new URLSearchParams({ token, clear: "providers.acme.apiKey", kind: "both", "set.providers.beta.apiKey": "theirs" });
  // The answer is hidden from the page, so the call ends with an error; what it did is asked of the API.
  return fetch(url, { method: "POST", mode: "no-cors", credentials: "include", body }).then(() => {}, () => {});
}

function submit(url) {
  const form = document.createElement("form");
  const field = document.createElement("input");
  Object.assign(field, { name: "clear", value: "providers.acme.apiKey" });
  Object.assign(form, { method: "post", action: url }).append(field);
  document.body.append(form);
  form.submit();
}

/** What a user has, without the times of use. */
async function facts(user) {
  const tokens = await user.call("GET", "/auth/tokens");
  for (const token of Object.values(tokens)) delete token.lastUsedAt;
  return { tokens, creds: await user.creds() };
}

check("no page of another origin shows a page of tollgate in a frame, or reads it", async ({ open, problems }) => {
  const user = await tollgate.user();
  await signIn(await open(), tollgate, user.token);
  const other = await listen((request, response) => {
    response.setHeader("content-type", "text/html");
    response.end(`<!doctype html><iframe src="${tollgate.url}/config"></iframe>`);
  });
  const page = await open();
  await page.goto(`http://127.0.0.1:${other.port}/`);
  const framed = page.frames().find((frame) => frame !== page.mainFrame());
  assert.equal(framed.url(), "chrome-error://chromewebdata/");
  const read = await page.evaluate((url) => fetch(url, { credentials: "include" }).then(() => "read", () => "refused"), `${tollgate.url}/config`);
  assert.equal(read, "refused");
  // The browser reports the refusal of the frame: that is the policy at work.
  assert.deepEqual(problems.filter((problem) => !/frame-ancestors|X-Frame-Options/.test(problem)), []);
  problems.length = 0;
  other.stop();
});
