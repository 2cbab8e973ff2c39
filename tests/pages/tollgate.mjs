// A tollgate under test: the built binary on a free port with a data directory and provider files of its own, and a fake
// upstream in this process. Waits end with an event, never after a guessed time.

import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, get } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const BINARY = resolve(process.env.TOLLGATE_BINARY ?? "target/debug/tollgate");

/** An HTTP server of this process, on a free port of 127.0.0.1. */
export async function listen(handler) {
  const server = createServer(handler);
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  // A test that fails does not keep the process running.
  server.unref();
  return { port: server.address().port, stop: () => { server.closeAllConnections(); server.close(); } };
}

/** An upstream that answers each chat with ten tokens in and five out. */
export const upstream = () => listen((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const { model } = JSON.parse(Buffer.concat(chunks).toString() || "{}");
    const usage = { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 };
    const choices = [{ index: 0, message: { role: "assistant", content: "hello" }, finish_reason: "stop" }];
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ id: "1", object: "chat.completion", model, choices, usage }));
  });
});

const running = new Set();

/** Ends every tollgate that a test has started. */
export const endAll = () => Promise.all([...running].map((tollgate) => tollgate.end()));

/** A running tollgate, and calls of its API. */
export class Tollgate {
  #process = null;
  #port = 0;
  #dir = mkdtempSync(join(tmpdir(), "tollgate-pages-"));
  /** The flags of `serve` that are not fixed. */
  #flags;

  constructor(files, flags = ["--allow-private"]) {
    this.#flags = flags;
    mkdirSync(join(this.#dir, "providers.d/clients"), { recursive: true });
    for (const shared of ["apis", "presets"]) {
      cpSync(resolve("providers.d", shared), join(this.#dir, "providers.d", shared), { recursive: true });
    }
    for (const [name, text] of Object.entries(files)) this.#write(name, text);
  }

  static async start(files, flags) {
    const tollgate = new Tollgate(files, flags);
    await tollgate.start();
    return tollgate;
  }

  get port() { return this.#port; }
  get url() { return `http://127.0.0.1:${this.#port}`; }

  /** Starts it, on the port that it had before if it ran. */
  async start() {
    const flags = ["--listen", `127.0.0.1:${this.#port}`, "--data", "data", "--providers", "providers.d", "--workers", "1"];
    const env = { PATH: process.env.PATH, no_proxy: "127.0.0.1" };
    const stdio = ["ignore", "ignore", "pipe"];
    this.#process = spawn(BINARY, ["serve", ...flags, "--log-format", "json", ...this.#flags], { cwd: this.#dir, env, stdio });
    running.add(this);
    const lines = createInterface({ input: this.#process.stderr });
    const log = [];
    this.#port = await new Promise((done, fail) => {
      lines.on("line", (line) => {
        log.push(line);
        const { message, address } = JSON.parse(line);
        if (message === "listening") done(Number(address.split(":").at(-1)));
      });
      this.#process.once("exit", () => fail(new Error(`tollgate ended:\n${log.join("\n")}`)));
    });
    this.admin = readFileSync(join(this.#dir, "data/admin-token"), "utf8").trim();
    // Fails if a file does not serve.
    await this.call("POST", "/admin/reload");
  }

  /** Stops it. The data stay. */
  async stop() {
    if (this.#process.exitCode !== null) return;
    const ended = new Promise((done) => this.#process.once("exit", done));
    this.#process.kill("SIGTERM");
    await ended;
  }

  async end() {
    await this.stop();
    running.delete(this);
    rmSync(this.#dir, { recursive: true });
  }

  #write(name, text) { writeFileSync(join(this.#dir, "providers.d", name), text); }

  /** Writes a provider file, good or broken, and waits for nothing. */
  put(name, text) { this.#write(name, text); }

  /** Writes a provider file while tollgate serves, and waits until it is read. */
  async drop(name, text) {
    this.#write(name, text);
    await this.call("POST", "/admin/reload");
  }

  /** Calls the API with a token: the admin's by default. Returns the document of an answer that is no error. */
  async call(method, path, body, token = this.admin) {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const response = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body) });
    const document = await response.json().catch(() => null);
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(document)}`);
    return document;
  }

  /** A new user. Returns the id, and calls in the user's name. */
  async user(details = {}) {
    const { userId, token } = await this.call("POST", "/admin/users", { name: "alice", ...details });
    const call = (method, path, body) => this.call(method, path, body, token);
    return { id: userId, token, call, creds: () => call("GET", "/auth/creds") };
  }

  /** The bytes of an answer, as they are sent to a browser that takes gzip. */
  async bytes(path, cookie = "") {
    const headers = { "accept-encoding": "gzip", cookie };
    return await new Promise((done, fail) => {
      get(this.url + path, { headers, agent: false }, (response) => {
        let bytes = 0;
        response.on("data", (chunk) => { bytes += chunk.length; });
        response.on("end", () => done({ bytes, coding: response.headers["content-encoding"] }));
      }).on("error", fail);
    });
  }
}

/** A provider file with one API key in a section of its name. */
export const provider = (port, { title, group = "main", host = "127.0.0.1", more = "" }) => `
title = ${JSON.stringify(title)}
base_url = "http://${host}:${port}"
extends = "openai-compatible"
group = "${group}"
${more}
`;

/** A provider file with a login in the section `codex`, whose file can be pasted. */
export const login = (port) => `
title = "Codex"
base_url = "http://127.0.0.1:${port}"
path_prefix = "/codex"
group = "main"
[credentials]
section = "codex"
[[credentials.field]]
name = "oauth"
label = "Codex login"
hint = "paste auth.json"
kind = "oauth2"
token_url = "http://127.0.0.1:${port}/token"
client_id = "app"
grant = "refresh_token"
paste = { accessToken = "/tokens/access_token", refreshToken = "/tokens/refresh_token" }
[[auth]]
field = "oauth"
set = { authorization = "Bearer {secret}" }
[endpoint.responses]
method = "POST"
path = "/responses"
api = "responses"
`;
