// Pictures of each page for the README and for reviews, with demo data: keys that are stored, and usage that real calls to the
// fake upstream made.

import { mkdirSync } from "node:fs";
import { browser, reloaded, signIn, signInConsole } from "./browser.mjs";
import { endAll, provider, Tollgate, upstream } from "./tollgate.mjs";

const DIR = process.env.SHOTS;
const KEY = "sk-0123456789abcdefgh";
const MODELS = [["north", "north-large"], ["north", "north-small"], ["harbor", "harbor-chat"], ["meadow", "meadow-mini"]];
const NAMES = ["ada", "grace", "edsger", "barbara", "donald"];

const fake = await upstream();
const file = (title, group = "main") => provider(fake.port, { title, group, more: `keys_url = "https://example.com/keys"` });
const files = { "north.toml": file("North"), "harbor.toml": file("Harbor"), "meadow.toml": file("Meadow") };
for (const title of ["Quarry", "Willow"]) files[`${title.toLowerCase()}.toml`] = file(title, "additional");
const tollgate = await Tollgate.start(files);

const mine = { providers: { north: { apiKey: KEY }, harbor: { apiKey: KEY } } };
await tollgate.call("PATCH", "/admin/credentials/everybody", { providers: { meadow: { apiKey: KEY } } });
await tollgate.call("PATCH", "/admin/credentials/groups/research", { providers: { quarry: { apiKey: KEY } } });
const users = [];
for (const name of NAMES) users.push(await tollgate.user({ name, group: name < "d" ? "research" : undefined, creds: mine }));
const user = users[0];
for (const [person, one] of users.entries()) {
  for (const [index, [name, model]] of MODELS.entries()) {
    for (let call = 0; call < 12 - 3 * index - person; call += 1) {
      await one.call("POST", `/proxy/${name}/v1/chat/completions`, { model, messages: [] });
    }
  }
}
await user.call("POST", "/auth/tokens", { label: "laptop", kind: "proxy", scopes: ["north"] });

/** A change of a file that no gateway should serve: its host is missing. */
const BROKEN = `title = "Quarry"\nbase_url = "https://"\nextends = "openai-compatible"\ngroup = "main"\n`;

/** Takes the pictures of one page as it is now. */
async function take(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    for (const [width, height] of [[360, 720], [1920, 1080]]) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.screenshot({ path: `${DIR}/${name}-${colorScheme}-${width}.png` });
    }
  }
}

/** Takes the pictures of the pages at these paths. */
async function visit(page, paths) {
  for (const [name, path] of Object.entries(paths)) {
    await page.goto(tollgate.url + path);
    await take(page, name);
  }
}

mkdirSync(DIR, { recursive: true });
const own = await browser.newPage({ reducedMotion: "reduce" });
await visit(own, { "sign-in": "/config" });
await signIn(own, tollgate, user.token);
await own.goto(`${tollgate.url}/config/usage`);
await reloaded(own, own.getByText(MODELS.at(-1)[1]));
await visit(own, {
  keys: "/config", connect: "/config/connect", "connect-one": "/config/connect/north", usage: "/config/usage", tokens: "/config/tokens",
});

const page = await browser.newPage({ reducedMotion: "reduce" });
await signInConsole(page, tollgate);
await page.getByText("Requests by hour").waitFor();
tollgate.put("willow.toml", BROKEN);
await page.getByText(/willow\.toml/).first().waitFor();
const asked = new URLSearchParams({ method: "POST", path: "/proxy/north/v1/chat/completions", user: "ada" });
await visit(page, {
  "console-overview": "/console",
  "console-providers": "/console/providers",
  "console-provider": "/console/providers/item?file=willow.toml",
  "console-explain": `/console/explain?${asked}`,
  "console-users": "/console/users",
  "console-user": `/console/users/${user.id}`,
  "console-shared": "/console/shared",
  "console-shared-group": "/console/shared/groups/research",
  "console-tokens": "/console/tokens",
  "console-usage": "/console/usage",
  "console-tail": "/console/usage/tail",
  "console-audit": "/console/audit",
});
await page.goto(`${tollgate.url}/console/check`);
await page.getByLabel("File").fill("quarry.toml");
await page.locator("#text").fill(BROKEN);
await page.getByRole("button", { name: "Check" }).click();
await page.locator("mark").first().waitFor();
await take(page, "console-check");

await browser.close();
await endAll();
fake.stop();
