// What happens in the middle of an edit: the session ends, the server is gone, and very many providers.

import assert from "node:assert/strict";
import { check, control, row, save, saved, shows, signIn } from "./browser.mjs";
import { provider, Tollgate } from "./tollgate.mjs";
import { fake, tollgate } from "./world.mjs";

const ACME = "providers.acme.apiKey";
const KEY = "sk-0123456789abcdefgh";
const MASK = "sk-01234...efgh";

/** Ends all sessions of a user. */
async function endSessions(user) {
  const tokens = Object.entries(await user.call("GET", "/auth/tokens"));
  for (const [id, token] of tokens) {
    if (token.kind === "session") await user.call("DELETE", `/auth/tokens/${id}`);
  }
}

check("a session that ends in mid-edit asks again, and goes on with what was typed", async ({ open }) => {
  const user = await tollgate.user();
  const page = await signIn(await open(), tollgate, user.token);
  await control(page, ACME).fill(KEY);
  await endSessions(user);
  await save(page);
  const dialog = page.getByRole("dialog");
  await shows(dialog, "Your sign-in has ended");
  // Not now: nothing is saved, and nothing is lost.
  await page.keyboard.press("Escape");
  assert.equal(await control(page, ACME).inputValue(), KEY);
  await save(page);
  await dialog.getByLabel("Your gateway token").fill("wrong");
  await dialog.getByRole("button", { name: "Sign in" }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel("Your gateway token").fill(user.token);
  await dialog.getByRole("button", { name: "Sign in" }).click();
  await shows(page, "Saved.");
  assert.deepEqual(await user.creds(), { providers: { acme: { apiKey: MASK } } });
});

/** A browser in which somebody else signs in, in a second tab, after a key was typed in the first. */
async function switched(open) {
  const [mine, other] = [await tollgate.user(), await tollgate.user({ name: "bob" })];
  const page = await signIn(await open(), tollgate, mine.token);
  await control(page, ACME).fill(KEY);
  const second = await open();
  await second.goto(`${tollgate.url}/config`);
  await second.getByRole("button", { name: "Sign out" }).click();
  await signIn(second, tollgate, other.token);
  return { mine, other, page };
}

check("a key is never saved for somebody who has signed in meanwhile, in another tab", async ({ open }) => {
  const { mine, other, page } = await switched(open);
  await save(page);
  await shows(page, /Somebody else has signed in/);
  assert.equal(await control(page, ACME).inputValue(), KEY, "what was typed stays");
  // The same, once nobody is signed in: the dialog takes the user of the page alone.
  await page.context().clearCookies();
  await save(page);
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Your gateway token").fill(other.token);
  await dialog.getByRole("button", { name: "Sign in" }).click();
  await shows(dialog, "This is the token of another user.");
  assert.deepEqual(await page.context().cookies(), [], "no session was started");
  await dialog.getByLabel("Your gateway token").fill(mine.token);
  await dialog.getByRole("button", { name: "Sign in" }).click();
  await shows(page, "Saved.");
  assert.deepEqual([await mine.creds(), await other.creds()], [{ providers: { acme: { apiKey: MASK } } }, {}]);
});

check("without JavaScript a key is never saved for somebody who has signed in meanwhile", async ({ open }) => {
  const { mine, other, page } = await switched(open);
  await save(page);
  await page.getByRole("heading", { name: "Nothing was changed" }).waitFor();
  await shows(page, /Somebody else has signed in/);
  await page.getByRole("link", { name: "Go back to the page" }).click();
  await page.getByRole("heading", { name: "Keys" }).waitFor();
  assert.deepEqual([await mine.creds(), await other.creds()], [{}, {}]);
}, { javaScriptEnabled: false });

check("without a session every page is the sign-in form", async ({ open }) => {
  const page = await open();
  for (const path of ["", "/usage", "/tokens", "/nothing"]) {
    await page.goto(`${tollgate.url}/config${path}`);
    await page.getByLabel("Your gateway token").waitFor();
  }
});

check("a server that is unreachable, or starts again, loses nothing that was typed, and the session stays", async ({ open }) => {
  const own = await Tollgate.start({ "acme.toml": provider(fake.port, { title: "Acme" }) });
  const user = await own.user();
  const page = await signIn(await open(), own, user.token);
  await control(page, ACME).fill(KEY);
  await own.stop();
  await save(page);
  await shows(page, /cannot be reached/);
  assert.equal(await control(page, ACME).inputValue(), KEY);
  await own.start();
  await saved(page);
  assert.deepEqual(await user.creds(), { providers: { acme: { apiKey: MASK } } });
  await own.end();
});

check("200 providers: a page of less than 100 KB, and a search", async ({ open, context }) => {
  const names = Array.from({ length: 200 }, (_, index) => `provider-${index}`);
  const file = (name, index) => provider(fake.port, { title: `Provider ${index}`, group: index < 20 ? "main" : "additional" });
  const many = await Tollgate.start(Object.fromEntries(names.map((name, index) => [`${name}.toml`, file(name, index)])));
  const user = await many.user();
  const page = await signIn(await open(), many, user.token);
  const begun = performance.now();
  await page.reload();
  await page.locator("#search").waitFor();
  const milliseconds = Math.round(performance.now() - begun);
  assert.equal(await page.locator(".key").count(), 200);

  const cookie = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
  const assets = await page.evaluate(() => performance.getEntriesByType("resource").map((one) => new URL(one.name).pathname));
  let total = 0;
  for (const path of ["/config", ...new Set(assets)]) {
    const { bytes, coding } = await many.bytes(path, cookie);
    assert.equal(coding, "gzip", path);
    total += bytes;
  }
  console.log(`# 200 providers: loaded in ${milliseconds} ms; ${total} bytes with all assets`);
  assert.ok(total < 100_000, `${total} bytes`);

  await page.getByLabel("Search providers").fill("provider 150");
  await row(page, "providers.provider-150.apiKey").waitFor();
  assert.equal(await page.locator(".key:visible").count(), 1);
  await page.getByLabel("Search providers").fill("none has this name");
  await shows(page, "No provider matches.");
  await page.getByLabel("Search providers").fill("");
  await row(page, "providers.provider-7.apiKey").waitFor();
  await many.end();
});
