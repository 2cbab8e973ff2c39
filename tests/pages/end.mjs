// Ends what all tests of a process share: the browser, every tollgate, and the fake upstream.

import { after } from "node:test";
import { browser } from "./browser.mjs";
import { endAll } from "./tollgate.mjs";
import { fake } from "./world.mjs";

after(async () => {
  await browser.close();
  await endAll();
  fake.stop();
});
