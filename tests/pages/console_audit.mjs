// The audit log, the usage of all users and the live tail: filters, empty states, hostile texts, and a tail whose server goes
// away.

import assert from "node:assert/strict";
import { accessible, check, reloaded, shows, signInConsole } from "./browser.mjs";
import { provider, Tollgate } from "./tollgate.mjs";
import { fake } from "./world.mjs";

const KEY = "sk-0123456789abcdefgh";
const EVIL = `<img src=x onerror=top.hit=1>"'{{7*7}}`;

const own = await Tollgate.start({ "acme.toml": provider(fake.port, { title: "Acme" }) });
const chat = (user, model) => user.call("POST", "/proxy/acme/v1/chat/completions", { model, messages: [] });
const rows = (page) => page.locator("tbody#tail tr, table tbody tr");

/** No text of a page ran, and none became an element. */
async function harmless(page) {
  assert.deepEqual(await page.evaluate(() => [window.hit, document.querySelectorAll("[onerror], [style]").length]), [undefined, 0]);
}

/** Loads a page until a text is on it: the ledger is written within a second. */
async function until(page, path, text) {
  await page.goto(own.url + path);
  await reloaded(page, page.getByText(text, { exact: true }));
}

check("console: the audit log is searched, and nothing typed is lost", async ({ open }) => {
  const user = await own.user({ name: EVIL, group: "research" });
  const page = await signInConsole(await open(), own);
  await page.getByRole("link", { name: "Audit" }).click();
  await shows(page.locator("table"), "user.create");
  await harmless(page);
  await accessible(page, "audit");
  await page.getByLabel("Action").selectOption("user.create");
  await page.getByLabel("Target").fill(EVIL);
  await page.getByRole("button", { name: "Search" }).click();
  await page.waitForURL(/action=user.create/);
  assert.equal(await rows(page).count(), 1);
  const row = rows(page).first();
  for (const text of [user.id, EVIL, "research"]) await shows(row, text);
  await page.getByLabel("Actor").fill("nobody has this name");
  await page.keyboard.press("Enter");
  await shows(page, /no user has this name/);
  assert.equal(await page.getByLabel("Target").inputValue(), EVIL);
  assert.equal(await page.getByLabel("Actor").inputValue(), "nobody has this name");
  await accessible(page, "audit: refused");
  await page.goto(`${own.url}/console/audit?action=user.import`);
  await shows(page, "No entry matches");
  await accessible(page, "audit: nothing");
  await page.goto(`${own.url}/console/audit?since=7d`);
  assert.equal(await page.getByLabel("From").inputValue(), "7d");
});

check("console: usage over any range, and within what a row has", async ({ open }) => {
  const page = await signInConsole(await open(), own);
  await page.goto(`${own.url}/console/usage?user=${"usr_0000000000000000"}`);
  await shows(page, "Nothing was used in this time");
  await accessible(page, "usage: none");
  const user = await own.user({ name: "grace", creds: { providers: { acme: { apiKey: KEY } } } });
  for (const model of ["north-large", "north-large", EVIL]) await chat(user, model);
  await until(page, "/console/usage?by=model", "north-large");
  await harmless(page);
  await page.locator("summary", { hasText: "Numbers" }).click();
  // Nothing may lie below the bar, which sticks to the top.
  await page.evaluate(() => scrollTo(0, 0));
  await accessible(page, "usage");
  await page.getByLabel("Group by").selectOption("user");
  await page.getByLabel("And by").selectOption("model");
  await page.getByRole("button", { name: "Show" }).click();
  await page.waitForURL(/then=model/);
  await page.getByRole("link", { name: "grace" }).first().click();
  await page.waitForURL(/user=usr_/);
  await shows(page, "north-large");
  assert.equal(await page.getByLabel("Group by").inputValue(), "model");
  await page.getByRole("link", { name: /^Year/ }).click();
  await page.waitForURL(/range=year/);
  await shows(page, "by month");
  await page.getByLabel("From").fill("2030-01-03");
  await page.getByLabel("To, included").fill("2030-01-01");
  await page.getByRole("button", { name: "Show" }).click();
  await shows(page, /it is before `since`/);
  assert.equal(await page.getByLabel("From").inputValue(), "2030-01-03");
  await accessible(page, "usage: refused");
  await page.goto(`${own.url}/console/usage/tail?user=nobody`);
  await shows(page, /no user has this id or name/);
  await accessible(page, "tail: refused");
});

check("console: the live tail adds rows, pauses, waits for the server, and ends with the session", async ({ open, context }) => {
  const user = await own.user({ name: EVIL, creds: { providers: { acme: { apiKey: KEY } } } });
  const page = await signInConsole(await open(), own);
  await page.goto(`${own.url}/console/usage/tail?user=${user.id}`);
  await shows(page, "No request yet");
  await shows(page, /^Live/);
  await accessible(page, "tail: nothing");
  await chat(user, EVIL);
  await rows(page).first().waitFor();
  assert.ok((await rows(page).first().innerText()).includes(EVIL));
  await harmless(page);
  const [live, loaded] = [await rows(page).first().innerHTML(), await open()];
  await loaded.goto(page.url());
  assert.equal(await rows(loaded).first().innerHTML(), live, "a row of the script is as one of the page");
  await loaded.close();
  await accessible(page, "tail");

  await page.getByRole("button", { name: "Pause" }).click();
  await shows(page, "Paused");
  await chat(user, "while-paused");
  const count = async () => (await own.call("GET", `/admin/usage/recent?user=${user.id}`)).exchanges.length;
  for (let tries = 0; (await count()) < 2; tries += 1) assert.ok(tries < 5000, "the ledger is not written");
  assert.equal(await rows(page).count(), 1);
  await page.getByRole("button", { name: "Resume" }).click();
  await shows(page, "while-paused");

  await own.stop();
  await shows(page, /cannot be reached.*Trying again/);
  await accessible(page, "tail: away");
  await own.start();
  await chat(user, "after-the-stop");
  await shows(page, "after-the-stop");

  await context.clearCookies();
  await page.getByRole("link", { name: "Sign in again" }).click();
  await page.getByLabel("Admin token").waitFor();
});

check("console: without scripts the tail is a list", async ({ open }) => {
  const page = await signInConsole(await open(), own);
  await page.goto(`${own.url}/console/usage/tail`);
  await page.getByRole("link", { name: "Refresh" }).first().click();
  await rows(page).first().waitFor();
}, { javaScriptEnabled: false });
