// Makes the calls of one client in a page of Chromium, from an origin of its own: bundled, as applications are.
//
// usage: node browser.mjs CLIENT, which is one of calls/*.mjs without its ending. Run where node_modules stands, from a copy.

import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'

import { build } from 'esbuild'
import { chromium } from 'playwright-core'

import { env, send } from './node.mjs'

const { CLIENTS_GATEWAY, TOKEN, CLIENTS_WITHOUT_KEY, CLIENTS_REVOKED, CLIENTS_SNIPPET } = env

writeFileSync('snippet.mjs', CLIENTS_SNIPPET)
const entryPoints = { calls: `${process.argv[2]}.mjs`, snippet: 'snippet.mjs' }
await build({ entryPoints, bundle: true, format: 'esm', platform: 'browser', keepNames: true, outdir: 'out', outExtension: { '.js': '.mjs' }, logLevel: 'error' })

const files = { '/': ['text/html', '<!doctype html><title>A page of an application</title>'] }
for (const name of Object.keys(entryPoints)) files[`/${name}.mjs`] = ['text/javascript', readFileSync(`out/${name}.mjs`)]
const server = createServer(({ url }, answer) => {
  const [type, body] = files[url] ?? []
  answer.writeHead(type ? 200 : 404, { 'content-type': type ?? 'text/plain' }).end(body)
})
await once(server.listen(0, '127.0.0.1'), 'listening')

const browser = await chromium.launch({ executablePath: env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] })
try {
  const page = await browser.newPage()
  page.on('pageerror', (error) => { process.exitCode = 1; console.log(error) })
  await page.exposeFunction('send', send)
  await page.addInitScript((values) => { globalThis.CLIENTS = values }, { CLIENTS_GATEWAY, TOKEN, CLIENTS_WITHOUT_KEY, CLIENTS_REVOKED })
  await page.goto(`http://localhost:${server.address().port}/`)
  // The code of docs/clients.md takes its token from there.
  await page.evaluate((token) => { sessionStorage.token = token }, TOKEN)
  await page.evaluate(() => import(new URL('/calls.mjs', location)))
} finally {
  await browser.close()
  server.close()
}
