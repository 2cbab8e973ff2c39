// The console's pages of users, shared keys and admin tokens: by keyboard, without JavaScript, with hostile names, and accessible.

import assert from "node:assert/strict";
import { accessible, check, control, row, saved, shows, signInConsole } from "./browser.mjs";
import { provider, Tollgate } from "./tollgate.mjs";
import { fake } from "./world.mjs";

const KEY = "sk-0123456789abcdefgh";
const MASK = "sk-01234...efgh";
const EVIL = `<img src=x onerror=alert(1)>"'`;
const ACME = "providers.acme.apiKey";
const file = (details = {}) => provider(fake.port, { title: "Acme", ...details });
const own = () => Tollgate.start({ "acme.toml": file(), "beta.toml": provider(fake.port, { title: EVIL, group: "additional" }) });

check("users: created, searched, changed, disabled and deleted without JavaScript", async ({ open }) => {
  const tollgate = await own();
  const page = await signInConsole(await open(), tollgate);
  await page.getByRole("link", { name: "Users", exact: true }).click();
  await shows(page, "There are no users yet");
  await page.getByLabel("Name", { exact: true }).fill(EVIL);
  await page.getByRole("button", { name: "Create user" }).click();
  const token = await page.locator("#made").textContent();
  const { id } = await tollgate.call("GET", "/auth/me", undefined, token);
  await tollgate.user({ name: "Bob", group: "sales" });
  await page.getByLabel("Search").fill("IMG");
  await page.getByLabel("Search").press("Enter");
  await shows(page, "1 user");
  await page.getByRole("link", { name: EVIL }).click();
  await page.getByLabel("Group").fill("No!");
  await page.getByRole("button", { name: "Save details" }).click();
  await shows(page, "Nothing was changed.");
  assert.equal(await page.getByLabel("Group").inputValue(), "No!");
  await page.getByLabel("Group").fill("research");
  await page.getByRole("button", { name: "Save details" }).click();
  await shows(page, "The user was changed.");
  await page.getByRole("button", { name: "Disable" }).click();
  await shows(page, "The user was disabled");
  await assert.rejects(tollgate.call("GET", "/auth/me", undefined, token), /user_disabled/);
  await page.getByText("Delete this user").click();
  await page.getByRole("button", { name: `Delete ${EVIL}` }).click();
  await shows(page, "The user was deleted");
  await assert.rejects(tollgate.call("GET", `/admin/users/${id}`), /not_found/);
  await tollgate.end();
}, { javaScriptEnabled: false });

check("a user's page: tokens with scopes, their revocation, keys, and both hosts of one that moved", async ({ open }) => {
  const tollgate = await own();
  const user = await tollgate.user({ name: EVIL, group: "research", creds: { providers: { acme: { apiKey: KEY } } } });
  await tollgate.drop("acme.toml", file({ host: "localhost" }));
  const page = await signInConsole(await open(), tollgate);
  await page.goto(`${tollgate.url}/console/users/${user.id}`);
  await shows(page.locator(".note.warn"), `http://localhost:${fake.port}`);
  await page.getByLabel("Label", { exact: true }).fill(EVIL);
  await page.getByRole("checkbox", { name: "Acme" }).check();
  await page.getByRole("button", { name: "Create token" }).click();
  const token = await page.locator("#made").textContent();
  await accessible(page, "user: a token was made");
  const me = await tollgate.call("GET", "/admin/users/" + user.id + "/tokens");
  assert.ok(Object.values(me).some((one) => one.label === EVIL && one.scopes?.join() === "acme"), JSON.stringify(me));
  const chat = () => tollgate.call("POST", "/proxy/acme/v1/chat/completions", { model: "m", messages: [] }, token);
  await assert.rejects(chat, /credential_moved/);
  await page.goto(`${tollgate.url}/console/shared/unconfirmed`);
  await shows(page, EVIL);
  await accessible(page, "keys that wait");
  await page.getByRole("link", { name: `Look and confirm ${ACME} of ${EVIL}` }).click();
  await page.getByRole("button", { name: "Send it there from now on" }).click();
  await shows(page, "Confirmed:");
  assert.equal((await chat()).object, "chat.completion");
  await control(page, ACME).fill("another-key-0123456789");
  await saved(page);
  assert.equal((await user.creds()).providers.acme.apiKey, "another-...6789");
  await row(page, ACME).getByLabel("Clear").check();
  await accessible(page, "keys of a user");
  await saved(page);
  assert.deepEqual(await user.creds(), {});
  await page.getByRole("navigation", { name: "Above" }).getByRole("link").click();
  await page.locator("summary", { hasText: "Revoke" }).first().click();
  await page.getByLabel("With all that came from it").first().check();
  await accessible(page, "user: about to revoke");
  await page.getByRole("button", { name: `Revoke ${EVIL} now` }).click();
  await shows(page, "with all that came from it");
  await assert.rejects(chat, /invalid_token/);
  await tollgate.end();
});

check("shared keys: of everybody and of a group, by the keyboard alone", async ({ open }) => {
  const tollgate = await own();
  const page = await signInConsole(await open(), tollgate);
  await page.goto(`${tollgate.url}/console/shared`);
  await shows(page, "There are no groups yet");
  await accessible(page, "shared: none");
  await page.getByLabel("Name").focus();
  await page.keyboard.type("research");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Keys of the group research" }).waitFor();
  await page.getByLabel("Search providers").focus();
  await page.keyboard.type("acme");
  assert.equal(await control(page, "providers.beta.apiKey").isVisible(), false);
  await control(page, ACME).focus();
  await page.keyboard.type(KEY);
  await page.keyboard.press("Enter");
  await shows(page, "Saved.");
  await shows(row(page, ACME), "Stored");
  assert.ok(!(await page.content()).includes(KEY));
  assert.deepEqual(await tollgate.call("GET", "/admin/credentials/groups/research"), { providers: { acme: { apiKey: MASK } } });
  await page.goto(`${tollgate.url}/console/shared`);
  await shows(page, ACME);
  await accessible(page, "shared");
  await page.getByLabel("Name").fill("No!");
  await page.keyboard.press("Enter");
  await shows(page, "No such group.");
  await accessible(page, "shared: refused");
  await tollgate.end();
});

check("admin tokens: made and shown once, revoked, and never the last", async ({ open }) => {
  const tollgate = await own();
  const page = await signInConsole(await open(), tollgate);
  await page.getByRole("link", { name: "Tokens", exact: true }).click();
  const revoke = async (name) => {
    await page.locator(`summary[aria-label="Revoke ${name}"]`).first().click();
    await page.getByRole("button", { name: `Revoke ${name} now` }).first().click();
  };
  // The sessions are apart, below the tokens.
  await revoke("first start");
  await shows(page, "This is the last admin token");
  await accessible(page, "admin tokens: refused");
  await page.getByLabel("Label").fill("on call");
  await page.getByRole("button", { name: "Create admin token" }).click();
  const token = await page.locator("#made").textContent();
  await accessible(page, "admin tokens: made");
  await tollgate.call("GET", "/admin/users", undefined, token);
  await revoke("on call");
  await shows(page, "The token was revoked.");
  assert.ok(!(await page.content()).includes(token));
  await assert.rejects(tollgate.call("GET", "/admin/users", undefined, token), /invalid_admin_token/);
  await tollgate.end();
});

check("accessible: the list of users, filtered, empty and refused", async ({ open }) => {
  const tollgate = await own();
  for (const name of [EVIL, "A name with many words that somebody has typed, since nothing stopped them at any point"]) await tollgate.user({ name, group: "a-group-with-a-long-name" });
  const page = await signInConsole(await open(), tollgate);
  for (const [query, text] of [["", EVIL], ["?search=nobody", "No user matches"], ["?group=No!", "a group's name has"]]) {
    await page.goto(`${tollgate.url}/console/users${query}`);
    await shows(page, text);
    await accessible(page, `users ${query}`);
  }
  await tollgate.end();
});

check("many providers are searched in the form of a new token, and what is chosen stays in sight", async ({ open }) => {
  const many = Array.from({ length: 13 }, (_, number) => [`p${number}.toml`, provider(fake.port, { title: `Provider ${number}` })]);
  const tollgate = await Tollgate.start(Object.fromEntries(many));
  const user = await tollgate.user();
  const page = await signInConsole(await open(), tollgate);
  await page.goto(`${tollgate.url}/console/users/${user.id}`);
  const shown = () => page.locator("#scopes > :not([hidden])").count();
  assert.equal(await shown(), 13);
  await page.getByRole("checkbox", { name: "Provider 7" }).check();
  await page.getByLabel("Search providers and endpoints").fill("provider 12");
  assert.equal(await shown(), 2);
  await accessible(page, "user: scopes are searched");
  await page.getByRole("button", { name: "Create token" }).click();
  await page.locator("#made").waitFor();
  const tokens = Object.values(await tollgate.call("GET", `/admin/users/${user.id}/tokens`));
  assert.ok(tokens.some((one) => one.scopes?.join() === "p7"), JSON.stringify(tokens));
  await tollgate.end();
});
