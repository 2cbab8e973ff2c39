// What harness.mjs needs of its surroundings, in a page: browser.mjs puts it there.

export const BROWSER = true
export const env = globalThis.CLIENTS
export const send = (name, saw) => globalThis.send(name, saw)
export const snippet = () => import(new URL('/snippet.mjs', location))
