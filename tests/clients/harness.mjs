// Makes the calls of one client in JavaScript: the same as harness.py, which says more.
//
// calls/*.mjs run it, from a copy where node_modules stands, with host.mjs beside them: that is node.mjs, or page.mjs in a browser.

import { BROWSER, env, send, snippet } from './host.mjs'

export { BROWSER }
export const { CLIENTS_GATEWAY: GATEWAY, TOKEN, CLIENTS_WITHOUT_KEY: WITHOUT_KEY, CLIENTS_REVOKED: REVOKED } = env
export const VENDORS = 'sk-proj-0123456789abcdefghij'
export const HELLO = [{ role: 'user', content: 'hello' }]
export const PARAMETERS = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
export const TOOL = { type: 'function', function: { name: 'weather', description: 'The weather of a city', parameters: PARAMETERS } }
export const weather = ({ city }) => `sunny in ${city}`

export async function run(client, calls, { chat, stream, empty = '' }) {
  await report('the code of docs/clients.md', () => printed(snippet))
  for (const [name, call] of Object.entries(calls)) await report(name, () => call(client(TOKEN)))
  const tokens = { 'no token': empty, "a vendor's key": VENDORS, 'a revoked token': REVOKED, 'no stored key': WITHOUT_KEY }
  for (const [name, token] of Object.entries(tokens)) await report(name, () => chat(client(token), 'model-1'))
  const models = { '429 of the upstream': 'status-429', '500 of the upstream': 'status-500', 'a slow upstream': 'slow' }
  for (const [name, model] of Object.entries(models)) await report(name, () => chat(client(TOKEN), model))
  if (stream) await report('a cut in a stream', () => stream(client(TOKEN), 'cut'))
}

export async function report(name, call) {
  let saw
  try {
    saw = await call()
  } catch (error) {
    saw = described(error)
  }
  await send(name, String(saw))
}

function described(error) {
  const status = error.status ?? error.statusCode ?? error.lastError?.statusCode ?? ''
  const name = error.constructor?.name && error.constructor.name !== 'Error' ? error.constructor.name : error.name
  return `${name} ${status}: ${error.message}`.replace(' :', ':')
}

// Joins what an asynchronous sequence yields, each mapped to text.
export async function joined(sequence, text) {
  let all = ''
  for await (const one of sequence) all += text(one) ?? ''
  return all
}

// What scripts can read: a page sees no header that the answer does not expose.
export function readable(headers) {
  const names = ['tollgate-request-id', 'retry-after', 'x-ratelimit-remaining-requests']
  return names.map((name) => `${name}: ${headers.get(name)}`).join(', ')
}

async function printed(code) {
  const lines = []
  const log = console.log
  console.log = (...parts) => lines.push(parts.join(' '))
  try {
    await code()
  } finally {
    console.log = log
  }
  return lines.join('\n').trim()
}
