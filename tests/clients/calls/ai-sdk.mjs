// The calls of the AI SDK, the same for each of its packages.

import { embed, generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai'

import { PARAMETERS, joined, run, weather } from './harness.mjs'

// `client` makes a provider of a token, and `embeds` says if it has embeddings.
export function runPackage(client, { embeds = false, more = {} }) {
  const chat = async (api, model = 'model-1') => (await generateText({ model: api(model), prompt: 'hello' })).text
  const stream = async (api, model = 'model-1') => {
    let failed
    const { textStream } = streamText({ model: api(model), prompt: 'hello', onError: ({ error }) => (failed = error) })
    const text = await joined(textStream, (part) => part)
    if (failed) throw failed
    return text
  }
  const tools = { weather: tool({ inputSchema: jsonSchema(PARAMETERS), execute: weather }) }
  const calls = {
    chat,
    stream,
    'a tool loop': async (api) => (await generateText({ model: api('model-1'), prompt: 'hello', tools, stopWhen: stepCountIs(3) })).text,
    ...(embeds && { embeddings: async (api) => (await embed({ model: api.textEmbeddingModel('model-1'), value: 'hello' })).embedding }),
    ...more,
  }
  return run(client, calls, { chat, stream })
}
