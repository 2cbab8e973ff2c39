// Connecting a tool: the address of each provider, "try it", steps to copy, and the tokens that go into them.

import assert from "node:assert/strict";
import { accessible, check, control, revoke, saved, shows, signIn } from "./browser.mjs";
import { listen, provider } from "./tollgate.mjs";
import { fake, tollgate } from "./world.mjs";

const ACME = { creds: { providers: { acme: { apiKey: "sk-0123456789abcdefgh" } } } };
const CLIPBOARD = { permissions: ["clipboard-read", "clipboard-write"] };

/** A page of `/config` for a user. */
async function page(open, user, path) {
  const page = await signIn(await open(), tollgate, user.token);
  await page.goto(`${tollgate.url}/config${path}`);
  return page;
}

const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());
const models = (call, token) => tollgate.call(call, "/proxy/acme/v1/models", undefined, token);

const client = (title, code) => `
title = ${JSON.stringify(title)}
kind = "tool"
[[speaks]]
api = "chat-completions"
path = "/chat/completions"
[[speaks.step]]
text = "Run it for {provider}:"
language = "sh"
code = '''${code}'''
`;

check("`Try it` shows the status, the times and the first bytes of the answer", async ({ open }) => {
  const user = await tollgate.user(ACME);
  const list = await page(open, user, "/connect");
  await accessible(list, "connect");
  assert.equal(await list.locator("details[open]").count(), 0, "what has no key is folded");
  await list.getByRole("button", { name: "Try it: Acme" }).click();
  const result = list.locator("#result-acme .note.good");
  await shows(result, /^200$/);
  assert.match(await result.textContent(), /200 after \d+ ms, first byte after \d+ ms\. GET \/proxy\/acme\/v1\/models/);
  assert.match(await result.locator("pre").textContent(), /"chat\.completion"/);
  await accessible(list, "connect: an answer");
  // A provider without a key is refused, and says why.
  await list.getByText("Without a key").click();
  await list.getByRole("button", { name: "Try it: Beta" }).click();
  await shows(list.locator("#result-beta .note.bad"), "credential_missing");
  await accessible(list, "connect: no key");
});

check("`Try it` shows what a failing upstream answers, and one that is not there", async ({ open }) => {
  const failing = await listen((_, response) => {
    response.writeHead(500, { "content-type": "text/plain" });
    response.end("out of order <img src=x onerror=alert(1)>");
  });
  const file = provider(failing.port, { title: "Failing" });
  await tollgate.drop("failing.toml", file);
  const user = await tollgate.user({ creds: { providers: { failing: { apiKey: "sk-0123456789abcdefgh" } } } });
  const one = await page(open, user, "/connect/failing");
  const tried = () => one.getByRole("button", { name: "Try it" }).click();
  const result = one.locator("#result-failing .note.bad");
  await tried();
  await shows(result, /^500$/);
  assert.equal(await result.locator("pre").textContent(), "out of order <img src=x onerror=alert(1)>");
  await accessible(one, "connect: a failing upstream");
  failing.stop();
  await tried();
  await shows(result, /^502$/);
  await accessible(one, "connect: no upstream");
});

check("without JavaScript `Try it` shows the answer on a page of its own", async ({ open }) => {
  const one = await page(open, await tollgate.user(ACME), "/connect/acme");
  await one.getByRole("button", { name: "Try it" }).click();
  await shows(one.locator("#result-acme .note.good"), /^200$/);
  assert.equal(await one.getByRole("button", { name: /^Copy/ }).count(), 0);
}, { javaScriptEnabled: false });

check("steps have this server's address and the provider's path, and are copied", async ({ open }) => {
  const user = await tollgate.user(ACME);
  const one = await page(open, user, "/connect/acme");
  await accessible(one, "connect: one provider");
  const base = `${tollgate.url}/proxy/acme`;
  await one.getByRole("button", { name: "Copy the address" }).click();
  await shows(one, "Copied.");
  assert.equal(await clipboard(one), `${base}/v1`);
  await one.getByRole("button", { name: "Copy step 1 for curl" }).click();
  await one.waitForFunction(() => navigator.clipboard.readText().then((text) => text.startsWith("curl ")));
  const command = await clipboard(one);
  assert.ok(command.startsWith(`curl "${base}/v1/chat/completions"`) && command.includes("Bearer TOKEN"), command);
  for (const title of await one.locator("summary").all()) await title.click();
  for (const code of await one.locator(".setups pre").allTextContents()) {
    assert.ok(!code.includes("{base_url}") && !code.includes(user.token), code);
  }
  assert.ok((await one.locator(".setups").allTextContents()).every((text) => text.includes(base)));
  await accessible(one, "connect: all steps open");
}, CLIPBOARD);

check("a file of a client is there at the next load, and a broken one changes nothing", async ({ open }) => {
  const one = await page(open, await tollgate.user(ACME), "/connect/acme");
  const steps = one.locator("details", { hasText: "Zebra" });
  assert.equal(await steps.count(), 0);
  await tollgate.drop("clients/zebra.toml", client("Zebra <b>", "zebra --url {base_url} --model {model}"));
  await one.reload();
  await steps.locator("summary").click();
  await shows(steps, "Run it for acme:");
  assert.equal(await steps.locator("h3").textContent(), "Zebra <b>");
  assert.equal(await steps.locator("pre").textContent(), `zebra --url ${tollgate.url}/proxy/acme/v1 --model MODEL`);
  await accessible(one, "connect: a client of the directory");
  const broken = tollgate.drop("clients/zebra.toml", client("Zebra", "zebra --url {base_url"));
  await assert.rejects(broken, /422.*`\{base_url` without/);
  await one.reload();
  assert.equal(await steps.locator("h3").textContent(), "Zebra <b>");
  await tollgate.drop("clients/zebra.toml", client("Zebra", "zebra"));
});

check("a token with scopes and an end is shown once, reaches no more, and is revoked", async ({ open }) => {
  const user = await tollgate.user(ACME);
  const tokens = await page(open, user, "/tokens");
  await accessible(tokens, "tokens");
  await tokens.getByLabel("Label", { exact: true }).fill("laptop");
  await tokens.getByLabel("Ends").selectOption("After a week");
  await tokens.getByRole("checkbox", { name: "Beta", exact: true }).check();
  assert.ok(await tokens.getByLabel("Only these").isChecked(), "a choice of providers counts at once");
  await tokens.getByRole("button", { name: "Create token" }).click();
  const made = tokens.locator("#made");
  const token = await made.textContent();
  assert.match(token, /^tg_/);
  await shows(tokens, `curl "${tollgate.url}/proxy/beta/v1/chat/completions"`);
  await tokens.getByRole("button", { name: "Copy", exact: true }).click();
  await shows(tokens, "Copied.");
  assert.equal(await clipboard(tokens), token);
  await accessible(tokens, "tokens: made");
  await assert.rejects(models("GET", token), /403.*scope/);
  const listed = Object.values(await user.call("GET", "/auth/tokens")).find((one) => one.label === "laptop");
  assert.deepEqual(listed.scopes, ["beta"]);
  const days = (Date.parse(listed.expiresAt) - Date.now()) / 86_400_000;
  assert.ok(days > 6.9 && days <= 7, `${days} days`);
  await tokens.reload();
  await tokens.getByRole("heading", { name: "Your tokens" }).waitFor();
  assert.ok(!(await tokens.content()).includes(token), "it is shown once");
  assert.equal(await tokens.getByLabel("Revoke laptop", { exact: true }).count(), 1, "a reload makes no other one");
  await revoke(tokens, "laptop");
  await tokens.getByLabel("Revoke laptop", { exact: true }).waitFor({ state: "detached" });
  await assert.rejects(models("GET", token), /invalid_token/);
}, CLIPBOARD);

check("a rotated token replaces the old one, which works for another hour", async ({ open }) => {
  const user = await tollgate.user(ACME);
  const tokens = await page(open, user, "/tokens");
  await tokens.getByRole("button", { name: "Rotate gateway token" }).click();
  const token = await tokens.locator("#made").textContent();
  await shows(tokens, /^The old one works until /);
  await accessible(tokens, "tokens: rotated");
  assert.notEqual(token, user.token);
  await models("GET", token);
  await models("GET", user.token);
  const old = Object.values(await user.call("GET", "/auth/tokens")).map((one) => Date.parse(one.expiresAt) - Date.now());
  assert.ok(old.some((left) => left > 3_500_000 && left <= 3_600_000), old.join());
});

check("a paste token is made for a login that is stored", async ({ open }) => {
  const paste = `
title = "Pasted"
base_url = "http://127.0.0.1:${fake.port}"
path_prefix = "/pasted"
[credentials]
section = "pasted"
[[credentials.field]]
name = "oauth"
label = "Login"
kind = "oauth2"
token_url = "http://127.0.0.1:${fake.port}/token"
client_id = "app"
[[auth]]
field = "oauth"
set = { authorization = "Bearer {secret}" }
[endpoint.responses]
method = "POST"
path = "/responses"
api = "responses"
[paste_token]
path = "/auth/pasted-token"
reply = "pastedToken"
missing = "No login is stored"
[paste_token.claims]
exp = 9999999999
`;
  await tollgate.drop("pasted.toml", paste);
  const creds = { pasted: { oauth: { accessToken: "a", refreshToken: "r", expiresAt: 4_102_444_800_000 } } };
  const user = await tollgate.user({ creds });
  const tokens = await page(open, user, "/tokens");
  await accessible(tokens, "tokens: with a paste token");
  await tokens.getByRole("button", { name: /New paste token/ }).click();
  const token = await tokens.locator("#made").textContent();
  const call = (path) => tollgate.call("POST", path, { model: "m" }, token);
  assert.equal((await call("/pasted/responses")).object, "chat.completion");
  await assert.rejects(call("/proxy/acme/v1/chat/completions"), /40[13]/);
  // The client that takes it, by its file.
  await shows(tokens, "To use it with Codex");
  await shows(tokens, "Put the paste token in place of the access token, without a refresh token, then run it:");
  await shows(tokens, `base_url = "${tollgate.url}/pasted"`);
  await accessible(tokens, "tokens: a paste token");
  assert.equal(await tokens.getByText("Those that were made before").count(), 0);
  await tokens.getByRole("button", { name: /New paste token/ }).click();
  await shows(tokens, /Those that were made before end within an hour, the last one at \d{4}-.* UTC\./);
  const ends = Object.values(await user.call("GET", "/auth/tokens")).filter((one) => one.kind === "paste").map((one) => Date.parse(one.expiresAt ?? "9999-01-01") - Date.now());
  assert.ok(ends.length === 2 && Math.min(...ends) < 3_600_000 && Math.max(...ends) > 3_600_000, ends.join());
});

check("no other path of the API is called in place of a paste token's", async ({ open }) => {
  const user = await tollgate.user({ creds: { codex: { oauth: { accessToken: "a", refreshToken: "r", expiresAt: 4_102_444_800_000 } } } });
  const tokens = await page(open, user, "/tokens");
  await tokens.evaluate((action) => {
    const form = document.createElement("form");
    Object.assign(form, { method: "post", action });
    document.body.append(form);
    form.submit();
  }, `/config/tokens/paste/rotate?as=${user.id}`);
  await shows(tokens, "No login of yours has a paste token of this name");
  await tokens.getByRole("link", { name: "Go back to the page" }).click();
  await tokens.getByRole("heading", { name: "Your tokens" }).waitFor();
  const listed = Object.values(await user.call("GET", "/auth/tokens"));
  assert.ok(listed.every((one) => !one.replacedAt), "nothing was rotated");
});

check("the token behind a sign-in says that the sign-in ends with it", async ({ open }) => {
  const user = await tollgate.user();
  const tokens = await page(open, user, "/tokens");
  const own = tokens.locator("tbody tr").filter({ hasText: "both" });
  await own.locator("summary").click();
  await shows(own, "Your own sign-in ends with it.");
  await own.getByRole("button", { name: /Revoke/ }).click();
  await tokens.getByLabel("Your gateway token").waitFor();
});

check("a login that is renewed keeps the paste tokens in use; the page says where to make the first one", async ({ open }) => {
  const user = await tollgate.user();
  const keys = await page(open, user, "");
  const login = JSON.stringify({ accessToken: "a", refreshToken: "r", expiresAt: 4_102_444_800_000 });
  const paste = async () => {
    await control(keys, "pasted.oauth").fill(login);
    await saved(keys);
  };
  await keys.getByText("Additional providers").click();
  await paste();
  await shows(keys, /take a login only as a paste token/);
  const { pastedToken } = await user.call("POST", "/auth/pasted-token");
  await keys.goto(`${tollgate.url}/config`);
  await keys.getByText("Additional providers").click();
  await paste();
  assert.equal(await keys.getByText("as a paste token").count(), 0);
  const listed = Object.values(await user.call("GET", "/auth/tokens")).filter((one) => one.kind === "paste");
  assert.ok(listed.length === 1 && !listed[0].expiresAt, JSON.stringify(listed));
  assert.equal((await tollgate.call("POST", "/pasted/responses", { model: "m" }, pastedToken)).object, "chat.completion");
});
