// All tests of the pages, in one process with one browser: see tests/pages.sh.

import { after } from "node:test";
import { browser } from "./browser.mjs";
import { endAll } from "./tollgate.mjs";
import { fake } from "./world.mjs";

import "./sign_in.mjs";
import "./keys.mjs";
import "./connect.mjs";
import "./trouble.mjs";
import "./hostile.mjs";
import "./access.mjs";
import "./console_overview.mjs";
import "./console_accounts.mjs";
import "./console_tools.mjs";
import "./console_audit.mjs";

after(async () => {
  await browser.close();
  await endAll();
  fake.stop();
});
