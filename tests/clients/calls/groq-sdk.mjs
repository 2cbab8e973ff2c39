import Groq, { toFile } from 'groq-sdk'

import { BROWSER, GATEWAY, HELLO, TOOL, joined, readable, run, weather } from './harness.mjs'

const client = (token) => new Groq({ baseURL: `${GATEWAY}/proxy/groq`, apiKey: token, dangerouslyAllowBrowser: BROWSER })
const chat = async (api, model = 'model-1') => (await api.chat.completions.create({ model, messages: HELLO })).choices[0].message.content
const stream = async (api, model = 'model-1') =>
  joined(await api.chat.completions.create({ model, messages: HELLO, stream: true }), (chunk) => chunk.choices[0]?.delta.content)

async function tools(api) {
  const ask = async (messages) => (await api.chat.completions.create({ model: 'model-1', messages, tools: [TOOL] })).choices[0].message
  const first = await ask(HELLO)
  const [call] = first.tool_calls
  return (await ask([...HELLO, first, { role: 'tool', tool_call_id: call.id, content: weather(JSON.parse(call.function.arguments)) }])).content
}

const calls = {
  chat,
  stream,
  'a tool loop': tools,
  embeddings: async (api) => (await api.embeddings.create({ model: 'model-1', input: 'hello' })).data[0].embedding,
  models: async (api) => (await api.models.list()).data[0].id,
  'a model': async (api) => (await api.models.retrieve('model-1')).id,
  transcriptions: async (api) => (await api.audio.transcriptions.create({ model: 'model-1', file: await toFile(new Blob(['wav']), 'a.wav') })).text,
  'file upload': async (api) => (await api.files.create({ file: await toFile(new Blob(['hello']), 'a.txt'), purpose: 'batch' })).id,
  batches: async (api) => (await api.batches.list()).data[0].id,
  'headers of an answer': async (api) => readable((await api.chat.completions.create({ model: 'model-1', messages: HELLO }).asResponse()).headers),
  'headers of a 429': (api) => chat(api, 'status-429').catch((error) => readable(error.headers)),
}

await run(client, calls, { chat, stream })
