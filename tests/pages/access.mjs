// Every page in every state is accessible (WCAG 2.2 AA, by axe), in light and dark, at 360 and 1920 pixels, and no wider than
// the screen.

import assert from "node:assert/strict";
import { accessible, check, control, reloaded, row, save, shows, signIn } from "./browser.mjs";
import { provider } from "./tollgate.mjs";
import { fake, tollgate } from "./world.mjs";

const KEY = "sk-0123456789abcdefgh";

check("accessible: signing in", async ({ open }) => {
  const page = await open();
  await page.goto(`${tollgate.url}/config`);
  await accessible(page, "sign in");
  await page.getByLabel("Your gateway token").fill("wrong");
  await page.keyboard.press("Enter");
  await shows(page, "This token is not valid here");
  await accessible(page, "sign in: refused");
});

check("accessible: keys", async ({ open }) => {
  const user = await tollgate.user({ creds: { providers: { acme: { apiKey: KEY }, gamma: { apiKey: KEY } } } });
  const page = await signIn(await open(), tollgate, user.token);
  await accessible(page, "keys");
  await page.getByText("Additional providers").click();
  await row(page, "providers.acme.apiKey").getByLabel("Clear").check();
  await control(page, "providers.beta.apiKey").fill(KEY);
  await accessible(page, "keys: changed");
  await control(page, "codex.oauth").fill("no JSON");
  await save(page);
  await shows(page, /not JSON/);
  await accessible(page, "keys: a bad paste");
  await page.getByLabel("Search providers").fill("none has this name");
  await accessible(page, "keys: nothing found");
  await page.goto(`${tollgate.url}/config?saved=1`);
  await accessible(page, "keys: saved");
});

check("accessible: a key that moved, and a dialog", async ({ open, context }) => {
  await tollgate.drop("away.toml", provider(fake.port, { title: "Away" }));
  const user = await tollgate.user({ creds: { providers: { away: { apiKey: KEY } } } });
  await tollgate.drop("away.toml", provider(fake.port, { title: "Away", host: "localhost" }));
  const page = await signIn(await open(), tollgate, user.token);
  await page.locator(".note.warn").waitFor();
  await accessible(page, "keys: moved");
  await control(page, "providers.acme.apiKey").fill(KEY);
  await context.clearCookies();
  await save(page);
  await page.getByRole("dialog").waitFor();
  await accessible(page, "dialog");
});

check("accessible: usage", async ({ open }) => {
  const user = await tollgate.user({ creds: { providers: { acme: { apiKey: KEY } } } });
  const page = await signIn(await open(), tollgate, user.token);
  await page.goto(`${tollgate.url}/config/usage`);
  await accessible(page, "usage: none");
  await user.call("POST", "/proxy/acme/v1/chat/completions", { model: "a-model-with-a-long-name-2026-11-29-preview", messages: [] });
  await reloaded(page, page.locator("tbody tr"));
  await accessible(page, "usage");
  await page.getByText("Numbers over time").click();
  const numbers = page.getByRole("region", { name: "Usage over time" }).locator("tbody tr");
  const sums = async (column) => (await numbers.locator(`td:nth-child(${column})`).allTextContents()).map(Number);
  const all = [await sums(2), await sums(3), await sums(7)].map((numbers) => numbers.reduce((one, other) => one + other));
  assert.deepEqual(all, [1, 0, 15], "requests, errors, tokens");
  for (const [measure, title] of [["Requests", "Requests"], ["Cost", "Cost"], ["Errors", "Errors"], ["Tokens", "Tokens"]]) {
    await page.getByRole("navigation", { name: "Chart" }).getByRole("link", { name: measure }).click();
    await page.getByRole("heading", { name: title, exact: true }).waitFor();
    await accessible(page, `usage: ${measure}`);
  }
  for (const range of ["Hour", "Month"]) {
    await page.getByRole("link", { name: range, exact: true }).click();
    await page.getByText("Numbers over time").click();
    assert.equal((await sums(2)).reduce((one, other) => one + other), 1, range);
    await accessible(page, `usage: ${range}`);
  }
});

check("accessible: an address without a page", async ({ open }) => {
  const user = await tollgate.user();
  const page = await signIn(await open(), tollgate, user.token);
  await page.goto(`${tollgate.url}/config/nothing`);
  await shows(page, "No page has this address");
  await accessible(page, "no such page");
});

check("nothing moves for people who want that", async ({ open }) => {
  const user = await tollgate.user({ creds: { providers: { acme: { apiKey: KEY } } } });
  const page = await signIn(await open(), tollgate, user.token);
  const moving = () => page.evaluate(() => [...document.querySelectorAll("*")].filter((one) => {
    const style = getComputedStyle(one);
    return /[1-9]/.test(style.transitionDuration) || /[1-9]/.test(style.animationDuration) || style.scrollBehavior === "smooth";
  }).length);
  assert.ok(await moving() > 0);
  await page.emulateMedia({ reducedMotion: "reduce" });
  assert.equal(await moving(), 0);
});
