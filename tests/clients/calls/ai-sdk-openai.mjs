import { createOpenAI } from '@ai-sdk/openai'
import { generateText } from 'ai'

import { GATEWAY } from './harness.mjs'
import { runPackage } from './ai-sdk.mjs'

const client = (token) => createOpenAI({ baseURL: `${GATEWAY}/openai/v1`, apiKey: token })
const more = { 'chat completions': async (api) => (await generateText({ model: api.chat('model-1'), prompt: 'hello' })).text }

await runPackage(client, { embeds: true, more })
