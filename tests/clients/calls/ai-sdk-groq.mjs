import { createGroq } from '@ai-sdk/groq'

import { GATEWAY } from './harness.mjs'
import { runPackage } from './ai-sdk.mjs'

await runPackage((token) => createGroq({ baseURL: `${GATEWAY}/proxy/groq/v1`, apiKey: token }), {})
