import { GoogleGenAI } from '@google/genai'

import { GATEWAY, PARAMETERS, joined, run, weather } from './harness.mjs'

const client = (token) => new GoogleGenAI({ apiKey: token, httpOptions: { baseUrl: `${GATEWAY}/proxy/gemini` } })
const chat = async (api, model = 'model-1') => (await api.models.generateContent({ model, contents: 'hello' })).text
const stream = async (api, model = 'model-1') => joined(await api.models.generateContentStream({ model, contents: 'hello' }), (chunk) => chunk.text)

async function tools(api) {
  const config = { tools: [{ functionDeclarations: [{ name: 'weather', parametersJsonSchema: PARAMETERS }] }] }
  const question = { role: 'user', parts: [{ text: 'hello' }] }
  const first = await api.models.generateContent({ model: 'model-1', contents: [question], config })
  const [call] = first.functionCalls
  const result = { role: 'user', parts: [{ functionResponse: { name: call.name, response: { result: weather(call.args) } } }] }
  return (await api.models.generateContent({ model: 'model-1', contents: [question, first.candidates[0].content, result], config })).text
}

const calls = {
  chat,
  stream,
  'a tool loop': tools,
  embeddings: async (api) => (await api.models.embedContent({ model: 'model-1', contents: 'hello' })).embeddings[0].values,
  'count of tokens': async (api) => (await api.models.countTokens({ model: 'model-1', contents: 'hello' })).totalTokens,
  models: async (api) => joined(await api.models.list(), (model) => model.name),
  'a model': async (api) => (await api.models.get({ model: 'model-1' })).name,
  files: async (api) => joined(await api.files.list(), (file) => file.name),
}

await run(client, calls, { chat, stream })
