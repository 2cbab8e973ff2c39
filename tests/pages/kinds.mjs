// Fields of kinds on the page of keys: values that are shown, choices, pasted documents, several fields of a section saved in
// one change, the hosts that values lead to, and the confirmation that a changed value needs. The console's page does the same.

import assert from "node:assert/strict";
import { accessible, check, control, row, save, saved, shows, signIn, signInConsole } from "./browser.mjs";
import { Tollgate } from "./tollgate.mjs";

const REGION = "regional.region";
const PLAN = "regional.plan";
const KEY = "regional.apiKey";
const ACCOUNT = "regional.account";
const FILE = `
title = "Regional"
group = "main"
base_url = "https://{region}-{plan}.api.example"
path_prefix = "/regional"
[credentials]
section = "regional"
[[credentials.field]]
name = "region"
label = "Region"
kind = "text"
pattern = "[a-z]{2}"
[[credentials.field]]
name = "plan"
label = "Plan"
kind = "text"
one_of = ["free", "paid"]
default = "free"
[[credentials.field]]
name = "apiKey"
label = "API key"
[[credentials.field]]
name = "account"
label = "Account"
kind = "json"
optional = true
parts = { email = "/client_email" }
[[auth]]
field = "apiKey"
set = { x-key = "{secret}", x-email = "{account.email}" }
[endpoint.get]
method = "GET"
path = "/get"
`;

const LAN = `
title = "Models at home"
group = "main"
base_url = "{server}/v1"
path_prefix = "/lan"
[credentials]
section = "lan"
[[credentials.field]]
name = "server"
label = "Server"
kind = "origin"
[[credentials.field]]
name = "apiKey"
label = "API key"
optional = true
[[auth]]
field = "apiKey"
set = { x-key = "{secret}" }
[endpoint.get]
method = "GET"
path = "/get"
`;

const tollgate = await Tollgate.start({ "regional.toml": FILE, "lan.toml": LAN }, ["--user-origins", "http://*.lan:8000"]);

/** A page of keys for a new user who has stored these credentials of the section. */
async function keys(open, stored) {
  const user = await tollgate.user({ creds: stored ? { regional: stored } : {} });
  return { user, page: await signIn(await open(), tollgate, user.token) };
}

const value = async (page, place) => control(page, place).inputValue();
/** The host that a row shows. */
const host = (page, place) => row(page, place).locator("code[data-template]").textContent();

check("the fields of a section are saved in one change, and values are shown", async ({ open }) => {
  const { user, page } = await keys(open);
  await shows(row(page, KEY), "{region}-free.api.example");
  await shows(row(page, ACCOUNT), "optional");
  await control(page, REGION).fill("eu");
  await control(page, PLAN).selectOption("paid");
  await control(page, KEY).fill("sk-0123456789abcdefgh");
  await control(page, ACCOUNT).fill(JSON.stringify({ client_email: "a@b.example" }));
  await shows(page, "4 unsaved changes");
  await saved(page);
  assert.deepEqual([await value(page, REGION), await value(page, PLAN)], ["eu", "paid"]);
  await shows(row(page, KEY), "eu-paid.api.example");
  await shows(row(page, REGION), "eu-paid.api.example");
  assert.deepEqual(await user.creds(), {
    regional: { region: "eu", plan: "paid", apiKey: "sk-01234...efgh", account: { status: "configured" } },
  });
  assert.ok(!(await page.content()).includes("a@b.example"), "the page shows a part of a document");
  assert.equal(await page.locator("#changes").textContent(), "");
});

check("a changed value asks for a confirmation of the key's new host", async ({ open }) => {
  const { page } = await keys(open, { region: "eu", apiKey: "sk-0123456789abcdefgh" });
  await control(page, REGION).fill("us");
  await shows(page, "1 unsaved change");
  await saved(page);
  await shows(page, "https://eu-free.api.example");
  await shows(page, "https://us-free.api.example");
  await shows(row(page, KEY), "Waits");
  await page.getByRole("button", { name: /Send it there/ }).click();
  await shows(row(page, KEY), "Stored");
});

check("secrets of one move are confirmed by one button", async ({ open }) => {
  const { page } = await keys(open, { region: "eu", apiKey: "sk-0123456789abcdefgh", account: { client_email: "a@b.example" } });
  await control(page, REGION).fill("us");
  await saved(page);
  await shows(page, "your API key, Account wait for your confirmation");
  await page.getByRole("button", { name: /Send them there.*Regional API key, Account/ }).click();
  await shows(row(page, KEY), "Stored");
  await shows(row(page, ACCOUNT), "Stored");
});

check("a section that holds something says what it still needs", async ({ open }) => {
  const { page } = await keys(open, { region: "eu" });
  await shows(row(page, KEY), "Needed");
  await shows(row(page, ACCOUNT), "Not set");
  assert.equal(await row(page, "lan.server").getByText("Needed").count(), 0);
});

check("a bad value is marked, and an emptied one is removed", async ({ open }) => {
  const { user, page } = await keys(open, { region: "eu", apiKey: "sk-0123456789abcdefgh" });
  await control(page, REGION).fill("EU 1");
  await save(page);
  await shows(row(page, REGION).locator(".error"), "does not match");
  await row(page, REGION).getByRole("button", { name: /Undo/ }).click();
  assert.equal(await value(page, REGION), "eu");
  await control(page, ACCOUNT).fill(`{"other": 1}`);
  await save(page);
  await shows(row(page, ACCOUNT).locator(".error"), "/client_email");
  await row(page, ACCOUNT).getByRole("button", { name: /Undo/ }).click();
  await control(page, REGION).fill("");
  await saved(page);
  assert.deepEqual(await user.creds(), { regional: { apiKey: "sk-01234...efgh" } });
});

check("hosts are filled in while values are typed", async ({ open }) => {
  const { page } = await keys(open);
  const both = async (expected) => assert.deepEqual([await host(page, KEY), await host(page, REGION)], [expected, expected]);
  await both("{region}-free.api.example");
  await control(page, REGION).pressSequentially("eu");
  await both("eu-free.api.example");
  await control(page, PLAN).selectOption("paid");
  await both("eu-paid.api.example");
  // What the file does not allow makes no host.
  for (const bad of ["e", "eu1", "x.evil.example/", "EU", "<b>"]) {
    await control(page, REGION).fill(bad);
    await both("{region}-paid.api.example");
  }
  await page.getByRole("button", { name: "Discard" }).click();
  await both("{region}-free.api.example");
  await control(page, "lan.server").fill("http://GPU.lan:8000");
  assert.equal(await host(page, "lan.server"), "http://gpu.lan:8000");
  for (const bad of ["gpu.lan", "http://gpu.lan:8000/v1", "ftp://gpu.lan", "javascript:alert(1)"]) {
    await control(page, "lan.server").fill(bad);
    assert.equal(await host(page, "lan.server"), "{server}");
  }
});

check("an origin of the user's own is saved if the operator allows it", async ({ open }) => {
  const { user, page } = await keys(open);
  await control(page, "lan.server").fill("http://elsewhere.example");
  await control(page, REGION).fill("eu");
  await save(page);
  await row(page, "lan.server").locator(".error:not([hidden])").waitFor();
  // All or nothing.
  assert.deepEqual(await user.creds(), {});
  await control(page, "lan.server").fill("http://gpu.lan:8000");
  await saved(page);
  assert.deepEqual(await user.creds(), { lan: { server: "http://gpu.lan:8000" }, regional: { region: "eu" } });
  assert.equal(await host(page, "lan.server"), "http://gpu.lan:8000");
});

check("without JavaScript, the page is as good", async ({ open }) => {
  const { user, page } = await keys(open);
  await shows(row(page, KEY), "{region}-free.api.example");
  await control(page, REGION).fill("eu");
  await control(page, PLAN).selectOption("paid");
  await control(page, KEY).fill("sk-0123456789abcdefgh");
  await save(page);
  await shows(page, "Saved.");
  await shows(row(page, KEY), "eu-paid.api.example");
  await control(page, REGION).fill("EU");
  await save(page);
  await shows(row(page, REGION).locator(".error"), "does not match");
  assert.equal(await value(page, REGION), "EU");
  assert.equal((await user.creds()).regional.region, "eu");
}, { javaScriptEnabled: false });

check("the console shows and changes the fields of a user", async ({ open }) => {
  const user = await tollgate.user({ creds: { regional: { region: "eu", apiKey: "sk-0123456789abcdefgh" } } });
  const page = await signInConsole(await open(), tollgate);
  await page.goto(`${tollgate.url}/console/users/${user.id}/keys`);
  assert.equal(await value(page, REGION), "eu");
  assert.equal(await host(page, KEY), "eu-free.api.example");
  await control(page, REGION).fill("us");
  await control(page, PLAN).selectOption("paid");
  assert.equal(await host(page, KEY), "us-paid.api.example");
  await accessible(page, "fields of a user: changed");
  await saved(page);
  await shows(page.locator(".note.warn"), "https://us-paid.api.example");
  await accessible(page, "fields of a user: a key that waits");
  await page.getByRole("button", { name: /Send it there/ }).click();
  await shows(row(page, KEY), "Stored");
  await page.goto(`${tollgate.url}/console/users/${user.id}`);
  await shows(page, "us-paid.api.example");
});

check("accessible: fields of kinds", async ({ open }) => {
  const { page } = await keys(open, { region: "eu", apiKey: "sk-0123456789abcdefgh" });
  await accessible(page, "kinds");
  await control(page, REGION).fill("EU 1");
  await control(page, ACCOUNT).fill("no JSON");
  await save(page);
  await shows(page, /not JSON/);
  await accessible(page, "kinds: refused");
});

/** The origins that a stored key is bound to. */
async function bound(user, section) {
  const { sections } = await user.call("GET", "/auth/fields");
  const fields = sections.find((one) => one.section === section).fields;
  return fields.find((one) => one.field === "apiKey").boundTo;
}

const LAN_KEY = "lan.apiKey";
const TYPED = "sk-typed-0123456789";

for (const javaScriptEnabled of [true, false]) {
  const how = javaScriptEnabled ? "with" : "without";

  check(`${how} JavaScript, a key goes to the host that the page showed, or nowhere`, async ({ open }) => {
    const { user, page } = await keys(open, { region: "eu" });
    await user.call("PUT", "/auth/creds", { lan: { server: "http://a.lan:8000" } });
    await page.reload();
    await user.call("PUT", "/auth/creds", { regional: { region: "us" }, lan: { server: "http://b.lan:8000" } });
    await control(page, KEY).fill(TYPED);
    await control(page, LAN_KEY).fill(TYPED);
    await save(page);
    for (const [place, now, seen] of [[KEY, "https://us-free.api.example", "https://eu-free.api.example"], [LAN_KEY, "http://b.lan:8000", "http://a.lan:8000"]]) {
      const error = row(page, place).locator(".error:not([hidden])");
      await shows(error, `would go to ${now} now, and not to ${seen}`);
      assert.equal(await value(page, place), TYPED);
    }
    // What was not typed is as it is stored now, and nothing was saved.
    assert.deepEqual([await value(page, REGION), await value(page, "lan.server")], ["us", "http://b.lan:8000"]);
    assert.equal((await user.creds()).regional.apiKey, undefined);
    assert.equal(await host(page, KEY), "us-free.api.example");
    if (javaScriptEnabled) await accessible(page, "hosts that changed");
    await saved(page);
    assert.deepEqual([await bound(user, "regional"), await bound(user, "lan")], [["https://us-free.api.example"], ["http://b.lan:8000"]]);
  }, { javaScriptEnabled });

  check(`${how} JavaScript, a value that another tab changed is not replaced unseen`, async ({ open }) => {
    const { user, page } = await keys(open, { region: "eu", plan: "free" });
    await user.call("PUT", "/auth/creds", { regional: { region: "de", plan: "paid" } });
    await control(page, REGION).fill("us");
    await control(page, KEY).fill(TYPED);
    await save(page);
    await shows(row(page, REGION).locator(".error:not([hidden])"), "`de` is stored now");
    assert.deepEqual([await value(page, REGION), await value(page, PLAN), await value(page, KEY)], ["us", "paid", TYPED]);
    assert.equal((await user.creds()).regional.region, "de");
    await saved(page);
    assert.deepEqual(await user.creds(), { regional: { region: "us", plan: "paid", apiKey: "sk-typed...6789" } });
    assert.deepEqual(await bound(user, "regional"), ["https://us-paid.api.example"]);
  }, { javaScriptEnabled });
}

check("a stored key stays at its host while values are typed", async ({ open }) => {
  const { user, page } = await keys(open, { region: "eu", apiKey: "sk-0123456789abcdefgh" });
  const hosts = row(page, KEY).locator(".hosts");
  const says = async (text) => assert.equal((await hosts.innerText()).replace(/\s+/g, " ").trim(), text);
  await says("Goes to eu-free.api.example");
  await control(page, REGION).fill("us");
  await says("Stays at eu-free.api.example until confirmed for us-free.api.example");
  await accessible(page, "a key that stays");
  await control(page, KEY).fill(TYPED);
  await says("Goes to us-free.api.example");
  await control(page, KEY).fill("");
  await control(page, REGION).fill("");
  await says("Goes to {region}-free.api.example: region is missing");
  await saved(page);
  await says("Goes to {region}-free.api.example: region is missing");
  assert.equal(await page.getByRole("button", { name: /Send it there/ }).count(), 0);
  await control(page, REGION).fill("zz");
  await saved(page);
  await says("Stays at eu-free.api.example until confirmed for zz-free.api.example");
  // The first value completes the host that the key was stored for.
  await user.call("PUT", "/auth/creds", { regional: null });
  await user.call("PUT", "/auth/creds", { regional: { apiKey: "sk-0123456789abcdefgh" } });
  await page.reload();
  await control(page, REGION).fill("us");
  await says("Goes to us-free.api.example");
  await saved(page);
  await says("Goes to us-free.api.example");
});

check("a shared key is shown at the host of its holder", async ({ open }) => {
  const { user, page } = await keys(open);
  await tollgate.call("PATCH", "/admin/credentials/everybody", { lan: { server: "http://gpu.lan:8000", apiKey: "sk-everybody-0123456" } });
  await user.call("PUT", "/auth/creds", { lan: { server: "http://mine.lan:8000" } });
  await page.reload();
  await shows(row(page, LAN_KEY), "Shared by everybody");
  assert.deepEqual([await host(page, LAN_KEY), await host(page, "lan.server")], ["http://gpu.lan:8000", "http://mine.lan:8000"]);
  await control(page, LAN_KEY).fill(TYPED);
  assert.equal(await host(page, LAN_KEY), "http://mine.lan:8000");
  await saved(page);
  assert.deepEqual(await bound(user, "lan"), ["http://mine.lan:8000"]);
  await tollgate.call("PATCH", "/admin/credentials/everybody", { lan: null });
});
