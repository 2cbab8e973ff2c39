import { createAnthropic } from '@ai-sdk/anthropic'

import { GATEWAY } from './harness.mjs'
import { runPackage } from './ai-sdk.mjs'

await runPackage((token) => createAnthropic({ baseURL: `${GATEWAY}/anthropic/v1`, apiKey: token }), {})
