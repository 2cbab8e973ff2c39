// The tollgate that most tests share; each has users of its own.

import { login, provider, Tollgate, upstream } from "./tollgate.mjs";

export const fake = await upstream();
const one = (details) => provider(fake.port, details);

export const tollgate = await Tollgate.start({
  "acme.toml": one({ title: "Acme", more: `keys_url = "https://acme.example/keys"` }),
  "beta.toml": one({ title: "Beta" }),
  "codex.toml": login(fake.port),
  "gamma.toml": one({ title: "Gamma", group: "additional" }),
});
