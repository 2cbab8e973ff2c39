// Makes the calls of one client in JavaScript: the same as harness.py, which says more.
//
// usage: node harness.mjs CLIENT, which is one of calls/*.mjs without its ending. Run where node_modules stands, from a copy.

import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { pathToFileURL } from 'node:url'

export const { CLIENTS_GATEWAY: GATEWAY, TOKEN, CLIENTS_WITHOUT_KEY: WITHOUT_KEY, CLIENTS_REVOKED: REVOKED } = process.env
export const VENDORS = 'sk-proj-0123456789abcdefghij'
export const HELLO = [{ role: 'user', content: 'hello' }]
export const PARAMETERS = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
export const TOOL = { type: 'function', function: { name: 'weather', description: 'The weather of a city', parameters: PARAMETERS } }
export const weather = ({ city }) => `sunny in ${city}`

export async function run(client, calls, { chat, stream, empty = '' }) {
  await report('the code of docs/clients.md', snippet)
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
  // Over a connection of its own, which no call uses.
  await new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' }
    const asked = request(`${GATEWAY}/case`, { method: 'POST', headers, agent: false }, (answer) => answer.resume().on('end', resolve))
    const body = JSON.stringify({ case: name, saw: String(saw) })
    asked.on('error', reject).setHeader('content-length', Buffer.byteLength(body)).end(body)
  })
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

async function snippet() {
  const path = `${process.cwd()}/snippet-${process.argv[2]}.mjs`
  writeFileSync(path, process.env.CLIENTS_SNIPPET)
  const printed = []
  const log = console.log
  console.log = (...parts) => printed.push(parts.join(' '))
  try {
    await import(pathToFileURL(path))
  } finally {
    console.log = log
  }
  return printed.join('\n').trim()
}
