import Anthropic, { toFile } from '@anthropic-ai/sdk'

import { BROWSER, GATEWAY, HELLO, PARAMETERS, joined, readable, run, weather } from './harness.mjs'

const client = (token) => new Anthropic({ baseURL: `${GATEWAY}/anthropic`, apiKey: token, dangerouslyAllowBrowser: BROWSER })
const ask = (api, messages, more) => api.messages.create({ model: 'model-1', max_tokens: 10, messages, ...more })
const chat = async (api, model = 'model-1') => (await ask(api, HELLO, { model })).content[0].text
const stream = async (api, model = 'model-1') => api.messages.stream({ model, max_tokens: 10, messages: HELLO }).finalText()

async function tools(api) {
  const more = { tools: [{ name: 'weather', input_schema: PARAMETERS }] }
  const [call] = (await ask(api, HELLO, more)).content
  const result = { type: 'tool_result', tool_use_id: call.id, content: weather(call.input) }
  return (await ask(api, [...HELLO, { role: 'assistant', content: [call] }, { role: 'user', content: [result] }], more)).content[0].text
}

const calls = {
  chat,
  stream,
  'a tool loop': tools,
  'with a token for authorization': (api) => chat(new Anthropic({ baseURL: `${GATEWAY}/anthropic`, apiKey: null, authToken: api.apiKey, dangerouslyAllowBrowser: BROWSER })),
  'count of tokens': async (api) => (await api.messages.countTokens({ model: 'model-1', messages: HELLO })).input_tokens,
  models: (api) => joined(api.models.list(), (model) => model.id),
  'a model': async (api) => (await api.models.retrieve('model-1')).id,
  'a batch': async (api) => (await api.messages.batches.create({ requests: [{ custom_id: 'a', params: { model: 'model-1', max_tokens: 10, messages: HELLO } }] })).id,
  batches: (api) => joined(api.messages.batches.list(), (batch) => batch.id),
  'file upload': async (api) => (await api.beta.files.upload({ file: await toFile(new Blob(['hello']), 'a.txt') })).id,
  files: (api) => joined(api.beta.files.list(), (file) => file.id),
  'headers of an answer': async (api) => readable((await ask(api, HELLO).asResponse()).headers),
  'headers of a 429': (api) => chat(api, 'status-429').catch((error) => readable(error.headers)),
}

await run(client, calls, { chat, stream })
