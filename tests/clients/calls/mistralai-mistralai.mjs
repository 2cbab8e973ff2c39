import { Mistral } from '@mistralai/mistralai'

import { GATEWAY, HELLO, TOOL, joined, run, weather } from './harness.mjs'

const client = (token) => new Mistral({ serverURL: `${GATEWAY}/proxy/mistral`, apiKey: token })
const chat = async (api, model = 'model-1') => (await api.chat.complete({ model, messages: HELLO })).choices[0].message.content
const stream = async (api, model = 'model-1') => joined(await api.chat.stream({ model, messages: HELLO }), (event) => event.data.choices[0].delta.content)

async function tools(api) {
  const ask = async (messages) => (await api.chat.complete({ model: 'model-1', messages, tools: [TOOL] })).choices[0].message
  const first = await ask(HELLO)
  const [call] = first.toolCalls
  const result = { role: 'tool', name: 'weather', toolCallId: call.id, content: weather(JSON.parse(call.function.arguments)) }
  return (await ask([...HELLO, { role: 'assistant', toolCalls: [call] }, result])).content
}

const calls = {
  chat,
  stream,
  'a tool loop': tools,
  embeddings: async (api) => (await api.embeddings.create({ model: 'model-1', inputs: ['hello'] })).data[0].embedding,
  models: async (api) => (await api.models.list()).data[0].id,
  'a model': async (api) => (await api.models.retrieve({ modelId: 'model-1' })).id,
  'fill in the middle': async (api) => (await api.fim.complete({ model: 'model-1', prompt: 'hello' })).choices[0].message.content,
  moderations: async (api) => (await api.classifiers.moderate({ model: 'model-1', inputs: ['hello'] })).id,
  'file upload': async (api) => (await api.files.upload({ file: { fileName: 'a.txt', content: new Blob(['hello']) } })).id,
  files: async (api) => (await api.files.list()).data[0].id,
}

await run(client, calls, { chat, stream })
