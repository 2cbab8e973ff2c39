// The browser of the tests: one Chromium for all, a context for each test. Every page is watched: a violation of its policy,
// an error of a script or a dialog fails the test that opened it.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

const require = createRequire(`${process.env.PAGES_TOOLS}/`);
const { chromium } = require("playwright-core");
const axe = require("axe-core").source;

export const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});

/** A test with a browser context of its own: `body({ open, context, problems })`. */
export function check(name, body, options = {}) {
  test(name, async () => {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(Number(process.env.PAGES_TIMEOUT ?? 20_000));
    const problems = [];
    await watch(context, problems);
    try {
      await body({ context, problems, open: () => context.newPage() });
      assert.deepEqual(problems, []);
    } finally {
      await context.close();
    }
  });
}

async function watch(context, problems) {
  await context.exposeBinding("report", (_, text) => { problems.push(text); });
  await context.addInitScript(() => {
    const violated = (event) => window.report(`policy: ${event.violatedDirective} ${event.blockedURI}`);
    document.addEventListener("securitypolicyviolation", violated);
  });
  context.on("page", (page) => {
    page.on("pageerror", (error) => problems.push(`script: ${error.message}`));
    page.on("console", (line) => { if (/Content Security Policy/.test(line.text())) problems.push(line.text()); });
    page.on("dialog", (dialog) => {
      if (dialog.type() !== "beforeunload") problems.push(`dialog: ${dialog.message()}`);
      dialog.accept().catch(() => {});
    });
  });
}

/** Waits until the page and its scripts are loaded: before that, a form is sent without them. */
export const ready = (page) => page.waitForLoadState("load");

/** Signs in by the form. Returns the page of keys. */
export async function signIn(page, tollgate, token) {
  await page.goto(`${tollgate.url}/config`);
  await page.getByLabel("Your gateway token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Keys" }).waitFor();
  await ready(page);
  return page;
}

/** Signs in as an operator. Returns the overview. */
export async function signInConsole(page, tollgate) {
  await page.goto(`${tollgate.url}/console`);
  await page.getByLabel("Admin token").fill(tollgate.admin);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await ready(page);
  return page;
}

/** The row of a field. */
export const row = (page, place) => page.locator(`.key[data-place="${place}"]`);
export const control = (page, place) => page.locator(`[name="set.${place}"]`);
export const save = (page) => page.getByRole("button", { name: "Save changes" }).click();

/** Saves, and waits for the page that says so. An earlier one may say so already. */
export async function saved(page) {
  const loaded = page.waitForEvent("load");
  await save(page);
  await loaded;
  await page.getByText("Saved.").waitFor();
}

/** Waits until a text is there. */
export const shows = (scope, text) => scope.getByText(text).first().waitFor();

/** Loads a page again until something is on it: the ledger is written within a second. */
export async function reloaded(page, target, again = () => page.reload()) {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await target.count()) return;
    await again();
  }
  assert.fail(`after 200 loads: no ${target}`);
}

/** Opens the confirmation of a revocation, and sends it. */
export async function revoke(scope, label) {
  await scope.getByLabel(`Revoke ${label}`, { exact: true }).click();
  await scope.getByRole("button", { name: `Revoke ${label} now` }).click();
}

/** Violations of WCAG 2.2 AA and what is wider than the page, in both colour schemes at both widths. */
export async function accessible(page, state) {
  const found = [];
  for (const width of [360, 1920]) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      const where = `${state}, ${colorScheme}, ${width} px`;
      found.push(...(await page.evaluate(violations, axe)).map((one) => `${where}: ${one}`));
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) found.push(`${where}: ${over} px wider than the page`);
    }
  }
  assert.deepEqual(found, []);
}

async function violations(source) {
  if (!window.axe) (0, eval)(source);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
  const { violations } = await window.axe.run(document, { runOnly: tags, resultTypes: ["violations"] });
  return violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`);
}
