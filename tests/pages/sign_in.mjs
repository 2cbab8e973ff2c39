// Signing in and out: which token, which cookie, and what stays in the browser.

import assert from "node:assert/strict";
import { check, shows, signIn } from "./browser.mjs";
import { tollgate } from "./world.mjs";

/** What the sign-in form answers to a token. */
async function refused(open, token, expected) {
  const page = await open();
  await page.goto(`${tollgate.url}/config`);
  await page.getByLabel("Your gateway token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await shows(page, expected);
  assert.equal(await page.getByLabel("Your gateway token").getAttribute("aria-invalid"), "true");
  assert.deepEqual(await page.context().cookies(), []);
}

check("a wrong token does not sign in, and the form says so", async ({ open }) => {
  await refused(open, "not-a-token", "This token is not valid here");
});

check("a token for providers alone does not sign in", async ({ open }) => {
  const user = await tollgate.user();
  const { token } = await user.call("POST", "/auth/tokens", { kind: "proxy" });
  await refused(open, token, /manage/);
});

check("an admin token does not sign in to a user's pages", async ({ open }) => {
  await refused(open, tollgate.admin, "This is an admin token: sign in with it at /console");
});

check("a session is a strict cookie that no script can read, and no token stays in the browser", async ({ open, context }) => {
  const user = await tollgate.user();
  const page = await signIn(await open(), tollgate, user.token);
  const [cookie, ...more] = await context.cookies();
  assert.deepEqual(more, []);
  const { name, httpOnly, sameSite, path, secure, domain } = cookie;
  assert.deepEqual({ name, httpOnly, sameSite, path, secure, domain },
    { name: "tollgate", httpOnly: true, sameSite: "Strict", path: "/", secure: false, domain: "127.0.0.1" });
  const hours = (cookie.expires - Date.now() / 1000) / 3600;
  assert.ok(hours > 7.9 && hours <= 8, `${hours} hours`);
  assert.notEqual(cookie.value, user.token);
  const stored = await page.evaluate(() => [document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage), location.href]);
  assert.deepEqual(stored, ["", "{}", "{}", `${tollgate.url}/config`]);
  assert.ok(!(await page.content()).includes(user.token));
});

check("signing in makes a new session: a cookie that was there is never adopted", async ({ open, context }) => {
  const victim = await tollgate.user();
  const planted = { name: "tollgate", value: "planted-by-somebody-else", url: tollgate.url };
  await context.addCookies([planted]);
  await signIn(await open(), tollgate, victim.token);
  const first = (await context.cookies())[0].value;
  assert.notEqual(first, planted.value);
  // Again, in the same browser: the first session ends.
  await context.clearCookies();
  await context.addCookies([{ ...planted, value: first }]);
  const page = await open();
  await page.goto(`${tollgate.url}/config`);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Your gateway token").waitFor();
  await context.addCookies([{ ...planted, value: first }]);
  await page.goto(`${tollgate.url}/config`);
  await page.getByLabel("Your gateway token").waitFor();
});

check("signing out ends the session, and removes the cookie", async ({ open, context }) => {
  const user = await tollgate.user();
  const page = await signIn(await open(), tollgate, user.token);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Your gateway token").waitFor();
  assert.deepEqual(await context.cookies(), []);
  const kinds = Object.values(await user.call("GET", "/auth/tokens")).map((token) => token.kind);
  assert.ok(!kinds.includes("session"), kinds.join());
});

check("a user who was disabled sees that, and nothing else", async ({ open, problems }) => {
  const user = await tollgate.user({ name: "bob" });
  const page = await signIn(await open(), tollgate, user.token);
  await tollgate.call("PATCH", `/admin/users/${user.id}`, { disabled: true });
  await page.reload();
  await page.getByText("user_disabled").waitFor();
  assert.equal(await page.locator("#keys").count(), 0);
  assert.deepEqual(problems, []);
});
