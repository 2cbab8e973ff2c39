import OpenAI, { toFile } from 'openai'

import { BROWSER, GATEWAY, HELLO, TOOL, joined, readable, run, weather } from './harness.mjs'

const client = (token) => new OpenAI({ baseURL: `${GATEWAY}/openai/v1`, apiKey: token, dangerouslyAllowBrowser: BROWSER })
const chat = async (api, model = 'model-1') => (await api.chat.completions.create({ model, messages: HELLO })).choices[0].message.content
const stream = async (api, model = 'model-1') =>
  joined(await api.chat.completions.create({ model, messages: HELLO, stream: true }), (chunk) => chunk.choices[0]?.delta.content)

async function tools(api) {
  const ask = async (messages) => (await api.chat.completions.create({ model: 'model-1', messages, tools: [TOOL] })).choices[0].message
  const first = await ask(HELLO)
  const [call] = first.tool_calls
  return (await ask([...HELLO, first, { role: 'tool', tool_call_id: call.id, content: weather(JSON.parse(call.function.arguments)) }])).content
}

async function responsesTools(api) {
  const tool = { type: 'function', strict: false, ...TOOL.function }
  const [call] = (await api.responses.create({ model: 'model-1', input: HELLO, tools: [tool] })).output
  const output = { type: 'function_call_output', call_id: call.call_id, output: weather(JSON.parse(call.arguments)) }
  return (await api.responses.create({ model: 'model-1', input: [...HELLO, call, output], tools: [tool] })).output_text
}

const calls = {
  chat,
  stream,
  'a tool loop': tools,
  embeddings: async (api) => (await api.embeddings.create({ model: 'model-1', input: 'hello' })).data[0].embedding,
  models: (api) => joined(api.models.list(), (model) => model.id),
  'a model': async (api) => (await api.models.retrieve('model-1')).id,
  responses: async (api) => (await api.responses.create({ model: 'model-1', input: 'hello' })).output_text,
  'responses, a stream': async (api) => joined(await api.responses.create({ model: 'model-1', input: 'hello', stream: true }), (event) => event.type === 'response.output_text.delta' ? event.delta : ''),
  'responses, a tool loop': responsesTools,
  images: async (api) => (await api.images.generate({ model: 'model-1', prompt: 'hello' })).data[0].b64_json,
  speech: async (api) => (await api.audio.speech.create({ model: 'model-1', voice: 'alloy', input: 'hello' })).text(),
  transcriptions: async (api) => (await api.audio.transcriptions.create({ model: 'model-1', file: await toFile(new Blob(['wav']), 'a.wav') })).text,
  moderations: async (api) => (await api.moderations.create({ input: 'hello' })).results[0].flagged,
  'file upload': async (api) => (await api.files.create({ file: await toFile(new Blob(['hello']), 'a.txt'), purpose: 'batch' })).id,
  files: (api) => joined(api.files.list(), (file) => file.id),
  'file content': async (api) => (await api.files.content('file-1')).text(),
  batches: (api) => joined(api.batches.list(), (batch) => batch.id),
  'vector stores': async (api) => (await api.vectorStores.create({ name: 'n' })).id,
  'headers of an answer': async (api) => readable((await api.chat.completions.create({ model: 'model-1', messages: HELLO }).asResponse()).headers),
  'headers of an answer to a request with cookies': async (api) => {
    const withCookies = api.withOptions({ fetchOptions: { credentials: 'include' }, maxRetries: 0 })
    return readable((await withCookies.chat.completions.create({ model: 'model-1', messages: HELLO }).asResponse()).headers)
  },
  'headers of a 429': (api) => chat(api, 'status-429').catch((error) => readable(error.headers)),
}

await run(client, calls, { chat, stream })
