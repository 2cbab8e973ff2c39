// Pictures of the pages for the README, with demo data: keys that are stored, and usage that real calls to the fake upstream made.

import { mkdirSync } from "node:fs";
import { browser, row, signIn } from "./browser.mjs";
import { endAll, provider, Tollgate, upstream } from "./tollgate.mjs";

const DIR = process.env.SHOTS;
const KEY = "sk-0123456789abcdefgh";
const MODELS = [["north", "north-large"], ["north", "north-small"], ["harbor", "harbor-chat"], ["meadow", "meadow-mini"]];

const fake = await upstream();
const file = (title, group) => provider(fake.port, { title, group, more: `keys_url = "https://example.com/keys"` });
const tollgate = await Tollgate.start({
  "north.toml": file("North", "main"),
  "harbor.toml": file("Harbor", "main"),
  "meadow.toml": file("Meadow", "main"),
  "quarry.toml": file("Quarry", "additional"),
  "willow.toml": file("Willow", "additional"),
});
await tollgate.call("PATCH", "/admin/credentials/everybody", { providers: { meadow: { apiKey: KEY } } });
const user = await tollgate.user({ creds: { providers: { north: { apiKey: KEY }, harbor: { apiKey: KEY } } } });
for (const [index, [name, model]] of MODELS.entries()) {
  for (let call = 0; call < 12 - 3 * index; call += 1) {
    await user.call("POST", `/proxy/${name}/v1/chat/completions`, { model, messages: [] });
  }
}

mkdirSync(DIR, { recursive: true });
const page = await signIn(await browser.newPage({ reducedMotion: "reduce" }), tollgate, user.token);
await row(page, "providers.north.apiKey").waitFor();
await page.goto(`${tollgate.url}/config/usage`);
while ((await page.locator("tbody tr").count()) < MODELS.length) await page.reload();
for (const [name, path] of [["keys", "/config"], ["usage", "/config/usage"]]) {
  await page.goto(tollgate.url + path);
  for (const colorScheme of ["light", "dark"]) {
    for (const [width, height] of [[360, 720], [1920, 1080]]) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.screenshot({ path: `${DIR}/${name}-${colorScheme}-${width}.png` });
    }
  }
}
await browser.close();
await endAll();
fake.stop();
