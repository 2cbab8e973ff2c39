// The overview of operators, and pages that stay up to date by themselves.

import assert from "node:assert/strict";
import { accessible, check, reloaded, shows, signInConsole } from "./browser.mjs";
import { provider, Tollgate } from "./tollgate.mjs";
import { fake } from "./world.mjs";

const KEY = "sk-0123456789abcdefgh";
const HOSTILE = `base_url = "http://<img src=x onerror=alert(1)>"\n`;
const start = () => Tollgate.start({ "acme.toml": provider(fake.port, { title: "Acme" }) });
const figure = (page, name) => page.locator(`[data-figure="${name}"]`);
const live = (page) => page.getByText("Live.").waitFor();

check("overview: from the first steps to what needs attention", async ({ open }) => {
  const tollgate = await start();
  const page = await signInConsole(await open(), tollgate);
  await live(page);
  await shows(page, "Nothing needs attention.");
  await shows(page, "First steps");
  await shows(page, "No requests in this time");
  await accessible(page, "overview: new");
  const user = await tollgate.user({ creds: { providers: { acme: { apiKey: KEY } } } });
  await user.call("POST", "/proxy/acme/v1/chat/completions", { model: "m", messages: [] });
  // All of it without loading the page again.
  await figure(page, "requests").filter({ hasText: /^1 in/ }).waitFor();
  await figure(page, "tokens").filter({ hasText: /^15$/ }).waitFor();
  await shows(page, "Requests by hour");
  await page.getByText("First steps").waitFor({ state: "hidden" });
  await page.getByText("Numbers").click();
  tollgate.put("bad.toml", HOSTILE);
  await shows(page, /bad\.toml/);
  await page.getByRole("row", { name: /1\s+0\s+15/ }).waitFor();
  await accessible(page, "overview: a bad file");
  await page.getByRole("link", { name: "See the file" }).click();
  await page.getByRole("heading", { name: "Providers" }).waitFor();
  assert.equal(await page.locator("main img").count(), 0);
  await tollgate.end();
});

check("files appear without loading the page, and the focus stays", async ({ open }) => {
  const tollgate = await start();
  const page = await signInConsole(await open(), tollgate);
  await page.goto(`${tollgate.url}/console/providers`);
  await live(page);
  const region = page.locator("#files .scroll").first();
  await region.focus();
  tollgate.put("beta.toml", provider(fake.port, { title: "Beta" }));
  await shows(page.locator("#files"), /beta\.toml/);
  assert.equal(await region.evaluate((one) => one === document.activeElement), true);
  await shows(page, "The files have changed.");
  tollgate.put("beta.toml", HOSTILE);
  await shows(page.locator("#files"), "stale");
  await accessible(page, "providers: live");
  await tollgate.end();
});

check("a restart and a hidden page interrupt the stream, and no more", async ({ open }) => {
  const tollgate = await start();
  const page = await signInConsole(await open(), tollgate);
  await live(page);
  await tollgate.stop();
  await shows(page, /The connection is lost/);
  await accessible(page, "overview: no connection");
  await tollgate.start();
  await live(page);
  tollgate.put("bad.toml", HOSTILE);
  await shows(page, /bad\.toml/);

  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { configurable: true, value });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  const streams = [];
  page.on("request", (request) => { if (request.url().includes("/admin/events")) streams.push(request); });
  await hide(true);
  tollgate.put("worse.toml", HOSTILE);
  assert.equal(streams.length, 0);
  await hide(false);
  await shows(page, /worse\.toml/);
  assert.equal(streams.length, 1);
  await tollgate.end();
});

check("a page whose stream newer pages have taken says so, and goes on when it is looked at", async ({ open }) => {
  const tollgate = await start();
  const page = await signInConsole(await open(), tollgate);
  await live(page);
  await page.evaluate(async () => {
    globalThis.streams = await Promise.all([1, 2, 3, 4].map(() => fetch("/admin/events?topics=status")));
  });
  await shows(page, /Updates are paused: newer pages/);
  await accessible(page, "overview: paused");
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await live(page);
  await tollgate.end();
});

check("signing out elsewhere ends the stream", async ({ open }) => {
  const tollgate = await start();
  const page = await signInConsole(await open(), tollgate);
  await live(page);
  const other = await open();
  await other.goto(`${tollgate.url}/console`);
  await other.getByRole("button", { name: "Sign out" }).click();
  await other.getByLabel("Admin token").waitFor();
  await shows(page, /Your sign-in has ended/);
  await accessible(page, "overview: signed out");
  await page.getByRole("link", { name: "Sign in again" }).click();
  await page.getByLabel("Admin token").waitFor();
  await tollgate.end();
});

check("overview: without scripts, a link loads it again", async ({ open }) => {
  const tollgate = await start();
  const page = await signInConsole(await open(), tollgate);
  tollgate.put("bad.toml", HOSTILE);
  await reloaded(page, page.getByText(/bad\.toml/), () => page.getByRole("link", { name: "Refresh" }).click());
  await tollgate.end();
}, { javaScriptEnabled: false });
