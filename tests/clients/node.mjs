// What harness.mjs needs of its surroundings, in Node.

import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { pathToFileURL } from 'node:url'

export const BROWSER = false
export const { env } = process

// Over a connection of its own, which no call uses.
export async function send(name, saw) {
  await new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' }
    const asked = request(`${env.CLIENTS_GATEWAY}/case`, { method: 'POST', headers, agent: false }, (answer) => answer.resume().on('end', resolve))
    const body = JSON.stringify({ case: name, saw })
    asked.on('error', reject).setHeader('content-length', Buffer.byteLength(body)).end(body)
  })
}

export async function snippet() {
  const path = `${process.cwd()}/snippet.mjs`
  writeFileSync(path, env.CLIENTS_SNIPPET)
  await import(pathToFileURL(path))
}
