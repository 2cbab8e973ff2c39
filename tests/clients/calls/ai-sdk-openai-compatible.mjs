import { createOpenAICompatible } from '@ai-sdk/openai-compatible'

import { GATEWAY } from './harness.mjs'
import { runPackage } from './ai-sdk.mjs'

const client = (token) => createOpenAICompatible({ name: 'mistral', baseURL: `${GATEWAY}/proxy/mistral/v1`, apiKey: token })

await runPackage(client, { embeds: true })
